//! What the coordinator writes about a Group: the autoscaler's wish, and what became of it.
//!
//! Holds: `wanted.sequence` never decreases (the API server refuses it), so a lost race shows as a moved sequence.
//! Not here: `spec`; it belongs to people and the coordinator never writes it.

#![allow(
    unreachable_pub,
    reason = "KubeSchema derives a public copy of each struct inside a function"
)]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, Quantity, Time, bounds, group::Taint};

/// Most machines one wish can list, and so the largest group.
pub const MAX_MACHINES: u32 = 2000;

/// What is so, and what the autoscaler wishes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.wanted) || has(self.wanted)")
        .message("status.wanted cannot be removed: keep its sequence and empty machines instead")
)]
pub struct GroupStatus {
    /// The metadata.generation this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The autoscaler's wish: the machines that shall run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wanted>,
    /// Number of machines that are wanted; kubectl scale and the autoscaler see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2000))]
    pub target_size: Option<u32>,
    /// Number of Nodes that name this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<u32>,
    /// Machines that run and have joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,
    /// Machines between two states: waking or stopping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transitioning: Option<u32>,
    /// Machines whose power-off is proven or inferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asleep: Option<u32>,
    /// Machines that are left out because they failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<u32>,
    /// The upper limit in force: spec.maxSize, cut to the usable members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u32>,
    /// What the group tells the autoscaler about the next machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<AdvertisedTemplate>,
    /// Conditions, one for each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// The wish for a group, changed as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.sequence >= oldSelf.sequence")
        .message("status.wanted.sequence cannot decrease")
        .field_path(".sequence")
)]
pub struct Wanted {
    /// Grows by one with each change of the wish.
    #[schemars(range(min = 0))]
    pub sequence: i64,
    /// Names of the machines that shall run. Absence is no order to stop.
    #[serde(default)]
    #[schemars(length(max = 2000), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub machines: Vec<String>,
    /// The size increase that this sequence stands for, if it was one: its repetition is recognised by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_increase: Option<LastIncrease>,
}

/// A size increase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastIncrease {
    /// By how many machines.
    #[schemars(range(min = 1))]
    pub delta: i32,
    /// When it was stored.
    pub at: Time,
}

/// What is advertised, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdvertisedTemplate {
    /// Digest of the advertised Node; it moves when the template does.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Declared, Learned or Merged, with the names of the machines that it was learned from.
    #[schemars(length(max = 320))]
    pub source: String,
    /// When the newest learned part was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_at: Option<Time>,
    /// What a machine that is woken next offers to pods at least, by resource.
    #[serde(default)]
    #[schemars(schema_with = "bounds::quantities")]
    pub allocatable: BTreeMap<String, Quantity>,
    /// Labels that its Node will have.
    #[serde(default)]
    #[schemars(schema_with = "bounds::labels")]
    pub labels: BTreeMap<String, String>,
    /// Taints that its Node may have.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub taints: Vec<Taint>,
}
