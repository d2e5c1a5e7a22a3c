//! The latest sensors of each agent, for people: nothing is decided by them.
//! Holds: unsigned and possibly old, so each carries when it came. Not here: how many agents there may be (`reader`).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use coordinator_core::AgentId;
use proto_mqtt::report::Health;
use serde::Serialize;

/// What an agent's sensors said last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// When it came, wall clock, milliseconds.
    pub at_ms: i64,
    /// By how many seconds the host's wall clock is ahead of ours; only a message that was not stored meanwhile can tell.
    #[serde(skip)]
    pub clock_ahead_s: Option<i64>,
    /// What it said.
    #[serde(flatten)]
    pub health: Health,
}

impl Reading {
    /// A reading that came at `at_ms`; `stored` if the broker had kept it, for nobody knows how long.
    pub(super) fn new(health: Health, at_ms: i64, stored: bool) -> Self {
        let told = health.at_wall_s.filter(|_| !stored);
        let told = told.and_then(|wall_s| i64::try_from(wall_s).ok());
        Self {
            at_ms,
            clock_ahead_s: told.map(|wall_s| wall_s.saturating_sub(at_ms.div_euclid(1000))),
            health,
        }
    }
}

/// The latest readings; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    latest: Arc<RwLock<BTreeMap<AgentId, Reading>>>,
}

impl Readings {
    pub(super) fn came(&self, agent: &AgentId, reading: Reading) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        latest.insert(agent.clone(), reading);
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
