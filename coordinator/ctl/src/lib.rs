//! `homelabctl`: look at the lab and override it by hand.
//!
//! In: arguments; a cluster's API server, or the local socket of a coordinator. Out: tables, YAML, TOML and JSON.
//! Holds: it decides nothing. It shows what the coordinator wrote, and leaves requests that the coordinator takes.

mod agent_config;
mod args;
mod ask;
mod check;
mod cluster;
mod explain;
mod fault;
mod lab;
mod local;
mod moments;
mod near;
mod node_init;
mod run;
mod source;
mod table;

#[cfg(feature = "fuzz")]
pub use check::fuzz;
pub use run::main;
