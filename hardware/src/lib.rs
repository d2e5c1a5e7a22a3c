//! Drivers that switch real machines and read whether they are on.
//! In: a [`Step`] for one machine, and where the machine's hardware is. Out: [`Applied`], a [`Reading`], or a [`Fault`].
//! Holds: one folder and one Cargo feature for each driver; `apply` does one thing and never waits for the machine;
//! nothing is assumed: a power state that was not read is `Unknown`.
//! Not here: what should be on (`coordinator`), whether a command may run (`agent-core`), retries, escalation.
//!
//! | feature | driver | acts | reads |
//! |---|---|---|---|
//! | `wake-on-lan` | `wake_on_lan` | on | |
//! | `redfish` | `redfish` | on, shutdown, hard off | power |
//! | `host` | [`host`], and `nic` for the wake flag of network cards | shutdown, reboot of this very host | |
//! | `simulated` | `simulated` | everything, after a script | power |

mod fault;
mod mac_address;
mod power;

#[cfg(feature = "host")]
pub mod host;
#[cfg(feature = "host")]
pub mod nic;
#[cfg(feature = "redfish")]
pub mod redfish;
#[cfg(feature = "simulated")]
pub mod simulated;
#[cfg(feature = "wake-on-lan")]
pub mod wake_on_lan;

pub use fault::{Effect, Fault, FaultKind};
pub use mac_address::{MacAddress, MacAddressFault};
pub use power::{Answer, Applied, Basis, Power, PowerSwitch, Reading, Sensor, Step};
