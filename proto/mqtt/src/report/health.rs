//! Health: the sensors of a host, and what a relay sees of the machines behind it.

use crate::names::AgentId;
use crate::payload::Payload;
use crate::power::Power;
use crate::text::Text;
use crate::version::V1;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Readings of a host: retained with an expiry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The version of this payload.
    pub v: V1,
    /// The host's uptime when this was read, in seconds.
    pub at_up_s: u64,
    /// The host's wall clock when this was read, in seconds since 1970: people are told of a wrong one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_wall_s: Option<u64>,
    /// Load over one minute.
    pub load1: f32,
    /// Memory in use, in per cent.
    pub mem_used_pct: f32,
    /// Temperatures by sensor, in degrees Celsius.
    #[serde(default)]
    pub temps: BTreeMap<String, f32>,
    /// File systems.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Power draw, in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f32>,
    /// Energy since some moment in the past, in watt-hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_wh: Option<f64>,
    /// People logged in.
    #[serde(default)]
    pub users: u16,
    /// Block inhibitors held.
    #[serde(default)]
    pub inhibitors: u16,
    /// What this relay saw last of machines behind BMCs: a hint, never a proof.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetSight>,
}

impl Payload for Health {}

/// A file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// Its name.
    pub name: Text<64>,
    /// Space in use, in per cent.
    pub used_pct: f32,
    /// Its own verdict on its health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smart: Option<Text<32>>,
}

/// What a relay saw of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSight {
    /// The machine.
    pub machine: AgentId,
    /// Its power state.
    pub power: Power,
    /// The relay's uptime when it looked, in seconds.
    pub at_up_s: u64,
}
