//! The coordinator's decisions: which machine wakes, which one stops, and when.
//!
//! In: [`Fact`]s and a [`Now`]. Out: [`Action`]s, a [`View`], and the next deadline.
//! Holds: no clock, no I/O, no randomness but the seed it is given; the same facts give the same actions, byte for byte.
//! Holds: no power is moved before the operation, its id and its token, is stored. Ids of single wakes and of reads of a BMC,
//! and their sequence numbers above that token, are minted in memory. Power is observed, never assumed.
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
mod awaited;
mod choice;
mod concerns;
mod facts;
mod groups;
mod identity;
mod ids;
mod lab;
mod lifecycle;
mod machine;
mod names;
mod node;
mod observing;
mod permission;
mod pods;
mod policy;
mod power;
mod present;
mod record;
mod removal;
mod requests;
mod routine;
mod seen;
mod sightings;
mod spec;
mod stopping;
mod telling;
mod template;
mod trace;
mod upkeep;
mod view;
mod volumes;
mod waking;
mod why;
mod wishes;

pub use crate::actions::{
    Action, Answer, Command, Cordon, Event, NodePatch, Rejected, RejectedKind, Severity, Subject,
    TaintChange, Verb,
};
pub use crate::concerns::{Concern, Concerns};
pub use crate::facts::{
    AgentInfo, AgentState, Ask, Beat, Fact, NodeRef, NodeSeen, NotSent, PowerRead, Repeat, Report,
    ReportState, Request, SharedMap, StoreFault, Taint,
};
pub use crate::ids::{AgentId, CommandId, GroupId, MachineId, Now, Ticket, Token};
pub use crate::lab::Lab;
pub use crate::node::{
    CORDONED_BY_PERSON, GROUP_LABEL, HOSTNAME_LABEL, POWER_OFF_TAINT, SCALE_DOWN_DISABLED,
    SCALE_DOWN_DISABLED_BY,
};
pub use crate::pods::{Eviction, EvictionOutcome, PodRef, PodSeen, PodStanding};
pub use crate::policy::{AutoscalerVersion, NoVersion, Policy, ProviderScheme};
pub use crate::record::{
    BOOTS_KEPT, GroupRecord, Increase, Learned, MachineRecord, NodeBackup, OffOrder, Operation,
    OperationKind, Outage, Override, OverridePower, PowerRecord, PowerState, Quarantine, Witness,
};
pub use crate::spec::{
    Declared, Energy, ForceOff, GroupSpec, Joins, LocalVolumePolicy, MachineSpec, Mode,
    NodeObjectPolicy, PowerPolicy, PriceWindow, Redfish, ScaleDown, StopMethod, Timeouts,
    WakeMethod, WakeOnLan,
};
pub use crate::template::amount;
pub use crate::view::{
    AgentView, DrainState, GroupView, HeldNode, Instance, InstanceState, MachineView, PhaseName,
    Template, View, Wish,
};
pub use crate::volumes::LocalVolumes;
