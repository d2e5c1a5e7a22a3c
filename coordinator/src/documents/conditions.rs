//! Conditions: what was found, merged with what stood there before.
//!
//! Holds: the transition time moves only when the status of a condition does; conditions of others stay.

use coordinator_crds as crds;
use crds::{Condition, ConditionStatus};

use super::whole_second;

/// Longest message that the schema takes.
const MAX_MESSAGE: usize = 4096;

/// One condition as found now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the condition.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One stable word.
    pub reason: String,
    /// What happened, and what helps.
    pub message: String,
    /// A finding that only takes back what stood there before: it is left out where nothing did.
    pub only_if_present: bool,
}

impl Finding {
    /// A finding that is always shown.
    #[must_use]
    pub fn new(type_: &'static str, status: ConditionStatus, reason: &str, message: &str) -> Self {
        Self {
            type_,
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
            only_if_present: false,
        }
    }

    /// The end of a condition that is shown only once it has been true.
    #[must_use]
    pub fn over(type_: &'static str, reason: &str) -> Self {
        Self {
            only_if_present: true,
            ..Self::new(type_, ConditionStatus::False, reason, "")
        }
    }
}

/// The conditions as they shall be stored, in the order of their types.
#[must_use]
pub fn refresh(
    previous: &[Condition],
    findings: &[Finding],
    generation: Option<i64>,
    now_ms: i64,
) -> Vec<Condition> {
    let mut fresh: Vec<Condition> = previous
        .iter()
        .filter(|old| findings.iter().all(|found| found.type_ != old.type_))
        .cloned()
        .collect();
    for found in findings {
        let old = previous.iter().find(|old| old.type_ == found.type_);
        if old.is_none() && found.only_if_present {
            continue;
        }
        let unmoved = old.filter(|old| old.status == found.status);
        fresh.push(Condition {
            type_: found.type_.to_owned(),
            status: found.status,
            reason: found.reason.chars().take(128).collect(),
            message: found.message.chars().take(MAX_MESSAGE).collect(),
            last_transition_time: unmoved.map_or_else(
                || whole_second(now_ms),
                |old| old.last_transition_time.clone(),
            ),
            observed_generation: generation,
        });
    }
    fresh.sort_by(|a, b| a.type_.cmp(&b.type_));
    fresh
}
