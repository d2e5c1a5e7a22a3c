//! The real API server as the model's cluster.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::{
    api::core::v1::{Node, Pod, Taint},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, EvictParams, ListParams, PostParams},
};

use super::{
    Cluster, DELETION_CANDIDATE, NodeSeen, OwnTaint, PodSeen, Resources, Snapshot, TO_BE_DELETED,
    TaintSeen,
};

/// How often a Node that somebody else changes at the same moment is read and written again.
const WRITES: usize = 10;

/// What a Pod is granted for its end that does not say, in seconds.
const DEFAULT_GRACE: i64 = 30;

/// A cluster behind an API server.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    needs_scheduler: bool,
}

impl Kubernetes {
    /// A cluster with a scheduler, which says which Pods are unschedulable.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self {
            client,
            needs_scheduler: true,
        }
    }

    /// A cluster without a scheduler: every Pod that is bound to no Node counts as unschedulable, and none as young.
    #[must_use]
    pub const fn without_scheduler(client: Client) -> Self {
        Self {
            client,
            needs_scheduler: false,
        }
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    fn pod(&self, pod: &Pod) -> Option<PodSeen> {
        let spec = pod.spec.as_ref()?;
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let told = status
            .and_then(|status| status.conditions.as_ref())
            .is_some_and(|conditions| {
                conditions.iter().any(|condition| {
                    condition.type_ == "PodScheduled"
                        && condition.status == "False"
                        && condition.reason.as_deref() == Some("Unschedulable")
                })
            });
        let waits = spec.node_name.is_none() && pod.metadata.deletion_timestamp.is_none();
        let of_daemon_set = pod
            .owner_references()
            .iter()
            .any(|owner| owner.kind == "DaemonSet");
        let is_mirror = pod
            .annotations()
            .contains_key("kubernetes.io/config.mirror");
        Some(PodSeen {
            name: format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()),
            node: spec.node_name.clone(),
            unschedulable: waits && (told || !self.needs_scheduler),
            age: if self.needs_scheduler {
                pod.creation_timestamp()
                    .as_ref()
                    .map(age)
                    .unwrap_or_default()
            } else {
                Duration::MAX
            },
            requests: requests(pod),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            tolerations: spec
                .tolerations
                .iter()
                .flatten()
                .map(|toleration| TaintSeen {
                    key: toleration.key.clone().unwrap_or_default(),
                    value: toleration.value.clone().unwrap_or_default(),
                    effect: toleration.effect.clone().unwrap_or_default(),
                })
                .collect(),
            goes_with_node: of_daemon_set || is_mirror,
        })
    }
}

impl Cluster for Kubernetes {
    async fn snapshot(&self) -> Result<Snapshot> {
        let all = ListParams::default();
        let nodes = self.nodes().list(&all).await.context("list Nodes")?;
        let pods: Api<Pod> = Api::all(self.client.clone());
        let pods = pods.list(&all).await.context("list Pods")?;
        Ok(Snapshot {
            nodes: nodes.iter().map(node).collect(),
            pods: pods.iter().filter_map(|pod| self.pod(pod)).collect(),
        })
    }

    async fn set_taint(&self, node: &str, taint: OwnTaint, present: bool) -> Result<()> {
        let nodes = self.nodes();
        for _ in 0..WRITES {
            let found = nodes.get_opt(node).await;
            let Some(mut object) = found.with_context(|| format!("get Node {node}"))? else {
                return Ok(());
            };
            if !change_taint(&mut object, taint, present) {
                return Ok(());
            }
            match nodes.replace(node, &PostParams::default(), &object).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error).with_context(|| format!("taint Node {node}")),
            }
        }
        anyhow::bail!("Node {node} changed {WRITES} times while it was being tainted")
    }

    async fn evict_from(&self, node: &str, grace: Duration) -> Result<usize> {
        let mut kept = 0;
        let all: Api<Pod> = Api::all(self.client.clone());
        let bound = ListParams::default().fields(&format!("spec.nodeName={node}"));
        for pod in all.list(&bound).await.context("list the Node's Pods")? {
            if self.pod(&pod).is_none_or(|seen| seen.goes_with_node)
                || pod.metadata.deletion_timestamp.is_some()
            {
                continue;
            }
            let namespace = pod.namespace().unwrap_or_default();
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
            match pods.evict(&pod.name_any(), &eviction(&pod, grace)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                // A disruption budget that may allow it at the next try.
                Err(kube::Error::Api(status)) if status.code == 429 => kept += 1,
                Err(error) => {
                    return Err(error).with_context(|| format!("evict Pod {}", pod.name_any()));
                }
            }
        }
        Ok(kept)
    }
}

/// The time that a Pod wants for its end, or what is granted if that is less; any time is granted by zero
/// (`evictPod` in core/scaledown/actuation/drain.go).
fn eviction(pod: &Pod, grace: Duration) -> EvictParams {
    let wanted = pod.spec.as_ref();
    let wanted = wanted.and_then(|spec| spec.termination_grace_period_seconds);
    let wanted = u32::try_from(wanted.unwrap_or(DEFAULT_GRACE)).unwrap_or_default();
    let granted = u32::try_from(grace.as_secs()).unwrap_or(u32::MAX);
    let seconds = if granted == 0 {
        wanted
    } else {
        wanted.min(granted)
    };
    EvictParams {
        delete_options: Some(DeleteParams::default().grace_period(seconds)),
        ..EvictParams::default()
    }
}

/// Returns whether anything had to change: a Node that carries the taint, or does not, as it should keeps a person's cordon.
fn change_taint(node: &mut Node, taint: OwnTaint, present: bool) -> bool {
    let (key, effect) = match taint {
        OwnTaint::ToBeDeleted => (TO_BE_DELETED, "NoSchedule"),
        OwnTaint::DeletionCandidate => (DELETION_CANDIDATE, "PreferNoSchedule"),
    };
    let spec = node.spec.get_or_insert_default();
    let taints = spec.taints.get_or_insert_default();
    let is_there = taints.iter().any(|taint| taint.key == key);
    if is_there == present {
        return false;
    }
    taints.retain(|taint| taint.key != key);
    if present {
        taints.push(Taint {
            key: key.to_owned(),
            value: Some(Timestamp::now().as_second().to_string()),
            effect: effect.to_owned(),
            time_added: None,
        });
    }
    if taint == OwnTaint::ToBeDeleted {
        spec.unschedulable = present.then_some(true);
    }
    true
}

fn node(node: &Node) -> NodeSeen {
    let spec = node.spec.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let is_true = |kind: &str| condition(kind).is_some_and(|condition| condition.status == "True");
    let since = condition("Ready").and_then(|ready| ready.last_transition_time.as_ref());
    NodeSeen {
        name: node.name_any(),
        provider_id: spec.provider_id.unwrap_or_default(),
        labels: node.labels().clone(),
        annotations: node.annotations().clone(),
        taints: spec
            .taints
            .into_iter()
            .flatten()
            .map(|taint| TaintSeen {
                key: taint.key,
                value: taint.value.unwrap_or_default(),
                effect: taint.effect,
            })
            .collect(),
        unschedulable: spec.unschedulable.unwrap_or_default(),
        ready: is_true("Ready"),
        ready_for: since.map(age).unwrap_or_default(),
        suspended: is_true("Suspended"),
        age: node
            .creation_timestamp()
            .as_ref()
            .map(age)
            .unwrap_or_default(),
        allocatable: amounts(&status.allocatable.unwrap_or_default()),
        capacity: amounts(&status.capacity.unwrap_or_default()),
    }
}

fn age(time: &Time) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(time.0)).unwrap_or_default()
}

fn amounts(amounts: &BTreeMap<String, Quantity>) -> Resources {
    let pairs = amounts
        .iter()
        .map(|(name, amount)| (name.as_str(), amount.0.as_str()));
    // The API server lets only quantities through.
    Resources::parse(pairs).unwrap_or_default()
}

fn requests(pod: &Pod) -> Resources {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice());
    let sum: Resources = containers
        .unwrap_or_default()
        .iter()
        .filter_map(|container| container.resources.as_ref()?.requests.as_ref())
        .map(amounts)
        .sum();
    Resources { pods: 1, ..sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_cordoned(node: &Node) -> bool {
        let spec = node.spec.as_ref();
        spec.and_then(|spec| spec.unschedulable).unwrap_or_default()
    }

    #[test]
    fn evicted_pod_gets_the_time_that_it_wants_up_to_what_is_granted() {
        // Wanted, granted, given.
        let cases = [
            (Some(5), 2, 2),
            (Some(1), 2, 1),
            (None, 600, 30),
            (Some(5), 0, 5),
            (Some(0), 2, 0),
        ];
        for (wanted, granted, given) in cases {
            let mut pod = Pod::default();
            let spec = pod.spec.get_or_insert_default();
            spec.termination_grace_period_seconds = wanted;
            let params = eviction(&pod, Duration::from_secs(granted));
            let options = params.delete_options.unwrap();
            assert_eq!(options.grace_period_seconds, Some(given), "{wanted:?}");
        }
    }

    #[test]
    fn taint_comes_and_goes_with_its_cordon() {
        let mut node = Node::default();
        assert!(change_taint(&mut node, OwnTaint::ToBeDeleted, true));
        assert!(is_cordoned(&node));
        assert!(!change_taint(&mut node, OwnTaint::ToBeDeleted, true));
        assert!(change_taint(&mut node, OwnTaint::ToBeDeleted, false));
        assert!(!is_cordoned(&node));
        assert_eq!(node.spec.unwrap().taints.unwrap(), []);
    }

    #[test]
    fn cordon_of_a_person_stays_on_a_node_without_the_taint() {
        let mut node = Node::default();
        node.spec.get_or_insert_default().unschedulable = Some(true);
        assert!(!change_taint(&mut node, OwnTaint::ToBeDeleted, false));
        assert!(is_cordoned(&node));
        assert!(change_taint(&mut node, OwnTaint::DeletionCandidate, true));
        assert!(change_taint(&mut node, OwnTaint::DeletionCandidate, false));
        assert!(is_cordoned(&node));
    }
}
