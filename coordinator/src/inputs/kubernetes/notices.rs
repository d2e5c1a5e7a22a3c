//! What the watches find that the core has no part in, for the outputs to act on.
//!
//! Holds: nothing here moves power.

use coordinator_core::MachineId;

use super::{declared::Key, mirror::Place};

/// Put on a Node (ours) while its core Node carries our taint or our cordon, which must be undone before it goes.
pub(crate) const FINALIZER: &str = "homelab-autoscaler.dev/node-taint";

/// One thing to do.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// People must read something that the core does not tell them.
    Complaint(Complaint),
    /// A Node (ours) is being deleted.
    Undo(Undo),
}

/// What people must read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// What stands about an object that the core is not told about is something else, or over: the mirror has it.
    Object(Kind, Key),
    /// A person's request was not carried out: say so and take it off the object.
    AskRejected {
        /// Of which machine.
        machine: MachineId,
        /// Id of the request.
        id: String,
        /// Why.
        message: String,
    },
}

/// Our marks are to be taken off a core Node, then the finalizer off the object that is being deleted.
#[derive(Clone, Debug)]
pub(crate) struct Undo {
    /// The object that is being deleted.
    pub(crate) place: Place,
    /// Its core Node.
    pub(crate) node: String,
    /// A person had cordoned the core Node, so the cordon stays.
    pub(crate) cordoned: bool,
}

/// Our two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Group.
    Group,
    /// Node.
    Machine,
}

impl Kind {
    /// The kind as documents name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Group => "Group",
            Self::Machine => "Node",
        }
    }
}
