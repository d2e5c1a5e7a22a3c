//! What is stored of each group and machine, so that a restart forgets nothing that matters.
//!
//! Holds: an operation is stored before its first command is sent; `wanted` changes only by a commit.
//! Not here: what was seen a moment ago (`seen`), which is observed again after a restart.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::facts::{SharedMap, Taint};
use crate::ids::{CommandId, MachineId, Token};

/// The stored wish for a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRecord {
    /// Machines that shall run, in the order they were asked for.
    pub wanted: Vec<MachineId>,
    /// Raised by one with each commit; 0 means never stored.
    pub sequence: u64,
    /// The size increase that the present sequence stands for, if it was one.
    pub last_increase: Option<Increase>,
}

/// A size increase, kept so that its repetition can be recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Increase {
    /// By how many machines.
    pub delta: i32,
    /// Wall clock, milliseconds.
    pub at_ms: i64,
}

/// What is stored of a machine. What most machines lack most of the time is boxed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineRecord {
    /// Highest token granted for it.
    pub token: Token,
    /// The operation under way.
    pub operation: Option<Box<Operation>>,
    /// A standing order to be off.
    pub order: Option<Box<OffOrder>>,
    /// Last power state that was established.
    pub power: PowerRecord,
    /// Boot id last seen.
    pub boot_id: Option<Arc<str>>,
    /// When we last woke it ourselves and saw it run, wall clock, milliseconds.
    pub proven_at_ms: Option<i64>,
    /// Seconds that its last boots took after our wake, newest last; at most [`BOOTS_KEPT`]. Enough of them say when it is late.
    pub boots_s: Vec<u32>,
    /// When it was last confirmed off, wall clock, milliseconds.
    pub last_off_at_ms: Option<i64>,
    /// Set while it is off or silent without our order, if that changes what happens to it.
    pub outage: Option<Outage>,
    /// Set while it is left out because it did not start.
    pub quarantine: Option<Box<Quarantine>>,
    /// The provider id promised to the cluster-autoscaler.
    pub provider_id: Option<String>,
    /// A person's temporary wish.
    pub override_: Option<Box<Override>>,
    /// What its core Node brought when it last joined.
    pub learned: Option<Box<Learned>>,
    /// What must come back on its core Node when it returns.
    pub node_backup: Option<Box<NodeBackup>>,
    /// Id of the last request by a person that was carried out.
    pub last_ask: Option<String>,
}

/// How many boots are remembered: enough to tell a slow machine from a dead one, few enough to follow it when it changes.
pub const BOOTS_KEPT: usize = 5;

/// One power operation on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// ULID; also the command id of the one command that must not run twice.
    pub id: CommandId,
    /// Which way.
    pub kind: OperationKind,
    /// Fencing token it started with.
    pub token: Token,
    /// The boot that a stop is meant for.
    pub boot_id: Option<Arc<str>>,
    /// Wall clock, milliseconds.
    pub started_at_ms: i64,
    /// Who asked: `cluster-autoscaler IncreaseSize(3)`, `user ann`, `minSize`…
    pub by: String,
    /// Since when a command of it may have left, wall clock, milliseconds. Stored before the first one does; what never left
    /// can be called back, also after a restart, and proves nothing.
    pub ordered_at_ms: Option<i64>,
    /// A stop only: the machine itself has said, signed, that it is going down.
    pub going_down: bool,
}

/// Which way an operation moves power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Towards running.
    Wake,
    /// Towards off.
    Stop,
}

/// A standing order to be off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffOrder {
    /// ULID.
    pub id: CommandId,
    /// Who ordered it.
    pub by: String,
    /// Wall clock, milliseconds.
    pub at_ms: i64,
    /// Wake it again once it is off: a proof that it can be woken.
    pub then_wake: bool,
}

/// The power state that was established last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PowerRecord {
    /// The state.
    pub state: PowerState,
    /// Who established it; `None` where nobody has.
    pub witness: Option<Witness>,
    /// Since when, wall clock, milliseconds.
    pub since_ms: i64,
}

impl PowerRecord {
    /// Whether it was concluded or told rather than seen.
    #[must_use]
    pub fn inferred(&self) -> bool {
        self.witness.is_some_and(|witness| match witness {
            Witness::Silence | Witness::Person => true,
            Witness::Bmc | Witness::Agent | Witness::Kubelet => false,
        })
    }
}

/// Who says whether a machine has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Its BMC.
    Bmc,
    /// A heartbeat of its agent.
    Agent,
    /// Its kubelet.
    Kubelet,
    /// A person has looked.
    Person,
    /// Nobody: it had said that it goes down, and was silent for its hold time.
    Silence,
}

impl Witness {
    /// What it is in a sentence.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Bmc => "BMC",
            Self::Agent => "agent heartbeat",
            Self::Kubelet => "kubelet",
            Self::Person => "a person",
            Self::Silence => "silence",
        }
    }
}

/// What became of a machine without our order; over once it is seen running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It fell silent together with many of its group. It may start by itself: not woken before this, wall clock, milliseconds.
    PowerCut {
        /// Its group is left alone until then.
        until_ms: i64,
    },
    /// It alone went off: it is taken out of the wanted set, not woken.
    SwitchedOff,
}

/// Whether a machine has power, as far as anybody saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PowerState {
    /// Seen running.
    Running,
    /// Confirmed off.
    Off,
    /// Neither was observed.
    #[default]
    Unknown,
}

/// Leaves a machine out for a while because it did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Wall clock, milliseconds.
    pub until_ms: i64,
    /// Failures in a row; each doubles the time.
    pub failures: u32,
    /// Stable word, such as `BootTimeout`.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
}

/// A person's temporary wish for one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Which way.
    pub power: OverridePower,
    /// Wall clock, milliseconds; absent means until it is taken back.
    pub until_ms: Option<i64>,
    /// Who wished it.
    pub by: String,
}

/// The power that an override asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverridePower {
    /// Keep it running.
    Running,
    /// Keep it off.
    Off,
}

/// What a core Node brought when it joined: the template for waking its like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Quantities by resource name.
    pub capacity: SharedMap,
    /// Quantities by resource name.
    pub allocatable: SharedMap,
    /// All labels of the Node.
    pub labels: SharedMap,
    /// Permanent taints.
    pub taints: Vec<Taint>,
    /// Wall clock, milliseconds.
    pub at_ms: i64,
}

/// What people put on a core Node, kept while the Node is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeBackup {
    /// Labels.
    pub labels: SharedMap,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// True where a person, not we or the cluster-autoscaler, had cordoned it.
    pub cordoned: bool,
}
