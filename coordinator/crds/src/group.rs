//! The Group as people write it: which machines belong together, and how many of them may run.
//!
//! Holds: `spec: {}` is valid; what is not written has the default shown here.
//! Not here: which machines are members; each Node names its group.

#![allow(
    unreachable_pub,
    reason = "KubeSchema derives a public copy of each struct inside a function"
)]

use std::{collections::BTreeMap, time::Duration};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Energy, GroupStatus, Quantity, Threshold, bounds, duration, rules};

/// Machines that are alike to the autoscaler.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "homelab-autoscaler.dev",
    version = "v1alpha1",
    kind = "Group",
    plural = "homelabgroups",
    singular = "homelabgroup",
    shortname = "hg",
    category = "homelab",
    namespaced,
    status = "GroupStatus",
    derive = "PartialEq",
    doc = "Machines that are alike to the autoscaler: it decides how many of them run.",
    scale(
        spec_replicas_path = ".spec.targetSize",
        status_replicas_path = ".status.targetSize"
    ),
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "description": "Who decides the size"}"#,
    printcolumn = r#"{"name": "Min", "type": "integer", "jsonPath": ".spec.minSize", "description": "Machines kept running"}"#,
    printcolumn = r#"{"name": "Max", "type": "integer", "jsonPath": ".status.maxSize", "description": "Upper limit in force"}"#,
    printcolumn = r#"{"name": "Target", "type": "integer", "jsonPath": ".status.targetSize", "description": "Machines wanted"}"#,
    printcolumn = r#"{"name": "Ready", "type": "integer", "jsonPath": ".status.ready", "description": "Machines that run and have joined"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::MIN_BELOW_MAX,
    validation = rules::TARGET_NEEDS_MANUAL,
    validation = rules::MANUAL_NEEDS_TARGET,
    validation = rules::TARGET_IN_RANGE
)]
pub struct GroupSpec {
    /// Who decides the size: Autoscaler, or Manual (targetSize and kubectl scale).
    #[serde(default)]
    pub mode: Mode,
    /// Machines that always run; the coordinator keeps this many awake by itself.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2000))]
    pub min_size: u32,
    /// Most machines that may run. Unset: all usable members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2000))]
    pub max_size: Option<u32>,
    /// Number of machines that shall run, only with mode Manual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2000))]
    pub target_size: Option<u32>,
    /// What becomes of the core Node of a machine that is off: Delete it, or Retain it suspended (needs cluster-autoscaler 1.36).
    #[serde(default)]
    pub node_object_policy: NodeObjectPolicy,
    /// What follows from bound volumes that exist on one machine alone: Protect (the autoscaler is told to leave it alone), or Ignore.
    #[serde(default)]
    pub local_volume_policy: LocalVolumePolicy,
    /// What a machine of this group offers, where that was not learned from its members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// The autoscaler's own options, for this group only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScaleDown>,
    /// What running one of its machines costs, for the autoscaler's price expander.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
    /// If true, the autoscaler may stop only machines that we have woken before.
    #[serde(default = "yes")]
    pub require_proof: bool,
    /// If true, this group's machines are left as they are. The autoscaler may only stop waiting for those that have not joined.
    #[serde(default)]
    pub paused: bool,
}

/// Default of switches that protect.
fn yes() -> bool {
    true
}

/// Who decides how many machines run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// The cluster-autoscaler.
    #[default]
    Autoscaler,
    /// A person, by targetSize.
    Manual,
}

/// What becomes of the core Node of a machine that is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodeObjectPolicy {
    /// It is deleted once power-off is confirmed, and made anew by the kubelet.
    #[default]
    Delete,
    /// It stays, with condition Suspended.
    Retain,
}

/// What follows for a machine from bound volumes that exist on it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LocalVolumePolicy {
    /// The autoscaler is told to leave its Node alone, because a pod with such a volume could come back nowhere else.
    #[default]
    Protect,
    /// Nothing.
    Ignore,
}

/// Tells the autoscaler which Nodes shall have GPUs; its value is their kind. It takes a Node with it as not ready until a GPU shows.
pub const GPU_LABEL: &str = "homelab-autoscaler.dev/gpu";

/// What a machine offers to the scheduler before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::GPU_LABEL_NEEDS_GPU)]
pub struct Template {
    /// Labels its Node will have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::declared_labels")]
    #[x_kube(validation = rules::LABEL_KEYS)]
    pub labels: BTreeMap<String, String>,
    /// Taints its Node will have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub taints: Vec<Taint>,
    /// Capacity by resource, for example cpu: 4, memory: 16Gi.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::declared_quantities")]
    pub capacity: BTreeMap<String, Quantity>,
}

/// A taint of a core Node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Its key.
    #[schemars(length(min = 1, max = 316))]
    pub key: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// What it does to pods that do not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum TaintEffect {
    /// No new pod.
    NoSchedule,
    /// No new pod if there is another place.
    PreferNoSchedule,
    /// No new pod, and running ones leave.
    NoExecute,
}

/// Options of the cluster-autoscaler that a group may set for itself; what is unset keeps the autoscaler's own value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleDown {
    /// A machine below this share of requested CPU and memory is a candidate: "0.5" or 50%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::THRESHOLD)]
    pub utilization_threshold: Option<Threshold>,
    /// The same for machines with GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::THRESHOLD)]
    pub gpu_utilization_threshold: Option<Threshold>,
    /// How long a machine must be unneeded before it is stopped.
    #[serde(
        default,
        with = "duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "bounds::duration")]
    #[x_kube(validation = rules::ONE_DAY)]
    pub unneeded_duration: Option<Duration>,
    /// The same for a machine that is not ready.
    #[serde(
        default,
        with = "duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "bounds::duration")]
    #[x_kube(validation = rules::SECOND_TO_DAY)]
    pub unready_duration: Option<Duration>,
    /// How long the autoscaler waits for a machine to join.
    #[serde(
        default,
        with = "duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "bounds::duration")]
    #[x_kube(validation = rules::SECOND_TO_DAY)]
    pub max_node_provision_duration: Option<Duration>,
}

/// The least that the autoscaler must wait for a machine that is not ready: below, it gives each back while it boots.
pub const LEAST_WAIT: Duration = Duration::from_secs(1);

impl ScaleDown {
    /// How long the autoscaler shall wait for a machine to join, if that is long enough to count.
    #[must_use]
    pub fn provision_time(&self) -> Option<Duration> {
        self.max_node_provision_duration
            .filter(|wait| *wait >= LEAST_WAIT)
    }

    /// The same for how long a machine must be unneeded that is not ready.
    #[must_use]
    pub fn unready_time(&self) -> Option<Duration> {
        self.unready_duration.filter(|wait| *wait >= LEAST_WAIT)
    }

    /// What is written and does not count, by field: a stored object may be older than the rule against it.
    #[must_use]
    pub fn too_short(&self) -> Vec<(&'static str, Duration)> {
        let waits = [
            ("unreadyDuration", self.unready_duration),
            ("maxNodeProvisionDuration", self.max_node_provision_duration),
        ];
        let short = |(field, wait): (_, Option<Duration>)| Some((field, wait?));
        let mut written: Vec<_> = waits.into_iter().filter_map(short).collect();
        written.retain(|(_, wait)| *wait < LEAST_WAIT);
        written
    }
}
