//! What the tests of this workspace share, and the programs built from it.
//! Holds: nothing outside the tests depends on this crate.

pub mod ca_model;
pub mod demo;
pub mod harness;
pub mod hollow;
pub mod mock_bmc;
pub mod recorder;
pub mod stage;
pub mod workload;
