//! What agents tell: presence, heartbeat, health, inventory and results; and the coordinator's own presence.
//! Holds: only results are signed; everything else is a hint that a broker could have forged.
//! Not here: what a report means for a machine (coordinator/core).

mod health;
mod inventory;
mod presence;
mod result;

pub use health::{Disk, Health, TargetSight};
pub use inventory::{Hardware, Inventory, MAX_CREDENTIALS, Nic, Segment, WakeFlag};
pub use presence::{
    AgentState, CoordinatorState, CoordinatorStatus, Heartbeat, HeartbeatState, MAX_MARKS, Policy,
    Status, StatusReason,
};
pub use result::{
    BmcOutcome, Code, HostNic, HostOutcome, LastResults, MAX_LAST_RESULTS, Outcome, ResultBody,
    ResultState, Sent, WakeOutcome,
};
