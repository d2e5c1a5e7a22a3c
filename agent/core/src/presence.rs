//! Status, heartbeat and farewell: what others see of the agent.
//! Holds: heartbeats, and with them challenges, exist only while connected; a foreign status on the own topic is
//! overwritten, but not faster than once in five seconds, so that two agents of one name do not chase each other.

use crate::agent::Agent;
use crate::step::{Now, Report, Step, Ticket, Turn};
use proto_mqtt::report::{AgentState, Heartbeat, HeartbeatState, Policy, Status, StatusReason};
use proto_mqtt::version::{SPOKEN, V1};
use proto_mqtt::{Challenge, Payload};

/// How often a ping is answered.
const PING_MS: u64 = 1000;
/// How often a foreign status is overwritten.
const REPUBLISH_MS: u64 = 5000;
/// How often a message of unproved origin is answered.
const UNPROVED_MS: u64 = 1000;
/// How long the farewell may take.
const FAREWELL_MS: u64 = 2000;

#[derive(Debug, Default)]
pub(crate) struct Presence {
    conn: u32,
    connected: bool,
    beats: u64,
    last_beat_ms: Option<u64>,
    next_beat_ms: u64,
    last_republish_ms: Option<u64>,
    last_unproved_ms: Option<u64>,
    /// The state of the high-water marks that the last status told.
    told_marks: u64,
    farewell: Option<Farewell>,
}

#[derive(Debug)]
struct Farewell {
    reason: StatusReason,
    ticket: Option<Ticket>,
    until_ms: u64,
}

impl Presence {
    pub(crate) fn disconnected(&mut self) {
        self.connected = false;
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.farewell.is_some()
    }

    pub(crate) fn farewell_delivered(&self, ticket: Ticket) -> bool {
        self.farewell
            .as_ref()
            .is_some_and(|farewell| farewell.ticket == Some(ticket))
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        match &self.farewell {
            Some(farewell) => Some(farewell.until_ms),
            None => self.connected.then_some(self.next_beat_ms),
        }
    }

    pub(crate) fn may_tell_unproved(&mut self, now: Now) -> bool {
        passed(&mut self.last_unproved_ms, UNPROVED_MS, now)
    }
}

/// Whether the pause since the last time is over; if so, this is the new last time.
fn passed(last_ms: &mut Option<u64>, pause_ms: u64, now: Now) -> bool {
    if last_ms.is_some_and(|last| now.boot_ms.saturating_sub(last) < pause_ms) {
        return false;
    }
    *last_ms = Some(now.boot_ms);
    true
}

impl Agent {
    /// The last will of a connection.
    #[must_use]
    pub fn will(&self, conn: u32) -> Status {
        let status = self.status(StatusReason::Lwt);
        Status {
            state: AgentState::Offline,
            conn,
            op: None,
            ..status
        }
    }

    pub(crate) fn on_connected(&mut self, conn: u32, turn: &mut Turn) {
        self.presence.conn = conn;
        self.presence.connected = true;
        self.presence.next_beat_ms = turn.now.boot_ms + self.config.heartbeat_ms;
        self.publish_status(StatusReason::Start, turn);
        turn.steps.push(Step::Announce);
        self.tell_untold(turn);
        turn.steps.push(Step::Beat);
    }

    pub(crate) fn serve_presence(&mut self, turn: &mut Turn) {
        if let Some(farewell) = &self.presence.farewell {
            if farewell.until_ms <= turn.now.boot_ms {
                turn.steps.push(Step::Exit);
            }
        } else if self.presence.connected && self.presence.next_beat_ms <= turn.now.boot_ms {
            self.presence.next_beat_ms = turn.now.boot_ms + self.config.heartbeat_ms;
            // Not at once: a status for each order would double the messages.
            if self.presence.told_marks != self.marks.changes() {
                self.publish_status(StatusReason::Update, turn);
            }
            turn.steps.push(Step::Beat);
        }
    }

    pub(crate) fn publish_heartbeat(&mut self, chal: Challenge, turn: &mut Turn) {
        self.presence.beats += 1;
        self.presence.last_beat_ms = Some(turn.now.boot_ms);
        let heartbeat = Heartbeat {
            v: V1,
            boot: self.config.boot.clone(),
            inst: self.config.inst,
            conn: self.presence.conn,
            n: self.presence.beats,
            chal,
            up_s: turn.now.boot_ms / 1000,
            st: self.heartbeat_state(),
            op: self.status_op(),
        };
        self.publish(Report::Heartbeat(heartbeat), turn);
    }

    pub(crate) fn on_ping(&mut self, retain: bool, turn: &mut Turn) {
        if !retain && passed(&mut self.presence.last_beat_ms, PING_MS, turn.now) {
            turn.steps.push(Step::Beat);
        }
    }

    /// An old will may arrive after the new status; then the world believes that the agent is gone.
    pub(crate) fn on_own_status(&mut self, payload: &[u8], turn: &mut Turn) {
        let ours = Status::decode(payload).is_ok_and(|seen| {
            seen.same_session(&self.config.boot, self.config.inst, self.presence.conn)
                && seen.state != AgentState::Offline
        });
        let closing = self.presence.is_closing();
        if !ours && !closing && passed(&mut self.presence.last_republish_ms, REPUBLISH_MS, turn.now)
        {
            self.publish_status(StatusReason::Update, turn);
        }
    }

    pub(crate) fn on_policy(&mut self, policy: Policy, turn: &mut Turn) {
        if policy == self.policy {
            return;
        }
        self.policy = policy;
        self.publish_status(StatusReason::Update, turn);
    }

    pub(crate) fn publish_status(&mut self, reason: StatusReason, turn: &mut Turn) {
        if self.presence.connected {
            self.presence.told_marks = self.marks.changes();
            self.publish(Report::Status(self.status(reason)), turn);
        }
    }

    pub(crate) fn say_farewell(&mut self, host: bool, own_order: bool, turn: &mut Turn) {
        let reason = match (own_order, host) {
            (true, _) => StatusReason::Op,
            (false, true) => StatusReason::HostShutdown,
            (false, false) => StatusReason::Sigterm,
        };
        let until_ms = turn.now.boot_ms + FAREWELL_MS;
        self.presence.farewell = Some(Farewell {
            reason,
            ticket: None,
            until_ms,
        });
        if !self.presence.connected {
            turn.steps.push(Step::Exit);
            return;
        }
        let ticket = self.publish_tracked(Report::Status(self.status(reason)), turn);
        self.presence.farewell = Some(Farewell {
            reason,
            ticket: Some(ticket),
            until_ms,
        });
    }

    fn status(&self, reason: StatusReason) -> Status {
        let stopping = self
            .own_power_task()
            .is_some_and(|task| task.stage.is_taking_down());
        let (state, reason) = match &self.presence.farewell {
            Some(farewell) => (AgentState::Offline, farewell.reason),
            None if stopping => (AgentState::Stopping, StatusReason::Op),
            None => (AgentState::Online, reason),
        };
        Status {
            v: V1,
            state,
            reason,
            boot: self.config.boot.clone(),
            inst: self.config.inst,
            conn: self.presence.conn,
            agent: self.config.version.clone(),
            proto: SPOKEN.to_vec(),
            trust_version: 1,
            hwm: self.marks.highest(),
            op: self.status_op(),
            policy: self.policy,
            marks: self.marks.told(),
        }
    }

    fn status_op(&self) -> Option<proto_mqtt::Ulid> {
        let destructive = self
            .tasks
            .iter()
            .find(|task| task.body.order.verb().is_destructive());
        self.own_power_task()
            .or(destructive)
            .map(|task| task.body.op)
    }

    fn heartbeat_state(&self) -> HeartbeatState {
        if !self.journal_readable || !self.journal_written {
            HeartbeatState::Degraded
        } else if self.policy != Policy::default() {
            HeartbeatState::Maintenance
        } else if self.tasks.is_empty() {
            HeartbeatState::Ok
        } else {
            HeartbeatState::Busy
        }
    }
}
