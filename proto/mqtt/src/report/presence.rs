//! Presence: the agent's retained status (also its last will), its heartbeat, and the coordinator's status.

use crate::challenge::Challenge;
use crate::names::{AgentId, BootId, Instance};
use crate::payload::Payload;
use crate::text::Text;
use crate::token::Token;
use crate::ulid::Ulid;
use crate::version::V1;
use crate::wire_enum::wire_enum;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The most marks in one status: with the longest names they just fit into a payload.
pub const MAX_MARKS: usize = 64;

/// Presence and identity of an agent: retained; the last will has the same shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this payload.
    pub v: V1,
    /// Whether it is there.
    pub state: AgentState,
    /// Why it says so.
    pub reason: StatusReason,
    /// The kernel boot.
    pub boot: BootId,
    /// The process.
    pub inst: Instance,
    /// The connection of the process, from 1: pairs a will with its session.
    pub conn: u32,
    /// The agent's version.
    pub agent: Text<32>,
    /// The major versions that it speaks.
    pub proto: Vec<u8>,
    /// The version of the set of keys that it trusts.
    pub trust_version: u32,
    /// The highest token that it has accepted for any target.
    pub hwm: Token,
    /// The operation under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<Ulid>,
    /// What stands against switching off.
    pub policy: Policy,
    /// The highest token that it has accepted for each target, at most [`MAX_MARKS`]; the lowest are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<AgentId, Token>,
}

impl Payload for Status {}

wire_enum! {
    /// Whether an agent is there.
    pub enum AgentState {
        /// It is connected.
        Online = "online",
        /// It is about to take its host down.
        Stopping = "stopping",
        /// It is gone; says nothing about its host's power.
        Offline = "offline",
    }
}

wire_enum! {
    /// Why a status was published.
    pub enum StatusReason {
        /// A connection was made.
        Start = "start",
        /// The broker lost the agent and published its will.
        Lwt = "lwt",
        /// The agent was asked to end.
        Sigterm = "sigterm",
        /// The host is going down, by somebody else's wish.
        HostShutdown = "host_shutdown",
        /// An operation began.
        Op = "op",
        /// Something in the status changed.
        Update = "update",
    }
}

/// What stands against switching a host off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Somebody works on the host.
    pub maintenance: bool,
    /// A block inhibitor is held on the host.
    pub inhibited: bool,
}

/// A sign of life, with the challenge that the next command must repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The version of this payload.
    pub v: V1,
    /// The kernel boot.
    pub boot: BootId,
    /// The process.
    pub inst: Instance,
    /// The connection of the process.
    pub conn: u32,
    /// The number of this heartbeat in the process.
    pub n: u64,
    /// The newest challenge.
    pub chal: Challenge,
    /// How long the host has been up, suspend included, in seconds.
    pub up_s: u64,
    /// How the agent is.
    pub st: HeartbeatState,
    /// The operation under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<Ulid>,
}

impl Payload for Heartbeat {}

wire_enum! {
    /// How an agent is.
    pub enum HeartbeatState {
        /// Ready.
        Ok = "ok",
        /// Something is wrong; destructive orders may be refused.
        Degraded = "degraded",
        /// An order is under way.
        Busy = "busy",
        /// Somebody works on the host.
        Maintenance = "maintenance",
    }
}

/// Presence of the coordinator: retained; agents never act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    /// The version of this payload.
    pub v: V1,
    /// Whether it is there.
    pub state: CoordinatorState,
    /// Who leads: the name of a pod or host.
    pub leader: Text<253>,
    /// Since when, RFC 3339, for people.
    pub since: Text<40>,
}

impl Payload for CoordinatorStatus {}

wire_enum! {
    /// Whether a coordinator is there.
    pub enum CoordinatorState {
        /// It leads and is connected.
        Online = "online",
        /// It is gone.
        Offline = "offline",
    }
}

impl Status {
    /// Whether this status was published by the same connection of the same process.
    #[must_use]
    pub fn same_session(&self, boot: &BootId, inst: Instance, conn: u32) -> bool {
        self.boot == *boot && self.inst == inst && self.conn == conn
    }
}
