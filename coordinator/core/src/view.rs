//! What the core knows and intends, as one immutable snapshot for every reader.
//!
//! Out: gRPC reads, admin pages, metrics and status writers read it; none of them asks the core.
//! Holds: at every moment a group's target equals its listed instances that are not deleting.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::concerns::Concerns;
use crate::facts::{AgentInfo, Taint};
use crate::ids::{AgentId, GroupId, MachineId};
use crate::record::PowerRecord;
use crate::spec::{Energy, NodeObjectPolicy, ScaleDown};

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// True once stored state is loaded and this process leads.
    pub serving: bool,
    /// Why not, where it is not.
    pub waiting_for: &'static str,
    /// Every group.
    pub groups: BTreeMap<GroupId, Arc<GroupView>>,
    /// Every machine.
    pub machines: BTreeMap<MachineId, Arc<MachineView>>,
    /// Which group answers for a provider id: booting, running and stopping machines.
    pub by_provider_id: BTreeMap<Arc<str>, GroupId>,
    /// Which group answers for a core Node's name.
    pub by_node_name: BTreeMap<Arc<str>, GroupId>,
    /// Core Nodes kept while their machine is off or booting (policy Retain), by name: no group answers for these real
    /// names, even though their provider id is in `by_provider_id` for the synthetic node of a booting machine.
    pub held_nodes: BTreeMap<Arc<str>, HeldNode>,
    /// Agents that were heard of.
    pub agents: BTreeMap<AgentId, Arc<AgentView>>,
    /// Whether the broker is connected.
    pub broker_up: bool,
    /// Whether the cluster's API is connected.
    pub cluster_up: bool,
}

/// How a kept core Node stands to its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldNode {
    /// Its machine is off or boots, or the Node still says that it is suspended.
    Away,
    /// Its machine has been back since then, boot clock, milliseconds: whoever listed Nodes before may take it for suspended.
    BackSince(u64),
}

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupView {
    /// Its id.
    pub id: GroupId,
    /// True in mode Autoscaler: only such groups are shown to the cluster-autoscaler.
    pub autoscaled: bool,
    /// Lower bound.
    pub min_size: u32,
    /// Usable machines, capped by the declaration, never below the target.
    pub max_size: u32,
    /// How many machines are wanted.
    pub target: u32,
    /// How many of those run.
    pub ready: u32,
    /// The sequence that `target` belongs to.
    pub sequence: u64,
    /// Listed instances.
    pub instances: Vec<Instance>,
    /// What a machine woken next would bring; absent where nothing is known.
    pub template: Option<Template>,
    /// Overrides of the autoscaler's options.
    pub scale_down: Option<ScaleDown>,
    /// What running one of its machines costs.
    pub energy: Option<Arc<Energy>>,
    /// What becomes of Nodes.
    pub node_object_policy: NodeObjectPolicy,
    /// One line for people.
    pub debug: String,
    /// True while nothing is decided because many machines fell silent at once.
    pub frozen: bool,
    /// What people should mend.
    pub concerns: Concerns,
}

/// A listed instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The machine.
    pub machine: MachineId,
    /// Its provider id.
    pub provider_id: Arc<str>,
    /// Its state.
    pub state: InstanceState,
}

/// The state of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Has been asked for and has not joined.
    Creating,
    /// Did not join; code and message tell why. `out_of_resources` is the autoscaler's class 1.
    Failed {
        /// Stable word.
        code: &'static str,
        /// For people.
        message: Arc<str>,
        /// The hardware itself refused.
        out_of_resources: bool,
    },
    /// Joined.
    Running,
    /// Ordered off, not yet confirmed off.
    Deleting,
}

/// What a machine woken next would bring: the least of every resource over the candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Quantities by resource name.
    pub capacity: BTreeMap<String, String>,
    /// Quantities by resource name.
    pub allocatable: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Permanent taints.
    pub taints: Vec<Taint>,
    /// Whether the group's declaration has a part in it.
    pub declared: bool,
    /// The machines whose Nodes taught it.
    pub learned_from: Vec<MachineId>,
    /// When the newest of them did, wall clock, milliseconds.
    pub learned_at_ms: Option<i64>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineView {
    /// Its id.
    pub id: MachineId,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its group.
    pub group: GroupId,
    /// Its core Node's name.
    pub node_name: Arc<str>,
    /// The agent on its host.
    pub agent: AgentId,
    /// What is wished for it.
    pub wanted: Wish,
    /// Its power as established.
    pub power: PowerRecord,
    /// Where it is in its life.
    pub phase: PhaseName,
    /// Since when, wall clock, milliseconds.
    pub since_ms: i64,
    /// One stable word: why it is where it is.
    pub why: &'static str,
    /// The sentence that goes with it.
    pub message: Arc<str>,
    /// Who asked for the present operation or order.
    pub by: Cow<'static, str>,
    /// How far its Node is drained; `None` where it is not being drained by us.
    pub drain: Option<DrainState>,
    /// The provider id it has or will have.
    pub provider_id: Arc<str>,
    /// When we last woke it ourselves, wall clock, milliseconds.
    pub proven_at_ms: Option<i64>,
    /// When the operation under way is given up or pressed home, wall clock, milliseconds.
    pub deadline_ms: Option<i64>,
    /// Left out until then, wall clock, milliseconds.
    pub quarantined_until_ms: Option<i64>,
    /// While it is left out: its group's bound with it and without, where that makes a difference.
    pub max_sizes: Option<(u32, u32)>,
    /// While it is left out: who is being woken meanwhile.
    pub instead: Vec<MachineId>,
    /// Names of its NICs that are armed for a magic packet; `None` where nobody could tell, or where none wakes it.
    pub wake_armed: Option<Arc<[String]>>,
    /// Whether it does what is wanted and its declaration is sound.
    pub ready: bool,
    /// What is wrong with its declaration.
    pub fault: Option<String>,
    /// What else people should mend.
    pub concerns: Concerns,
}

/// What is wished for a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It shall run.
    Running,
    /// It shall be off.
    Off,
    /// Nobody wishes anything.
    None,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainState {
    /// Pods are being evicted, or end.
    Evicting,
    /// It goes no further before a person does something.
    Blocked,
}

impl DrainState {
    /// Both, for metrics.
    pub const ALL: [Self; 2] = [Self::Evicting, Self::Blocked];

    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evicting => "evicting",
            Self::Blocked => "blocked",
        }
    }
}

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PhaseName {
    /// Nobody has seen enough to say.
    Unknown,
    /// Confirmed off.
    Off,
    /// Being woken.
    Waking,
    /// Was woken and did not come.
    WakeFailed,
    /// Running.
    Running,
    /// Being stopped.
    Stopping,
}

impl PhaseName {
    /// Every phase, for metrics.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Off,
        Self::Waking,
        Self::WakeFailed,
        Self::Running,
        Self::Stopping,
    ];

    /// The word shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Off => "Sleeping",
            Self::Waking => "Waking",
            Self::WakeFailed => "WakeFailed",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
        }
    }
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentView {
    /// The key that its results must be signed with.
    pub key: Option<Arc<str>>,
    /// A heartbeat was heard lately.
    pub live: bool,
    /// What it says of itself; `None` until it has.
    pub info: Option<Arc<AgentInfo>>,
    /// Boot id of its latest heartbeat.
    pub boot_id: Option<Arc<str>>,
}
