//! `homelab-agent`: carries out power commands on its own host, and as a relay on the machines around it.
//! In: signed commands over MQTT, one TOML file. Out: drivers of the crate hardware, reports over MQTT.
//! Holds: every decision is agent-core's; this crate is its clock, disk, network, random source and hands.
//!
//! ```text
//! broker ─LinkEvent→ run ─Input→ agent-core ─Step→ shell ─┬→ link (reports)
//!                     ↑                                   ├→ journal file
//!                     └──────────── Input ────────────────┴→ host: logind, magic packets, BMCs
//! ```

pub mod args;

mod check;
mod clock;
mod config;
mod finding;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod host;
mod journal_file;
mod publications;
mod result_key;
mod run;
mod segments;
mod shell;
mod signals;
mod systemd;
mod wake;
