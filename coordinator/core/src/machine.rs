//! One machine: its declaration, its stored record, what was seen of it, and where it is in its life.
//!
//! Holds: `record` is what the store has or is about to have; `phase` and `seen` are rebuilt after a restart.
//! Not here: the transitions (`lifecycle`, `waking`, `stopping`) and what counts as on or off (`power`).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::actions::{Action, Command, Event, Severity, Subject, Verb};
use crate::awaited::AwaitedRecord;
use crate::concerns::Concerns;
use crate::ids::{AgentId, CommandId, MachineId, Token};
use crate::lab::{Ctx, Sent};
use crate::policy::ProviderScheme;
use crate::record::{MachineRecord, Operation, OperationKind, Outage};
use crate::seen::{BmcReading, Seen};
use crate::spec::{MachineSpec, WakeMethod};
use crate::stopping::Stopping;
use crate::view::PhaseName;
use crate::waking::{WakeFailed, Waking};
use crate::why::Why;

/// A machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) spec: MachineSpec,
    pub(crate) record: MachineRecord,
    pub(crate) phase: Phase,
    pub(crate) since_ms: i64,
    pub(crate) why: Why,
    pub(crate) message: Arc<str>,
    pub(crate) seen: Seen,
    /// Above every version that an earlier declaration of the same machine has used.
    pub(crate) first_version: u64,
    /// Counts the records handed to the store.
    version: u64,
    /// The last version that the store confirmed.
    recorded: u64,
    dirty: bool,
    retry_ms: Option<u64>,
    /// The store refused the record as it is: trying again is pointless until it or the stored object changes.
    refused: bool,
    /// Sequence of the last command, on top of the record's token.
    seq: u32,
    /// How much of it was heard when it was last looked at.
    pub(crate) presence: Presence,
    /// What people should mend, and have been told.
    pub(crate) concerns: Concerns,
    /// A core Node has been standing there for a while although it is off.
    pub(crate) old_node: bool,
    /// The end of a power cut by the wall clock, and what that was on the boot clock.
    power_cut: Option<(i64, u64)>,
    /// What it brought less of than was promised, in this boot; in words.
    pub(crate) fell_short: Option<String>,
}

/// Where a machine is in its life, with what that phase needs to remember.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Unknown(Unknown),
    Off,
    /// Boxed: it is the largest by far, and few machines are being woken at once.
    Waking(Box<Waking>),
    WakeFailed(WakeFailed),
    Running,
    /// Boxed for the same reasons.
    Stopping(Box<Stopping>),
}

/// Why nobody can say whether a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Nobody has seen it since it was declared, or since this process started.
    Unseen,
    /// It was running and is not heard any more.
    Silent {
        /// When it was last heard, or could have been; boot clock, milliseconds.
        since_ms: u64,
    },
    /// A person wants it tried again.
    Retry,
}

/// How much of a machine is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Nothing.
    Silent,
    /// Its agent or its kubelet.
    Heard,
    /// It is heard, and it can do what it is wanted for.
    Joined,
}

impl Machine {
    /// `version` is above every version that an earlier declaration of the same machine has used.
    pub(crate) fn new(spec: MachineSpec, version: u64) -> Self {
        Self {
            spec,
            record: MachineRecord::default(),
            phase: Phase::Unknown(Unknown::Unseen),
            since_ms: 0,
            why: Why::NotSeenYet,
            message: "Nobody has seen it since it was declared".into(),
            seen: Seen::default(),
            first_version: version,
            version,
            recorded: version,
            dirty: false,
            retry_ms: None,
            refused: false,
            seq: 0,
            presence: Presence::Silent,
            concerns: Concerns::new(),
            old_node: false,
            power_cut: None,
            fell_short: None,
        }
    }

    pub(crate) fn id(&self) -> &MachineId {
        &self.spec.id
    }

    /// It is heard, or its BMC says On.
    pub(crate) fn shows_power(&self) -> bool {
        let reads_on = matches!(self.seen.bmc, Some(BmcReading::On { .. }));
        self.presence != Presence::Silent || reads_on
    }

    /// Whom a wake by this method is addressed to.
    pub(crate) fn target(&self, method: WakeMethod) -> &str {
        let (card, bmc) = (&self.spec.wake_on_lan, &self.spec.redfish);
        match method {
            WakeMethod::WakeOnLan => card.as_ref().map_or("", |card| card.mac.as_str()),
            WakeMethod::Redfish => bmc.as_ref().map_or("", |bmc| bmc.address.as_str()),
        }
    }

    /// The provider id it has, or will have once it joins.
    pub(crate) fn provider_id(&self, scheme: ProviderScheme) -> String {
        if let Some(fixed) = &self.spec.provider_id {
            return fixed.clone();
        }
        if let Some(promised) = &self.record.provider_id {
            return promised.clone();
        }
        match scheme {
            ProviderScheme::Homelab => {
                alloc::format!("homelab://{}/{}", self.spec.namespace, self.spec.id)
            }
            ProviderScheme::K3s => alloc::format!("k3s://{}", self.spec.node_name),
        }
    }

    /// Whether that is the provider id it has, or will have.
    pub(crate) fn has_provider_id(&self, id: &str, scheme: ProviderScheme) -> bool {
        if let Some(told) = self
            .spec
            .provider_id
            .as_ref()
            .or(self.record.provider_id.as_ref())
        {
            return **told == *id;
        }
        match scheme {
            ProviderScheme::Homelab => {
                let path = id.strip_prefix("homelab://");
                let name = path.and_then(|path| path.strip_prefix(&*self.spec.namespace));
                name.and_then(|name| name.strip_prefix('/')) == Some(self.spec.id.as_str())
            }
            ProviderScheme::K3s => id.strip_prefix("k3s://") == Some(&*self.spec.node_name),
        }
    }

    /// Changes phase; the time and the reason go with it.
    pub(crate) fn enter(&mut self, phase: Phase, why: Why, message: String, ctx: &Ctx<'_>) {
        self.since_ms = ctx.now.wall_ms;
        self.phase = phase;
        self.explain(why, message);
    }

    pub(crate) fn explain(&mut self, why: Why, message: String) {
        self.why = why;
        // A sentence that stands is the same value in every snapshot.
        if *self.message != *message {
            self.message = message.into();
        }
    }

    /// Something stands in the way: an Event when it begins, the sentence in any case.
    pub(crate) fn complain(&mut self, why: Why, message: String, ctx: &mut Ctx<'_>) {
        if self.why != why {
            self.event(Severity::Warning, why.reason(), message.clone(), ctx);
            self.touch();
        }
        self.explain(why, message);
    }

    /// The record has changed and must be stored.
    pub(crate) fn touch(&mut self) {
        self.dirty = true;
    }

    /// The version under which the record as it is now is, or will be, stored.
    pub(crate) fn pending_version(&self) -> u64 {
        if self.dirty {
            self.version + 1
        } else {
            self.version
        }
    }

    /// The record as it is now, for those who wait until it is stored.
    pub(crate) fn awaited_record(&self) -> AwaitedRecord {
        AwaitedRecord {
            machine: self.spec.id.clone(),
            version: self.pending_version(),
        }
    }

    /// Whether the store has confirmed a version.
    pub(crate) fn is_recorded(&self, version: u64) -> bool {
        self.recorded >= version
    }

    pub(crate) fn recorded(&mut self, version: u64) {
        self.recorded = self.recorded.max(version);
        self.refused = false;
    }

    /// The store refused the record for a reason of its own.
    pub(crate) fn record_refused(&mut self) {
        self.refused = true;
        self.explain(
            Why::RecordRefused,
            String::from(
                "The store refuses its record, so nothing is done with it until either changes: see the log",
            ),
        );
    }

    /// Its stored object changed, and with it perhaps what the store refuses.
    pub(crate) fn reconsider_refusal(&mut self) {
        if self.refused {
            self.touch();
        }
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    pub(crate) fn record_failed(&mut self, at_ms: u64) {
        self.dirty = true;
        self.retry_ms = Some(at_ms);
    }

    /// Hands the record to the store if it changed.
    pub(crate) fn flush(&mut self, ctx: &mut Ctx<'_>) {
        if !self.dirty || !self.retry_ms.is_none_or(|at| ctx.due(at)) {
            return;
        }
        self.dirty = false;
        self.retry_ms = None;
        self.version += 1;
        ctx.out.push(Action::Record {
            machine: self.spec.id.clone(),
            version: self.version,
            record: Box::new(self.record.clone()),
        });
    }

    /// Starts an operation: nothing is sent before the version this returns is stored.
    pub(crate) fn begin(
        &mut self,
        kind: OperationKind,
        by: String,
        floor: Token,
        ctx: &mut Ctx<'_>,
    ) -> u64 {
        let above = self.record.token.max(floor);
        let epoch = ctx.epoch.max(above.epoch);
        let seq = if epoch == above.epoch {
            above.seq.max(self.seq) + 1
        } else {
            self.seq + 1
        };
        let token = Token { epoch, seq };
        self.seq = seq;
        self.record.token = token;
        self.record.operation = Some(Box::new(Operation {
            id: ctx.mint.ulid(ctx.now.wall_ms),
            kind,
            token,
            boot_id: self.record.boot_id.clone(),
            started_at_ms: ctx.now.wall_ms,
            by,
            ordered_at_ms: None,
            going_down: false,
        }));
        self.touch();
        self.pending_version()
    }

    /// A command of the operation under way is about to leave, once the version that this returns is stored.
    pub(crate) fn order_may_leave(&mut self, ctx: &Ctx<'_>) -> u64 {
        if !self.is_ordered()
            && let Some(operation) = self.record.operation.as_mut()
        {
            operation.ordered_at_ms = Some(ctx.now.wall_ms);
            self.touch();
        }
        self.pending_version()
    }

    /// No command of the operation under way has left after all, or none that can have had an effect.
    pub(crate) fn order_stayed(&mut self) {
        let operation = self.record.operation.as_mut();
        if operation.is_some_and(|op| op.ordered_at_ms.take().is_some()) {
            self.touch();
        }
    }

    /// A command of the operation under way may have left.
    pub(crate) fn is_ordered(&self) -> bool {
        let operation = self.record.operation.as_ref();
        operation.is_some_and(|op| op.ordered_at_ms.is_some())
    }

    /// Raises the tokens of commands outside of operations above what an executor has reported.
    pub(crate) fn raise(&mut self, floor: Token, ctx: &Ctx<'_>) {
        if floor.epoch > self.record.token.epoch.max(ctx.epoch) {
            self.record.token = floor;
            self.touch();
        }
        if floor.epoch >= self.record.token.epoch.max(ctx.epoch) {
            self.seq = self.seq.max(floor.seq);
        }
    }

    /// What was known of it was told anew while this process leads: it is stored again, over whatever of before is still on its
    /// way to the store, and commands go on above the tokens of this epoch.
    pub(crate) fn overtake(&mut self, ctx: &Ctx<'_>) {
        if self.record.token.epoch >= ctx.epoch {
            self.seq = self.seq.max(self.record.token.seq);
        }
        self.touch();
    }

    /// Notes the highest token that any command of it has carried, also outside of operations.
    pub(crate) fn keep_tokens(&mut self, epoch: Option<u32>) {
        let token = self.record.token;
        let epoch = epoch.unwrap_or(0).max(token.epoch);
        let seq = self.seq;
        self.record.token = token.max(Token { epoch, seq });
    }

    /// Ends the operation under way, if any.
    pub(crate) fn end(&mut self) {
        if self.record.operation.take().is_some() {
            self.touch();
        }
    }

    /// Sends a command of the operation under way. `id` repeats an earlier command; `None` makes a new one.
    pub(crate) fn send(
        &mut self,
        executor: Executor,
        verb: Verb,
        id: Option<CommandId>,
        ctx: &mut Ctx<'_>,
    ) -> CommandId {
        let operation = self.record.operation.as_ref();
        // A repetition is the same command only under the same token.
        let token = if let (Some(_), Some(operation)) = (&id, operation) {
            operation.token
        } else {
            self.seq += 1;
            let epoch = self.record.token.epoch.max(ctx.epoch);
            Token {
                epoch,
                seq: self.seq,
            }
        };
        let id = id.unwrap_or_else(|| ctx.mint.ulid(ctx.now.wall_ms));
        let boot_id = match verb {
            Verb::PowerOff => operation.and_then(|op| op.boot_id.as_deref().map(String::from)),
            Verb::Wake(_)
            | Verb::RedfishOn(_)
            | Verb::RedfishStop(_)
            | Verb::RedfishForceOff(_)
            | Verb::RedfishStatus(_) => None,
        };
        let by = operation.map_or_else(|| String::from("homelab-coordinator"), |op| op.by.clone());
        let sent = Sent {
            machine: self.spec.id.clone(),
            executor: executor.agent.clone(),
        };
        ctx.commands.insert(id.clone(), sent);
        ctx.out.push(Action::Send(Command {
            id: id.clone(),
            operation: operation.map_or_else(|| id.clone(), |op| op.id.clone()),
            agent: executor.agent,
            target: self.spec.id.clone(),
            token,
            challenge: executor.challenge,
            boot_id,
            verb,
            reason: self.message.chars().take(256).collect(),
            actor: by,
        }));
        id
    }

    pub(crate) fn event(
        &self,
        severity: Severity,
        reason: &'static str,
        message: String,
        ctx: &mut Ctx<'_>,
    ) {
        ctx.out.push(Action::Event(Event {
            about: Subject::Machine(self.spec.id.clone()),
            severity,
            reason,
            message,
            operation: self.record.operation.as_ref().map(|op| op.id.clone()),
        }));
    }

    pub(crate) fn phase_name(&self) -> PhaseName {
        match &self.phase {
            Phase::Unknown(_) => PhaseName::Unknown,
            Phase::Off => PhaseName::Off,
            Phase::Waking(_) => PhaseName::Waking,
            Phase::WakeFailed(_) => PhaseName::WakeFailed,
            Phase::Running => PhaseName::Running,
            Phase::Stopping(_) => PhaseName::Stopping,
        }
    }

    pub(crate) fn has_joined(&self) -> bool {
        self.presence == Presence::Joined
    }

    /// Until when it may start by itself after a power cut, boot clock, milliseconds; `None` once that is over.
    pub(crate) fn may_start_until(&mut self, ctx: &mut Ctx<'_>) -> Option<u64> {
        let Some(Outage::PowerCut { until_ms }) = self.record.outage else {
            return None;
        };
        // Reckoned once: a clock that is set back meanwhile must not stretch it.
        let ends_ms = match self.power_cut {
            Some((wall_ms, boot_ms)) if wall_ms == until_ms => boot_ms,
            Some(_) | None => {
                let left_ms = ctx.until_wall(until_ms).min(ctx.policy.power_cut_hold_ms);
                ctx.now.boot_ms.saturating_add(left_ms)
            }
        };
        self.power_cut = Some((until_ms, ends_ms));
        (!ctx.due(ends_ms)).then_some(ends_ms)
    }

    /// True while it is left out because it did not start.
    pub(crate) fn quarantined(&self, wall_ms: i64) -> bool {
        self.record
            .quarantine
            .as_ref()
            .is_some_and(|q| q.until_ms > wall_ms)
    }

    /// Nobody has ever seen it run or confirmed it off.
    pub(crate) fn never_seen(&self) -> bool {
        matches!(self.phase, Phase::Unknown(_))
            && self.record.boot_id.is_none()
            && self.record.power.state == crate::record::PowerState::Unknown
            && self.seen.node.is_none()
    }
}

/// An agent that will take a command now.
pub(crate) struct Executor {
    pub(crate) agent: AgentId,
    pub(crate) challenge: String,
}

/// Joins names for a sentence.
pub(crate) fn list(names: &[String]) -> String {
    let mut shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    let more = alloc::format!("{} more", names.len().saturating_sub(3));
    if names.len() > 3 {
        shown.push(&more);
    }
    shown.join(", ")
}
