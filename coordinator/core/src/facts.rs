//! What the world says: the core's only input.
//!
//! In: made by the shell's inputs, and by its outputs as the answers to actions.
//! Holds: a fact is what somebody observed or asked, never a conclusion.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::ids::{AgentId, CommandId, GroupId, MachineId, Ticket, Token};
use crate::pods::{Eviction, PodSeen};
use crate::policy::AutoscalerVersion;
use crate::record::{GroupRecord, MachineRecord, OverridePower};
use crate::spec::{GroupSpec, MachineSpec};
use crate::volumes::LocalVolumes;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A group was declared or changed.
    GroupApplied(GroupSpec),
    /// A group's declaration is gone. Moves no power.
    GroupRemoved(GroupId),
    /// A machine was declared or changed.
    MachineApplied(MachineSpec),
    /// A machine's declaration is gone. Moves no power.
    MachineRemoved(MachineId),
    /// What the store holds for a group: at start, after somebody else wrote it, and after its object has gone: nothing.
    GroupStored {
        /// Which group.
        group: GroupId,
        /// Its stored wish.
        record: GroupRecord,
    },
    /// What the store holds for a machine: at start, after somebody else wrote it, and after its object has gone: nothing.
    MachineStored {
        /// Which machine.
        machine: MachineId,
        /// Its stored state.
        record: MachineRecord,
    },
    /// The key that the store holds for an agent.
    AgentStored {
        /// Which agent.
        agent: AgentId,
        /// Its result key, `ed25519:…`.
        key: String,
    },
    /// All stored state has been replayed; decisions may begin.
    Loaded,
    /// This process leads, under this epoch.
    Leading {
        /// Higher than any epoch before.
        epoch: u32,
    },
    /// This process does not lead (any more): nothing may be decided.
    Following,

    /// Somebody asks for something and waits for the answer.
    Asked {
        /// Who waits.
        ticket: Ticket,
        /// The caller's deadline on the boot clock, milliseconds.
        deadline_ms: u64,
        /// What is asked.
        request: Request,
    },

    /// A commit of a group's wanted set is durable.
    Committed {
        /// Which group.
        group: GroupId,
        /// The sequence now stored.
        sequence: u64,
    },
    /// A commit was refused because somebody else had moved the sequence.
    CommitLost {
        /// Which group.
        group: GroupId,
        /// What is stored instead.
        record: GroupRecord,
    },
    /// A commit's outcome is not known yet, or it failed; nothing of it is stored unless a later fact says so.
    CommitFailed {
        /// Which group.
        group: GroupId,
        /// Why.
        fault: StoreFault,
    },
    /// A machine's record is durable. `version` is the one the action carried.
    Recorded {
        /// Which machine.
        machine: MachineId,
        /// The version that is stored.
        version: u64,
    },
    /// A machine's record could not be stored; it is tried again later, or once it has changed if it was refused.
    RecordFailed {
        /// Which machine.
        machine: MachineId,
        /// Why.
        fault: StoreFault,
    },

    /// A live heartbeat of an agent, never a retained message.
    Beat(Beat),
    /// An agent's presence, retained or by its last will: a hint only.
    AgentState {
        /// Which agent.
        agent: AgentId,
        /// What it says.
        state: AgentState,
        /// Boot id it speaks for.
        boot_id: String,
        /// Process instance it speaks for.
        instance: String,
    },
    /// What an agent is and can do.
    AgentInfo(Arc<AgentInfo>),
    /// A result of a command.
    Reported(Report),
    /// A command has reached nobody, and will not.
    NotSent {
        /// The agent that it was for.
        agent: AgentId,
        /// The command.
        command: CommandId,
        /// Why.
        why: NotSent,
    },
    /// A call of the cluster-autoscaler told its version.
    AutoscalerSeen {
        /// Which.
        version: AutoscalerVersion,
    },
    /// The connection to the broker came up or went down.
    Broker {
        /// Whether it is up.
        up: bool,
    },
    /// The connection to the cluster's API came up or went down.
    Cluster {
        /// Whether it is up.
        up: bool,
    },

    /// A core Node as it is now.
    NodeSeen(NodeSeen),
    /// A core Node is gone.
    NodeGone {
        /// Its name.
        name: String,
    },
    /// Which volumes exist on one Node alone, all of them: at start, and after each change.
    LocalVolumes(Arc<LocalVolumes>),
    /// A Node's Lease was renewed.
    LeaseRenewed {
        /// The Node's name.
        name: String,
    },
    /// The outcome of fencing a machine's Node: tainted and cordoned, read back.
    Fenced {
        /// Which machine.
        machine: MachineId,
        /// `Err` holds why it could not be done.
        outcome: Result<(), String>,
    },
    /// The outcome of one consistent LIST of the pods on a machine's Node.
    PodsListed {
        /// Which machine.
        machine: MachineId,
        /// The pods that do not belong on a Node that stops; `Err` holds why it failed.
        outcome: Result<Vec<PodSeen>, String>,
    },
    /// What became of asking pods on a machine's Node to leave.
    Evicted {
        /// Which machine.
        machine: MachineId,
        /// Each pod that was to be asked.
        pods: Vec<Eviction>,
    },
    /// The outcome of patching, suspending or deleting a machine's core Node.
    NodeDone {
        /// Which machine.
        machine: MachineId,
        /// `Err` holds why it could not be done.
        outcome: Result<(), String>,
    },
}

/// Why the store did not take a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// It cannot be reached, or its answer did not arrive in time.
    Unavailable,
    /// It was not even asked, or has refused as things stand: the time in which this might be stored was over. Nothing of it
    /// is stored.
    TooLate,
    /// It refused the write for a reason of its own: our fault, no retry.
    Refused,
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The cluster-autoscaler wants more machines.
    Increase {
        /// Of which group.
        group: GroupId,
        /// How many more.
        delta: i32,
        /// The highest sequence of this group that a Refresh or a target size answer had contained before this call came.
        looked: u64,
    },
    /// The cluster-autoscaler gives machines back by identity.
    Delete {
        /// Of which group.
        group: GroupId,
        /// Which ones.
        nodes: Vec<NodeRef>,
    },
    /// The cluster-autoscaler takes back machines that have not joined.
    Decrease {
        /// Of which group.
        group: GroupId,
        /// Negative: how many fewer.
        delta: i32,
    },
    /// A person asks something of one machine.
    Ask {
        /// Which machine.
        machine: MachineId,
        /// Makes a repetition harmless.
        id: String,
        /// What.
        ask: Ask,
        /// Who.
        by: String,
    },
}

/// What a person may ask of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Hold its power one way.
    Power {
        /// Which way.
        power: OverridePower,
        /// Wall clock, milliseconds; absent means until released.
        until_ms: Option<i64>,
    },
    /// Take an override back.
    Release,
    /// Lift the quarantine and try again.
    Retry,
    /// "I have looked: it is off."
    ConfirmOff,
    /// Stop it once and wake it once, to prove that it can be woken.
    Prove,
}

/// A Node as the cluster-autoscaler names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRef {
    /// Its provider id.
    pub provider_id: String,
    /// Its name; a synthetic one for machines that have not joined.
    pub name: String,
}

/// Why a command has certainly not been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The broker took it and knows of nobody who listens for its agent.
    NobodyListens,
    /// There was no connection, the broker refused it, or this process must not send any more.
    NoWay,
}

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Which agent.
    pub agent: AgentId,
    /// The host's boot id.
    pub boot_id: Arc<str>,
    /// Random per process start.
    pub instance: String,
    /// The challenge that a command must carry back.
    pub challenge: String,
    /// For how long the host has been up, milliseconds.
    pub up_ms: u64,
}

/// An agent's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// Connected.
    Online,
    /// Its host goes down.
    Stopping,
    /// Gone, by its own word or by its last will.
    Offline,
}

/// What an agent is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentInfo {
    /// Which agent.
    pub agent: AgentId,
    /// Result key, `ed25519:…`.
    pub key: Option<Arc<str>>,
    /// Segments it relays for; empty means it is no relay.
    pub segments: Vec<String>,
    /// Names of the BMC credentials it holds; `None` where it does not say.
    pub credentials: Option<Vec<String>>,
    /// Names of its host's NICs that are armed for a magic packet; `None` where it cannot tell.
    pub wake_armed: Option<Arc<[String]>>,
    /// Processor architecture of its host, as Kubernetes writes it; `None` where it does not say.
    pub arch: Option<String>,
    /// Hardware addresses of its host's NICs.
    pub macs: Vec<String>,
    /// Highest token it has seen for each target.
    pub high_water: Vec<(MachineId, Token)>,
}

/// A result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who reports.
    pub agent: AgentId,
    /// The command.
    pub command: CommandId,
    /// How far it is.
    pub state: ReportState,
    /// Stable word of a refusal or failure; empty otherwise.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether it is worth trying once more, where it was not carried out.
    pub repeat: Repeat,
    /// What the BMC said, where the command read it.
    pub read: Option<PowerRead>,
    /// True only if it is signed by the agent's pinned key. Others prove nothing.
    pub trusted: bool,
}

/// Whether a command that was not carried out may go better another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It may: somebody was busy, out of reach, late.
    MayHelp,
    /// Not by the same agent before a person has changed something; more attempts may even lock an account.
    Useless,
}

/// How far a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportState {
    /// Checked and journaled.
    Accepted,
    /// Under way; for a power-off: the host goes down now.
    Running,
    /// Carried out.
    Done,
    /// Tried and failed.
    Failed,
    /// Not tried.
    Refused,
    /// Given up before it was tried.
    Aborted,
    /// Its outcome is not known to the agent.
    Interrupted,
}

/// A power state read from a BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRead {
    /// `On`.
    On,
    /// `Off`.
    Off,
    /// Anything else.
    Other,
}

/// A taint of a core Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value; empty where there is none.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// Names and values of a core Node, unchangeable. What was seen of a Node, learned from it and kept for its return is mostly the same,
/// and then held once.
pub type SharedMap = Arc<BTreeMap<String, String>>;

/// A core Node as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSeen {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// `spec.providerID`; empty where it has none yet.
    pub provider_id: String,
    /// Condition Ready is True.
    pub ready: bool,
    /// Condition Suspended is True.
    pub suspended: bool,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// `status.nodeInfo.bootID`.
    pub boot_id: String,
    /// Labels.
    pub labels: SharedMap,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Capacity by resource name.
    pub capacity: SharedMap,
    /// Allocatable by resource name.
    pub allocatable: SharedMap,
}
