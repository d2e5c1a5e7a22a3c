//! One machine: its declaration, its stored record, what was seen of it, and where it is in its life.
//!
//! Holds: `record` is what the store has or is about to have; `phase` and `seen` are rebuilt after a restart.
//! Not here: the transitions (`lifecycle`, `waking`, `stopping`) and what counts as on or off (`power`).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::actions::{Action, Command, Event, Severity, Subject, Verb};
use crate::facts::{NodeSeen, PowerRead};
use crate::ids::{AgentId, CommandId, MachineId, Token};
use crate::lab::Ctx;
use crate::policy::ProviderScheme;
use crate::record::{MachineRecord, Operation, OperationKind};
use crate::spec::MachineSpec;
use crate::stopping::Stopping;
use crate::view::{PhaseName, Wish};
use crate::waking::{WakeFailed, Waking};

/// A machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) spec: MachineSpec,
    pub(crate) record: MachineRecord,
    pub(crate) phase: Phase,
    pub(crate) since_ms: i64,
    pub(crate) why: &'static str,
    pub(crate) message: String,
    pub(crate) seen: Seen,
    /// Counts the records handed to the store.
    version: u64,
    /// The last version that the store confirmed.
    recorded: u64,
    dirty: bool,
    retry_ms: Option<u64>,
    /// Sequence of the last command, on top of the record's token.
    seq: u32,
    /// A power cut is suspected: not woken before this.
    pub(crate) hold_ms: Option<u64>,
    /// Off without our order while wanted: to be taken out of the wanted set, not woken.
    pub(crate) lost: bool,
    /// Its agent or its kubelet is heard.
    pub(crate) heard: bool,
    /// It could do what it is wanted for when it was last looked at.
    pub(crate) joined: bool,
}

/// Where a machine is in its life, with what that phase needs to remember.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Unknown,
    Off,
    Waking(Waking),
    WakeFailed(WakeFailed),
    Running,
    Stopping(Stopping),
}

/// What was observed since this process started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) node: Option<NodeSeen>,
    pub(crate) lease_ms: Option<u64>,
    pub(crate) bmc: Option<(PowerRead, u64)>,
    /// Since when the BMC has said Off without a break.
    pub(crate) bmc_off_since_ms: Option<u64>,
    pub(crate) bmc_asked_ms: Option<u64>,
    /// When off was confirmed: only what was heard later shows that it is on again.
    pub(crate) off_ms: Option<u64>,
    /// Uid of the Node it left behind then; empty where it had none.
    pub(crate) off_uid: Option<String>,
    /// A person had cordoned the Node before anybody else did.
    pub(crate) cordoned_by_person: bool,
    /// A change of the Node is under way, or failed and waits.
    pub(crate) node_busy_until_ms: Option<u64>,
    pub(crate) fenced_ms: Option<u64>,
}

impl Seen {
    /// Off was confirmed: what is heard later counts, and the Node that is there now is the one left behind.
    pub(crate) fn went_off(&mut self, now_ms: u64) {
        self.off_ms = Some(now_ms);
        let uid = self
            .node
            .as_ref()
            .map_or_else(String::new, |node| node.uid.clone());
        self.off_uid = Some(uid);
    }
}

impl Machine {
    /// `version` is above every version that an earlier declaration of the same machine has used.
    pub(crate) fn new(spec: MachineSpec, version: u64) -> Self {
        Self {
            spec,
            record: MachineRecord::default(),
            phase: Phase::Unknown,
            since_ms: 0,
            why: "NotSeenYet",
            message: String::from("Nobody has seen it since it was declared"),
            seen: Seen::default(),
            version,
            recorded: version,
            dirty: false,
            retry_ms: None,
            seq: 0,
            hold_ms: None,
            lost: false,
            heard: false,
            joined: false,
        }
    }

    pub(crate) fn id(&self) -> &MachineId {
        &self.spec.id
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

    /// Changes phase; the time and the reason go with it.
    pub(crate) fn enter(
        &mut self,
        phase: Phase,
        why: &'static str,
        message: String,
        ctx: &Ctx<'_>,
    ) {
        self.since_ms = ctx.now.wall_ms;
        self.phase = phase;
        self.explain(why, message);
    }

    pub(crate) fn explain(&mut self, why: &'static str, message: String) {
        self.why = why;
        self.message = message;
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

    /// Whether the store has confirmed a version.
    pub(crate) fn is_recorded(&self, version: u64) -> bool {
        self.recorded >= version
    }

    pub(crate) fn recorded(&mut self, version: u64) {
        self.recorded = self.recorded.max(version);
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
        self.record.operation = Some(Operation {
            id: ctx.mint.ulid(ctx.now.wall_ms),
            kind,
            token,
            boot_id: self.record.boot_id.clone(),
            started_at_ms: ctx.now.wall_ms,
            by,
            going_down: false,
        });
        self.touch();
        self.pending_version()
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
            Verb::PowerOff => operation.and_then(|op| op.boot_id.clone()),
            Verb::Wake(_)
            | Verb::RedfishOn(_)
            | Verb::RedfishStop(_)
            | Verb::RedfishForceOff(_)
            | Verb::RedfishStatus(_) => None,
        };
        let by = operation.map_or_else(|| String::from("homelab-coordinator"), |op| op.by.clone());
        let command = Command {
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
        };
        ctx.commands.insert(id.clone(), self.spec.id.clone());
        ctx.out.push(Action::Send(command));
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
        }));
    }

    pub(crate) fn phase_name(&self) -> PhaseName {
        match &self.phase {
            Phase::Unknown => PhaseName::Unknown,
            Phase::Off => PhaseName::Off,
            Phase::Waking(_) => PhaseName::Waking,
            Phase::WakeFailed(_) => PhaseName::WakeFailed,
            Phase::Running => PhaseName::Running,
            Phase::Stopping(_) => PhaseName::Stopping,
        }
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
        matches!(self.phase, Phase::Unknown)
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

/// A wish with its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wished {
    pub(crate) wish: Wish,
    pub(crate) by: String,
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
