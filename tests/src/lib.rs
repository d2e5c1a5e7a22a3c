//! What the tests of this workspace share, and the programs built from it.
//! Holds: nothing outside the tests depends on this crate.

pub mod bench;
pub mod ca_model;
pub mod caller;
pub mod cluster_stage;
pub mod demo;
pub mod dice;
pub mod guide;
pub mod harness;
pub mod hollow;
pub mod lan;
pub mod lan_stage;
pub mod mock_bmc;
mod passage;
pub mod recorder;
pub mod simulation;
pub mod stage;
pub mod unsteady;
pub mod wiretap;
pub mod workload;
