//! Conditions of Group and Node, in the usual form of Kubernetes (list map by type).
//!
//! Not here: which conditions exist and when they turn; the coordinator decides that.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Time;

/// One observed truth about an object, readable by `kubectl describe` and `kubectl wait`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Name of the condition, for example Ready.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 64))]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// One stable word that says why.
    #[schemars(length(min = 1, max = 128))]
    pub reason: String,
    /// A sentence for people: what happened, and what helps.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
    /// When the status last changed.
    pub last_transition_time: Time,
    /// The metadata.generation that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell.
    Unknown,
}
