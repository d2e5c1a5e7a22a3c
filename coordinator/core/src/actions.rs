//! What the core wants done: its only output.
//!
//! Out: carried out by the shell's outputs, which answer with facts.
//! Holds: an action leaves no choice open; whoever carries it out decides nothing.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::facts::Taint;
use crate::ids::{AgentId, CommandId, GroupId, MachineId, Ticket, Token};
use crate::pods::PodRef;
use crate::record::{GroupRecord, MachineRecord};
use crate::spec::{NodeObjectPolicy, Redfish, WakeOnLan};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Store a group's wanted set if its stored sequence is still `expected`. Answered by
    /// `Committed`, `CommitLost` or `CommitFailed`.
    Commit {
        /// Which group.
        group: GroupId,
        /// The sequence that must be stored now.
        expected: u64,
        /// What to store instead; its sequence is `expected + 1`.
        record: GroupRecord,
        /// Not to be stored after this, on the boot clock, milliseconds: by then a caller was told that nothing happened.
        deadline_ms: Option<u64>,
    },
    /// Store a machine's record. Answered by `Recorded` or `RecordFailed`.
    Record {
        /// Which machine.
        machine: MachineId,
        /// Counts the records of this machine in this process; echoed in the answer.
        version: u64,
        /// What to store.
        record: Box<MachineRecord>,
    },
    /// Store the key an agent was first seen with.
    RecordAgent {
        /// Which agent.
        agent: AgentId,
        /// Its result key.
        key: String,
    },
    /// Answer a waiting caller. The view published before it already shows the effect.
    Answer {
        /// Who waits.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// Sign a command and publish it to its agent.
    Send(Command),
    /// Ask an agent for a heartbeat now.
    Ping {
        /// Which agent.
        agent: AgentId,
    },
    /// Taint and cordon a machine's Node and read it back. Answered by `Fenced`.
    Fence {
        /// Which machine.
        machine: MachineId,
        /// Its Node's name.
        node: String,
        /// Whose cordon it then is; written onto the Node, because only there it outlives this process.
        cordon: Cordon,
    },
    /// List the pods on a Node, consistently. Answered by `PodsListed`.
    ListPods {
        /// Which machine.
        machine: MachineId,
        /// Its Node's name.
        node: String,
    },
    /// Ask pods to leave, each only if its uid is still the same. Answered by `Evicted`.
    Evict {
        /// Which machine they are on.
        machine: MachineId,
        /// Which pods.
        pods: Vec<PodRef>,
    },
    /// Bring a Node to the given state. Answered by `NodeDone`.
    PatchNode {
        /// Which machine.
        machine: MachineId,
        /// The change.
        patch: NodePatch,
    },
    /// A machine is confirmed off: delete its Node, or mark it suspended. Answered by `NodeDone`.
    RetireNode {
        /// Which machine.
        machine: MachineId,
        /// Its Node's name.
        node: String,
        /// Its Node's uid: another Node of that name is not touched.
        uid: String,
        /// Which of the two.
        policy: NodeObjectPolicy,
    },
    /// Tell people.
    Event(Event),
}

/// Whose a fenced Node's cordon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cordon {
    /// Ours: it goes with the fence.
    Ours,
    /// A person had cordoned the Node before: it stays when the fence goes.
    Persons,
}

/// A change of a core Node: only what is named here is touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePatch {
    /// Its name.
    pub node: String,
    /// Its uid; another Node of that name is not touched.
    pub uid: String,
    /// Set the provider id; only ever where it has none.
    pub provider_id: Option<String>,
    /// Labels to add or replace.
    pub labels: BTreeMap<String, String>,
    /// Annotations to add or replace.
    pub annotations: BTreeMap<String, String>,
    /// Annotations to remove.
    pub remove_annotations: Vec<String>,
    /// The taints as they shall be, if they change, and as they must be before.
    pub taints: Option<TaintChange>,
    /// `spec.unschedulable` as it shall be, if it changes.
    pub unschedulable: Option<bool>,
    /// Clear the condition Suspended.
    pub resume: bool,
}

/// A change of a Node's taints that applies only to the taints it was computed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaintChange {
    /// The taints that must be there now.
    pub from: Vec<Taint>,
    /// The taints that shall be there.
    pub to: Vec<Taint>,
}

/// An answer to a [`crate::Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is durable.
    Done,
    /// It was not done, and nothing changed.
    Rejected(Rejected),
}

/// Why a request changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The class.
    pub kind: RejectedKind,
    /// For people: what was asked, what stands against it.
    pub message: String,
}

/// Classes of rejection, as the autoscaler's status codes tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedKind {
    /// No such group or machine.
    NotFound,
    /// The arguments make no sense.
    InvalidArgument,
    /// They make sense, but not in this state.
    FailedPrecondition,
    /// Not enough usable machines.
    ResourceExhausted,
    /// It could not be stored, or this process does not lead.
    Unavailable,
    /// The caller's deadline passed first.
    DeadlineExceeded,
}

/// An order for an agent, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// ULID; a repetition carries the same one.
    pub id: CommandId,
    /// The operation it belongs to.
    pub operation: CommandId,
    /// Which agent shall carry it out.
    pub agent: AgentId,
    /// Which machine it is about.
    pub target: MachineId,
    /// Fencing token.
    pub token: Token,
    /// The challenge of the agent's latest heartbeat.
    pub challenge: String,
    /// The boot it is meant for, where it must not act on another.
    pub boot_id: Option<String>,
    /// What to do.
    pub verb: Verb,
    /// Who asked.
    pub actor: String,
    /// Why, at most 256 characters.
    pub reason: String,
}

/// What an agent shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Shut its own host down.
    PowerOff,
    /// Send magic packets.
    Wake(WakeOnLan),
    /// Redfish `On`.
    RedfishOn(Redfish),
    /// Redfish `GracefulShutdown`.
    RedfishStop(Redfish),
    /// Redfish `ForceOff`.
    RedfishForceOff(Redfish),
    /// Read the power state from the BMC.
    RedfishStatus(Redfish),
}

/// Something people should be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// About what.
    pub about: Subject,
    /// How bad.
    pub severity: Severity,
    /// Stable word, in CamelCase.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
    /// The machine's operation in whose course it happened, if one was under way.
    pub operation: Option<CommandId>,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A machine.
    Machine(MachineId),
    /// A group.
    Group(GroupId),
}

/// How bad an event is, in Kubernetes' two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As expected.
    Normal,
    /// Somebody should look.
    Warning,
}
