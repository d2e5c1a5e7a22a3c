//! The checks that a message passes before it becomes a task, cheapest first.
//! In: topic, bytes and retain flag as the broker delivered them. Out: a command, a known answer, or one refusal.
//! Holds: nothing is parsed before the rate limit, nothing inside is trusted before the signature, nothing changes here
//! but the rate limit.

use crate::agent::Agent;
use crate::replies::Identity;
use crate::step::{Arrival, Now, Refusal, Report, Step, Turn};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use proto_mqtt::command::CommandHead;
use proto_mqtt::order::OffMode;
use proto_mqtt::report::{Code, ResultBody, ResultState};
use proto_mqtt::{
    AgentTopic, CommandBody, DecodeError, Envelope, MAX_PAYLOAD_BYTES, Order, Payload, Power,
    Purpose, Text, Token, Ulid, Verb,
};

/// More orders under way than any relay needs at once.
const MAX_TASKS: usize = 32;

/// A message that passed.
pub(crate) enum Admitted {
    /// A command to begin.
    New(Box<CommandBody>),
    /// A command that was answered before: the same answer again.
    Answered(ResultBody),
    /// A command that is under way and has no answer yet; it will get one.
    Pending,
}

/// A message that did not pass, with what is proved of its origin.
pub(crate) enum Refused {
    /// The signature was not reached or does not fit: nothing that the message says may be believed.
    Unproved(Refusal),
    /// The coordinator signed it.
    Proved(CommandHead, ResultState, Refusal),
    /// The coordinator signed it, and it came in time: it stays refused when it is repeated after its obstacle is gone.
    Settled(Box<Identity>, CommandHead, Refusal),
}

impl Agent {
    pub(crate) fn admit(&mut self, arrival: &Arrival<'_>, now: Now) -> Result<Admitted, Refused> {
        let text = self.open(arrival, now).map_err(Refused::Unproved)?;
        let body = read(&text)?;
        let head = CommandHead::from(&body);
        let refused = |refusal| Refused::Proved(head, ResultState::Refused, refusal);
        self.check_audience(&body).map_err(refused)?;
        if let Some(answer) = self.known(&body) {
            return answer
                .map_err(|refusal| Refused::Proved(head, ResultState::Duplicate, refusal));
        }
        self.check_order_in_time(&body, now).map_err(refused)?;
        let settled = |refusal| Refused::Settled(Box::new(Identity::from(&body)), head, refusal);
        self.check_verb(&body.order)
            .and_then(|()| self.check_host(&body, now))
            .and_then(|()| self.check_expectation(&body))
            .and_then(|()| self.check_free(&body))
            .map_err(settled)?;
        Ok(Admitted::New(Box::new(body)))
    }

    /// Size, topic, retain flag, rate, envelope, key and signature.
    fn open(&mut self, arrival: &Arrival<'_>, now: Now) -> Result<String, Refusal> {
        let Arrival {
            topic,
            payload,
            retain,
        } = *arrival;
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Refusal::new(
                Code::BadEnvelope,
                "the message is larger than 8192 bytes",
            ));
        }
        if topic != AgentTopic::Command.of(&self.config.id).to_string() {
            return Err(Refusal::new(
                Code::WrongAud,
                "the topic is not this agent's",
            ));
        }
        if retain {
            return Err(Refusal::new(
                Code::Retained,
                "the broker had retained the command",
            ));
        }
        if !self.bucket.take(now) {
            return Err(Refusal::new(
                Code::RateLimited,
                "more than ten messages in a second",
            ));
        }
        let envelope = Envelope::decode(payload)
            .map_err(|error| Refusal::new(Code::BadEnvelope, &format!("no envelope: {error}")))?;
        let opened = envelope.open(Purpose::Command, topic, &self.config.keys);
        opened.map(String::from).map_err(|error| {
            let code = match &error {
                proto_mqtt::envelope::OpenError::UnknownKid { .. } => Code::UnknownKid,
                proto_mqtt::envelope::OpenError::BadSignature => Code::BadSig,
            };
            let id = CommandHead::of(envelope.unverified_body()).map(|head| head.id);
            Refusal {
                id,
                ..Refusal::new(code, &error.to_string())
            }
        })
    }

    fn check_audience(&self, body: &CommandBody) -> Result<(), Refusal> {
        if body.aud != self.config.id {
            return Err(Refusal::new(
                Code::WrongAud,
                &format!("the command is for {}", body.aud),
            ));
        }
        match body.order {
            Order::PowerOff | Order::PowerReboot if body.target != self.config.id => {
                Err(Refusal::new(
                    Code::WrongAud,
                    &format!("an agent switches its own host only, not {}", body.target),
                ))
            }
            Order::PowerOff
            | Order::PowerReboot
            | Order::Wake(_)
            | Order::RedfishOn(_)
            | Order::RedfishOff { .. }
            | Order::RedfishStatus(_)
            | Order::Cancel { .. }
            | Order::Barrier
            | Order::Refresh
            | Order::Unknown { .. } => Ok(()),
        }
    }

    /// The answer that this command has had, if it is known.
    fn known(&self, body: &CommandBody) -> Option<Result<Admitted, Refusal>> {
        let under_way = self.tasks.iter().find(|task| task.body.id == body.id);
        let identity = match (under_way, self.replies.find(body.id)) {
            (Some(task), _) => Identity::from(&task.body),
            (None, Some((identity, _))) => identity.clone(),
            (None, None) => return None,
        };
        if identity != Identity::from(body) {
            return Some(Err(Refusal::new(
                Code::SeqStale,
                "the id was used for another command",
            )));
        }
        Some(match self.replies.find(body.id) {
            Some((_, result)) => Ok(Admitted::Answered(result.clone())),
            None => Ok(Admitted::Pending),
        })
    }

    /// Token, challenge and boot.
    fn check_order_in_time(&self, body: &CommandBody, now: Now) -> Result<(), Refusal> {
        if !self.marks.accepts(&body.target, body.token, body.id) {
            let detail = format!(
                "token {} is not above the last one accepted for {}",
                body.token, body.target
            );
            return Err(Refusal::new(Code::SeqStale, &detail));
        }
        self.challenges.check(body.chal, body.ttl_ms, now)?;
        match &body.boot {
            Some(boot) if *boot != self.config.boot => Err(Refusal::new(
                Code::BootMismatch,
                &format!("the host runs boot {}", self.config.boot),
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn check_verb(&self, order: &Order) -> Result<(), Refusal> {
        let unsupported = |what: &str| Err(Refusal::new(Code::Unsupported, what));
        match order {
            Order::Unknown { verb } => {
                return unsupported(&format!("the verb {verb} is not known here"));
            }
            Order::RedfishOff {
                mode: OffMode::Unknown,
                ..
            } => return unsupported("the mode is not known here"),
            Order::Wake(wake) if !self.serves(&wake.segment) => {
                let detail = format!("the segment {} is not one of this relay's", wake.segment);
                return Err(Refusal::new(Code::VerbDenied, &detail));
            }
            Order::Wake(_)
            | Order::PowerOff
            | Order::PowerReboot
            | Order::RedfishOn(_)
            | Order::RedfishOff {
                mode: OffMode::Graceful | OffMode::Force,
                ..
            }
            | Order::RedfishStatus(_)
            | Order::Cancel { .. }
            | Order::Barrier
            | Order::Refresh => {}
        }
        if !self.config.allows(order.verb()) {
            let detail = format!("this agent's configuration does not allow {}", order.word());
            return Err(Refusal::new(Code::VerbDenied, &detail));
        }
        Ok(())
    }

    fn serves(&self, segment: &Text<63>) -> bool {
        self.config
            .segments
            .as_ref()
            .is_none_or(|segments| segments.contains(segment))
    }

    /// What stands against taking this host down, and the journal that every destructive order needs.
    fn check_host(&self, body: &CommandBody, now: Now) -> Result<(), Refusal> {
        let verb = body.order.verb();
        if verb.is_destructive() && !self.journal_readable {
            return Err(Refusal::new(
                Code::JournalUnwritable,
                "the journal cannot be read; repair or remove it",
            ));
        }
        if !matches!(verb, Verb::PowerOff | Verb::PowerReboot) {
            return Ok(());
        }
        if self.journal.acts_in_last_hour(&self.config.boot, now) >= self.config.acts_per_hour {
            let detail = format!("{} power acts in the last hour", self.config.acts_per_hour);
            return Err(Refusal::new(Code::RateLimited, &detail));
        }
        if now.boot_ms < self.config.min_uptime_ms {
            let detail = format!(
                "the host has been up for {} s, less than min_uptime {} s",
                now.boot_ms / 1000,
                self.config.min_uptime_ms / 1000
            );
            return Err(Refusal::new(Code::MinUptime, &detail));
        }
        self.check_policy()
    }

    /// Maintenance and inhibitors; asked again at the end of the grace.
    pub(crate) fn check_policy(&self) -> Result<(), Refusal> {
        if self.policy.maintenance {
            return Err(Refusal::new(
                Code::Maintenance,
                "the host is in maintenance",
            ));
        }
        if self.policy.inhibited {
            return Err(Refusal::new(
                Code::Inhibited,
                "a block inhibitor is held on the host",
            ));
        }
        Ok(())
    }

    /// Own host: it is on, or nobody would read this. A sleeper behind a magic packet cannot be read, but a command
    /// that believes it to be on makes no sense. BMCs are read by the driver, right before it acts.
    fn check_expectation(&self, body: &CommandBody) -> Result<(), Refusal> {
        let Some(expect) = body.expect else {
            return Ok(());
        };
        let contradicted = match (body.order.verb(), expect.power) {
            (Verb::PowerOff | Verb::PowerReboot, Power::Off) | (Verb::Wake, Power::On) => true,
            (_, Power::Unknown) => {
                return Err(Refusal::new(
                    Code::Unsupported,
                    "the expected power is not known here",
                ));
            }
            (
                Verb::PowerOff
                | Verb::PowerReboot
                | Verb::Wake
                | Verb::RedfishOn
                | Verb::RedfishOff
                | Verb::RedfishStatus
                | Verb::Cancel
                | Verb::Barrier
                | Verb::Refresh
                | Verb::Unknown,
                Power::On | Power::Off,
            ) => false,
        };
        if contradicted {
            return Err(Refusal::new(
                Code::Precondition,
                &format!("{} is not {}", body.target, expect.power),
            ));
        }
        Ok(())
    }

    /// One destructive order at a time for each target; one that takes this host down excludes all others.
    fn check_free(&self, body: &CommandBody) -> Result<(), Refusal> {
        let verb = body.order.verb();
        if matches!(verb, Verb::Cancel | Verb::Barrier | Verb::Refresh) {
            return Ok(());
        }
        let busy = |why: &str| Err(Refusal::new(Code::Busy, why));
        if self.presence.is_closing()
            || self
                .own_power_task()
                .is_some_and(|task| task.stage.has_begun())
        {
            return busy("the host is going down, or the agent ends");
        }
        if self.tasks.len() >= MAX_TASKS {
            return busy("too many orders are under way");
        }
        let own_power = matches!(verb, Verb::PowerOff | Verb::PowerReboot);
        if own_power
            && self
                .tasks
                .iter()
                .any(|task| task.body.order.verb().is_destructive())
        {
            return busy("another destructive order is under way");
        }
        if matches!(verb, Verb::RedfishOn | Verb::RedfishOff) {
            let switches =
                |order: &Order| matches!(order.verb(), Verb::RedfishOn | Verb::RedfishOff);
            if self
                .tasks
                .iter()
                .any(|task| task.body.target == body.target && switches(&task.body.order))
            {
                return busy("another order for the same machine is under way");
            }
            if verb.is_destructive() && self.own_power_task().is_some() {
                return busy("this host is about to go down");
            }
        }
        Ok(())
    }

    /// Tells of a refusal: under its id if the coordinator signed it, else under no id, so that a forger cannot end an
    /// operation that is still to come; and not more often than once a second, so that a flood stays silent.
    pub(crate) fn refuse(&mut self, refused: Refused, turn: &mut Turn) {
        let mut settles = None;
        let (id, token, state, refusal) = match refused {
            Refused::Settled(identity, head, refusal) => {
                settles = Some(identity);
                let refusal = Refusal {
                    id: Some(head.id),
                    ..refusal
                };
                (head.id, head.token, ResultState::Refused, refusal)
            }
            Refused::Proved(head, state, refusal) => {
                let refusal = Refusal {
                    id: Some(head.id),
                    ..refusal
                };
                (head.id, head.token, state, refusal)
            }
            Refused::Unproved(refusal) => {
                if !self.presence.may_tell_unproved(turn.now) {
                    return;
                }
                (Ulid::NIL, Token::ZERO, ResultState::Refused, refusal)
            }
        };
        let mut result = self.result(id, token, state, turn.now);
        result.code = Some(refusal.code);
        result.msg = refusal.detail.clone();
        if let Some(identity) = settles {
            self.replies.record(*identity, result.clone());
        }
        turn.steps.push(Step::Log(refusal));
        self.publish(Report::Result(result), turn);
    }
}

/// Reads a signed body; `crit` is looked at first, because a field that is not known may be why the rest is strange.
fn read(text: &str) -> Result<CommandBody, Refused> {
    let body = CommandBody::decode(text.as_bytes()).map_err(|error| {
        let (code, detail) = match &error {
            DecodeError::Version { .. } => (Code::Unsupported, error.to_string()),
            DecodeError::TooLarge { .. } | DecodeError::Malformed { .. } => {
                (Code::BadBody, error.to_string())
            }
        };
        let refusal = Refusal::new(code, &detail);
        match CommandHead::of(text) {
            Some(head) => Refused::Proved(head, ResultState::Refused, refusal),
            None => Refused::Unproved(refusal),
        }
    })?;
    if let Some(name) = body.unknown_crit() {
        let refusal = Refusal::new(
            Code::Unsupported,
            &format!("the critical field {name} is not known here"),
        );
        return Err(Refused::Proved(
            CommandHead::from(&body),
            ResultState::Refused,
            refusal,
        ));
    }
    Ok(body)
}
