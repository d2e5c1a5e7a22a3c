//! Where the model sees Nodes and Pods, and where it puts its taints.
//! In: a real API server, or a toy. Out: [`Snapshot`]s.
//! Holds: the model knows of the cluster only what comes through [`Cluster`].

pub mod kubernetes;
pub mod toy;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;

use super::resources::Resources;

/// The taint of a Node that is being removed.
pub const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";
/// The soft taint of a Node that may be removed soon.
pub const DELETION_CANDIDATE: &str = "DeletionCandidateOfClusterAutoscaler";
/// A Node with this annotation at `true` is never removed.
pub const SCALE_DOWN_DISABLED: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
/// Taints with this prefix are gone soon after the start.
pub const STARTUP_TAINT: &str = "startup-taint.cluster-autoscaler.kubernetes.io/";
/// The older name of the same prefix (`IsStartupTaint` in utils/taints/taints.go).
pub const IGNORED_TAINT: &str = "ignore-taint.cluster-autoscaler.kubernetes.io/";

/// Taints of Nodes that are not ready, whatever their conditions say (`GetNodeReadiness` in utils/kubernetes/ready.go).
const NOT_READY: [&str; 3] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/network-unavailable",
];

/// The time as it stands in the autoscaler's taints.
#[must_use]
pub fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// A taint, or what tolerates one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaintSeen {
    /// The key.
    pub key: String,
    /// The value; empty in a toleration for every value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`; empty in a toleration for every effect.
    pub effect: String,
}

impl TaintSeen {
    /// Whether it is gone soon after the start of its Node.
    #[must_use]
    pub fn is_of_startup(&self) -> bool {
        self.key.starts_with(STARTUP_TAINT) || self.key.starts_with(IGNORED_TAINT)
    }
}

/// A Node as far as the model looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSeen {
    /// `metadata.name`.
    pub name: String,
    /// `spec.providerID`, or empty.
    pub provider_id: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<TaintSeen>,
    /// Cordoned.
    pub unschedulable: bool,
    /// The condition Ready is True.
    pub ready: bool,
    /// Since when Ready has its value.
    pub ready_for: Duration,
    /// The condition Suspended is True.
    pub suspended: bool,
    /// Since the creation of the object.
    pub age: Duration,
    /// `status.allocatable`.
    pub allocatable: Resources,
    /// `status.capacity`.
    pub capacity: Resources,
}

impl NodeSeen {
    /// Whether it has this taint.
    #[must_use]
    pub fn has_taint(&self, key: &str) -> bool {
        self.taints.iter().any(|taint| taint.key == key)
    }

    /// Ready, and without a taint that says otherwise; start-up taints do not, yet.
    fn says_ready(&self) -> bool {
        let says_otherwise = |taint: &TaintSeen| NOT_READY.contains(&taint.key.as_str());
        self.ready && !self.taints.iter().any(says_otherwise)
    }

    /// Ready, without a taint that says otherwise, and past its start-up taints.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.says_ready() && !self.taints.iter().any(TaintSeen::is_of_startup)
    }

    /// Whether it is looked at for GPUs and devices: start-up taints count only after that (`obtainNodeLists` in
    /// core/static_autoscaler.go).
    #[must_use]
    pub fn is_listed_as_ready(&self) -> bool {
        self.says_ready() && !self.unschedulable
    }

    /// Whether its removal began less than `window` ago, as the value of the taint tells.
    #[must_use]
    pub fn is_being_deleted(&self, window: Duration) -> bool {
        let taint = self.taints.iter().find(|taint| taint.key == TO_BE_DELETED);
        let since = taint.and_then(|taint| taint.value.parse::<u64>().ok());
        since.is_some_and(|since| unix_seconds().saturating_sub(since) < window.as_secs())
    }
}

/// A Pod as far as the model looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSeen {
    /// `namespace/name`.
    pub name: String,
    /// The Node it is bound to.
    pub node: Option<String>,
    /// The scheduler has found no place for it.
    pub unschedulable: bool,
    /// Since its creation.
    pub age: Duration,
    /// What it asks for; `pods` is 1.
    pub requests: Resources,
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// `spec.tolerations`.
    pub tolerations: Vec<TaintSeen>,
    /// Of a DaemonSet, or the mirror of a static Pod: goes with its Node and keeps none alive.
    pub goes_with_node: bool,
}

/// The cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every Node, by name.
    pub nodes: Vec<NodeSeen>,
    /// Every Pod that has not ended.
    pub pods: Vec<PodSeen>,
}

impl Snapshot {
    /// The Pods on a Node.
    pub fn pods_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a PodSeen> {
        self.pods
            .iter()
            .filter(move |pod| pod.node.as_deref() == Some(node))
    }

    /// What is left on a Node.
    #[must_use]
    pub fn free(&self, node: &NodeSeen) -> Resources {
        let used = self.pods_on(&node.name).map(|pod| pod.requests).sum();
        node.allocatable.minus(&used)
    }
}

/// One of the autoscaler's own taints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnTaint {
    /// [`TO_BE_DELETED`], with the cordon.
    ToBeDeleted,
    /// [`DELETION_CANDIDATE`].
    DeletionCandidate,
}

/// A cluster that the model looks at and acts on.
pub trait Cluster: Send + Sync + 'static {
    /// The cluster now.
    fn snapshot(&self) -> impl Future<Output = Result<Snapshot>> + Send;

    /// Puts a taint on a Node or takes it off; a Node that is gone is no error.
    fn set_taint(
        &self,
        node: &str,
        taint: OwnTaint,
        present: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Evicts the Pods of a Node that do not go with it, each with at most `grace` to end, and does not wait for their end. Returns how
    /// many must not leave yet.
    fn evict_from(&self, node: &str, grace: Duration)
    -> impl Future<Output = Result<usize>> + Send;
}

/// A cluster that the test keeps looking at while the model runs.
impl<C: Cluster> Cluster for Arc<C> {
    async fn snapshot(&self) -> Result<Snapshot> {
        (**self).snapshot().await
    }

    async fn set_taint(&self, node: &str, taint: OwnTaint, present: bool) -> Result<()> {
        (**self).set_taint(node, taint, present).await
    }

    async fn evict_from(&self, node: &str, grace: Duration) -> Result<usize> {
        (**self).evict_from(node, grace).await
    }
}

/// Whether a Pod may run on a Node with these labels and taints.
#[must_use]
pub fn tolerates(pod: &PodSeen, labels: &BTreeMap<String, String>, taints: &[TaintSeen]) -> bool {
    let selected = pod
        .node_selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value));
    let tolerated = |taint: &TaintSeen| {
        taint.effect == "PreferNoSchedule"
            || pod.tolerations.iter().any(|toleration| {
                (toleration.key.is_empty() || toleration.key == taint.key)
                    && (toleration.value.is_empty() || toleration.value == taint.value)
                    && (toleration.effect.is_empty() || toleration.effect == taint.effect)
            })
    };
    selected && taints.iter().all(tolerated)
}

/// Whether a Pod may run on this Node now, apart from what it asks for.
#[must_use]
pub fn admits(node: &NodeSeen, pod: &PodSeen) -> bool {
    node.ready && !node.unschedulable && tolerates(pod, &node.labels, &node.taints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> TaintSeen {
        TaintSeen {
            key: key.into(),
            value: value.into(),
            effect: effect.into(),
        }
    }

    #[test]
    fn pod_runs_where_selector_and_taints_let_it() {
        let pod = PodSeen {
            node_selector: [("disk".to_owned(), "ssd".to_owned())].into(),
            tolerations: vec![taint("dedicated", "", "NoSchedule")],
            ..PodSeen::default()
        };
        let ssd = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
        assert!(tolerates(&pod, &ssd, &[]));
        assert!(!tolerates(&pod, &BTreeMap::new(), &[]));
        assert!(tolerates(
            &pod,
            &ssd,
            &[taint("dedicated", "x", "NoSchedule")]
        ));
        assert!(!tolerates(
            &pod,
            &ssd,
            &[taint("dedicated", "x", "NoExecute")]
        ));
        assert!(tolerates(
            &pod,
            &ssd,
            &[taint("other", "", "PreferNoSchedule")]
        ));
    }

    #[test]
    fn taints_of_a_start_and_of_conditions_say_that_a_node_is_not_ready() {
        let mut node = NodeSeen {
            ready: true,
            ..NodeSeen::default()
        };
        assert!(node.is_ready() && node.is_listed_as_ready());
        let prefixed = "cluster-autoscaler.kubernetes.io/agent";
        // Whether a ready Node with it is listed as ready, and counts as ready.
        for (key, listed, counts) in [
            (format!("startup-taint.{prefixed}"), true, false),
            (format!("ignore-taint.{prefixed}"), true, false),
            (format!("status-taint.{prefixed}"), true, true),
            ("node.kubernetes.io/not-ready".into(), false, false),
            ("node.kubernetes.io/disk-pressure".into(), false, false),
            (
                "node.kubernetes.io/network-unavailable".into(),
                false,
                false,
            ),
            ("node.kubernetes.io/memory-pressure".into(), true, true),
            ("dedicated".into(), true, true),
        ] {
            node.taints = vec![taint(&key, "", "NoSchedule")];
            let seen = (node.is_listed_as_ready(), node.is_ready());
            assert_eq!(seen, (listed, counts), "{key}");
        }
        node.taints.clear();
        node.unschedulable = true;
        assert!(node.is_ready() && !node.is_listed_as_ready());
    }
}
