//! Real programs for tests: the Kubernetes control plane, mosquitto, sushy-tools and this workspace's binaries.
//! Holds: everything listens on loopback, lives in its own temporary folder, and is gone when its value is dropped.
//! Not here: machines, recorders and model clients; they are modules beside this one.

pub mod agent;
pub mod cable;
pub mod certs;
pub mod control_plane;
pub mod coordinator;
pub mod members;
pub mod mosquitto;
pub mod ports;
pub mod process;
pub mod programs;
pub mod sushy;
pub mod wait;
pub mod workdir;

pub use agent::{AgentAccount, BmcLogin};
pub use cable::Cable;
pub use control_plane::{Account, ControlPlane, Parts, shipped};
pub use coordinator::{Coordinator, Ports};
pub use members::Member;
pub use mosquitto::{Broker, Login, Mosquitto, Persistence, Transport};
pub use ports::Port;
pub use process::Process;
pub use sushy::{Power, Sushy, SushyOptions, System};
pub use workdir::WorkDir;
