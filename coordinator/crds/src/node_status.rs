//! What the coordinator writes about a machine: observed power, standing orders, and what it needs to know after a restart.
//!
//! Holds: `token` never decreases and never disappears (the API server refuses it).
//! Not here: who wants the machine running; that list is `Group.status.wanted`.

#![allow(
    unreachable_pub,
    reason = "KubeSchema derives a public copy of each struct inside a function"
)]

mod orders;

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, Quantity, Time, bounds, group::Taint};

pub use orders::{Ask, AskVerb, Operation, OperationKind, OrderedOff, Override, Token};

/// What is so, and what is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.token) || has(self.token)")
        .message("status.token cannot be removed: agents remember the highest one and would refuse every later command")
)]
pub struct NodeStatus {
    /// The metadata.generation this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the machine stands in its life, one word like Waking or Quarantined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub phase: Option<String>,
    /// Since when it is in this phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Why, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub why: Option<String>,
    /// The wish in force: running, stopped, or any (left as it is).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<WantedPower>,
    /// Observed power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<ObservedPower>,
    /// The operation under way; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The standing order to power the machine off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_off: Option<OrderedOff>,
    /// Highest fencing token given out for this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// Boot id that was last seen alive.
    #[serde(default, rename = "bootID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub boot_id: Option<String>,
    /// What is known about waking it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<WakeRecord>,
    /// When power-off was last confirmed; the machine that is off longest wakes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_off_at: Option<Time>,
    /// Set while the machine is off or silent without our order, if that changes what happens to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
    /// Set while the machine is left out because it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// Provider id in force.
    #[serde(
        default,
        rename = "providerID",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 512))]
    pub provider_id: Option<String>,
    /// What this machine looked like when it last was a Ready Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<LearnedTemplate>,
    /// What people had put on the core Node, kept while that object is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_backup: Option<NodeBackup>,
    /// The agent of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentRecord>,
    /// A person's override; it ends by itself.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub override_: Option<Override>,
    /// A person's request that the coordinator has not taken yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
    /// Id of the last request that the coordinator took.
    #[serde(default, rename = "lastAskID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_ask_id: Option<String>,
    /// Conditions, one for each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// The wish for one machine, in words that YAML does not read as booleans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WantedPower {
    /// It shall run.
    Running,
    /// It was ordered off.
    Stopped,
    /// Nobody wishes anything; it is left as it is.
    Any,
}

/// Power as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservedPower {
    /// What was seen.
    pub state: PowerState,
    /// True if nobody measured it: concluded from our own order and the silence after it.
    #[serde(default)]
    pub inferred: bool,
    /// Short form for tables, a question mark if inferred.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub shown: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Who established it: bmc, agent, kubelet, person, or inferred from our own order and the silence after it.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub source: String,
}

/// Power states. Unknown counts as neither of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PowerState {
    /// It runs.
    Running,
    /// It is off.
    #[serde(rename = "PoweredOff")]
    Off,
    /// Nobody can tell.
    Unknown,
}

/// What is known about waking a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WakeRecord {
    /// When we last woke it ourselves; without it the autoscaler may not stop it (see requireProof).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<Time>,
    /// Seconds that its last boots took from the first wake to joining, newest last; three and more shorten spec.timeouts.boot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub boot_seconds: Vec<u32>,
}

/// What became of a machine without our order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    /// Which.
    pub kind: OutageKind,
    /// PowerCut only: not woken before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// Kinds of outages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OutageKind {
    /// It fell silent together with many of its group.
    PowerCut,
    /// It alone went off; it is taken out of the wish.
    SwitchedOff,
}

/// A pause after a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// When it ends by itself.
    pub until: Time,
    /// Failures in a row.
    pub count: u32,
    /// One stable word, for example BootTimeout.
    #[schemars(length(max = 128))]
    pub reason: String,
    /// What happened, for people.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// What a machine looked like as a Ready Node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LearnedTemplate {
    /// When it was seen.
    pub at: Time,
    /// Node.status.capacity.
    #[serde(default)]
    #[schemars(schema_with = "bounds::quantities")]
    pub capacity: BTreeMap<String, Quantity>,
    /// Node.status.allocatable.
    #[serde(default)]
    #[schemars(schema_with = "bounds::quantities")]
    pub allocatable: BTreeMap<String, Quantity>,
    /// Labels that a scheduler looks at.
    #[serde(default)]
    #[schemars(schema_with = "bounds::labels")]
    pub labels: BTreeMap<String, String>,
    /// Taints that are neither ours nor transient.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub taints: Vec<Taint>,
}

/// What comes back onto the core Node when the machine does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeBackup {
    /// When it was taken.
    pub at: Time,
    /// Labels.
    #[serde(default)]
    #[schemars(schema_with = "bounds::labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations; single ones above 8 KiB are left out.
    #[serde(default)]
    #[schemars(schema_with = "bounds::annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Taints.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub taints: Vec<Taint>,
    /// True if a person had cordoned it.
    #[serde(default)]
    pub unschedulable: bool,
}

/// What is known of the agent of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentRecord {
    /// Ed25519 key that its results are signed with, pinned when it is seen first and never replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub public_key: Option<String>,
}
