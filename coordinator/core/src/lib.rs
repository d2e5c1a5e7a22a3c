//! The coordinator's decisions: which machine wakes, which one stops, and when.
//!
//! In: [`Fact`]s and a [`Now`]. Out: [`Action`]s, a [`View`], and the next deadline.
//! Holds: no clock, no I/O, no randomness but the seed it is given; the same facts give the same actions, byte for byte.
//! Holds: nothing is sent that was not stored before; power is observed, never assumed.
//! Not here: Kubernetes, MQTT, gRPC, files. The shell (crate `coordinator`) turns those into facts and carries out the actions.
//!
//! ```text
//! Fact ─→ observe ─→ Lab ─→ decide ─→ Action
//!                     └────→ view ───→ View
//! ```
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod actions;
mod agents;
mod choice;
mod facts;
mod groups;
mod ids;
mod lab;
mod lifecycle;
mod machine;
mod node;
mod observing;
mod policy;
mod power;
mod present;
mod record;
mod removal;
mod requests;
mod routine;
mod sightings;
mod spec;
mod stopping;
mod upkeep;
mod view;
mod waking;
mod wishes;

pub use crate::actions::{
    Action, Answer, Command, Event, NodePatch, Rejected, RejectedKind, Severity, Subject,
    TaintChange, Verb,
};
pub use crate::facts::{
    AgentInfo, AgentState, Ask, Beat, Fact, NodeRef, NodeSeen, PowerRead, Report, ReportState,
    Request, StoreFault, Taint,
};
pub use crate::ids::{AgentId, CommandId, GroupId, MachineId, Now, Ticket, Token};
pub use crate::lab::Lab;
pub use crate::policy::{Policy, ProviderScheme};
pub use crate::record::{
    GroupRecord, Increase, Learned, MachineRecord, NodeBackup, OffOrder, Operation, OperationKind,
    Override, OverridePower, PowerRecord, PowerState, Quarantine,
};
pub use crate::spec::{
    Declared, ForceOff, GroupSpec, Joins, MachineSpec, Mode, NodeObjectPolicy, PowerPolicy,
    Redfish, ScaleDown, StopMethod, Timeouts, WakeMethod, WakeOnLan,
};
pub use crate::view::{
    AgentView, GroupView, Instance, InstanceState, MachineView, PhaseName, Template, View, Wish,
};
