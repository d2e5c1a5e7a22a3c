//! The latest sensors of each agent, for people: nothing is decided by them.
//! Holds: unsigned and possibly old, so each carries when it came; the number of agents is bounded.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use coordinator_core::AgentId;
use proto_mqtt::report::Health;
use serde::Serialize;

/// Agents whose sensors are kept; a lab has far fewer, and the broker's users are not trusted.
const MOST: usize = 4096;

/// What an agent's sensors said last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// When it came, wall clock, milliseconds.
    pub at_ms: i64,
    /// What it said.
    #[serde(flatten)]
    pub health: Health,
}

/// The latest readings; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    latest: Arc<RwLock<BTreeMap<AgentId, Reading>>>,
}

impl Readings {
    pub(super) fn came(&self, agent: &AgentId, reading: Reading) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        if latest.len() < MOST || latest.contains_key(agent) {
            latest.insert(agent.clone(), reading);
        }
    }

    /// The latest reading of an agent.
    #[must_use]
    pub fn of(&self, agent: &AgentId) -> Option<Reading> {
        self.latest
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(agent)
            .cloned()
    }
}
