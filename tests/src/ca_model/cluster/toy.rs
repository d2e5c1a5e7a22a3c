//! A cluster without Kubernetes: Nodes are machines that are up, Pods are the slots of a toy workload.
//! In: a [`Workload`] and the running machines. Out: snapshots, with slots bound to the first Node that has room.
//! Holds: a slot stays where it is until its Node goes, is emptied, or the workload falls (the last slot leaves first).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use proto_autoscaler::{
    NodeGroupNodesRequest, NodeGroupsRequest, cloud_provider_client::CloudProviderClient,
    instance_status::InstanceState,
};
use tonic::transport::Channel;

use super::{
    Cluster, DELETION_CANDIDATE, NodeSeen, OwnTaint, PodSeen, Resources, Snapshot, TO_BE_DELETED,
    TaintSeen, unix_seconds,
};
use crate::workload::Workload;

/// Tells which machines are up, as Nodes.
pub type NodeSource = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<NodeSeen>>> + Send + Sync>;

/// The toy.
pub struct Toy {
    workload: Workload,
    slot: Resources,
    nodes: NodeSource,
    started: Instant,
    bound: Mutex<Bound>,
}

#[derive(Debug, Default)]
struct Bound {
    /// For each slot the Node it runs on.
    slots: BTreeMap<usize, String>,
    /// Since when each Node is being removed, as its taint tells.
    tainted: BTreeMap<String, u64>,
    candidates: BTreeSet<String>,
}

/// How many slots run and how many wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotsNow {
    /// Wanted by the workload.
    pub wanted: usize,
    /// Running, by Node.
    pub running: BTreeMap<String, usize>,
}

impl Toy {
    /// A cluster whose workload starts now; each slot asks for `slot`.
    #[must_use]
    pub fn new(workload: Workload, slot: Resources, nodes: NodeSource) -> Self {
        Self {
            workload,
            slot: Resources { pods: 1, ..slot },
            nodes,
            started: Instant::now(),
            bound: Mutex::default(),
        }
    }

    /// What the workload wants and has, as of the last snapshot.
    #[must_use]
    pub fn slots(&self) -> SlotsNow {
        let mut running = BTreeMap::new();
        for node in self.bound().slots.values() {
            *running.entry(node.clone()).or_default() += 1;
        }
        SlotsNow {
            wanted: self.workload.slots_at(self.started.elapsed()),
            running,
        }
    }

    fn bound(&self) -> MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, mut nodes: Vec<NodeSeen>, wanted: usize) -> Snapshot {
        let mut bound = self.bound();
        let names: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        bound
            .tainted
            .retain(|name, _| names.contains(name.as_str()));
        bound
            .candidates
            .retain(|name| names.contains(name.as_str()));
        bound
            .slots
            .retain(|slot, node| *slot < wanted && names.contains(node.as_str()));
        for node in &mut nodes {
            if bound.tainted.contains_key(&node.name) {
                node.unschedulable = true;
                node.taints.push(TaintSeen {
                    key: TO_BE_DELETED.into(),
                    value: bound.tainted[&node.name].to_string(),
                    effect: "NoSchedule".into(),
                });
            }
            if bound.candidates.contains(&node.name) {
                node.taints.push(TaintSeen {
                    key: DELETION_CANDIDATE.into(),
                    value: String::new(),
                    effect: "PreferNoSchedule".into(),
                });
            }
        }
        let pod = |slot: usize| PodSeen {
            name: format!("toy/slot-{slot}"),
            node: bound.slots.get(&slot).cloned(),
            requests: self.slot,
            // No further ones are to be expected.
            age: Duration::MAX,
            ..PodSeen::default()
        };
        let pods = (0..wanted).map(pod).collect();
        let mut snapshot = Snapshot { nodes, pods };
        for slot in 0..wanted {
            if snapshot.pods[slot].node.is_some() {
                continue;
            }
            let place = place(&snapshot, &snapshot.pods[slot], &bound.candidates);
            if let Some(node) = &place {
                bound.slots.insert(slot, node.clone());
            }
            snapshot.pods[slot].unschedulable = place.is_none();
            snapshot.pods[slot].node = place;
        }
        snapshot
    }
}

/// The first Node with room; one that may be removed soon only if there is no other.
fn place(snapshot: &Snapshot, pod: &PodSeen, candidates: &BTreeSet<String>) -> Option<String> {
    let nodes = snapshot.nodes.iter();
    let fitting =
        nodes.filter(|node| super::admits(node, pod) && snapshot.free(node).holds(&pod.requests));
    let best = fitting.min_by_key(|node| candidates.contains(&node.name))?;
    Some(best.name.clone())
}

impl Cluster for Toy {
    async fn snapshot(&self) -> Result<Snapshot> {
        let nodes = (self.nodes)().await?;
        let wanted = self.workload.slots_at(self.started.elapsed());
        Ok(self.see(nodes, wanted))
    }

    async fn set_taint(&self, node: &str, taint: OwnTaint, present: bool) -> Result<()> {
        let mut bound = self.bound();
        let name = node.to_owned();
        match (taint, present) {
            (OwnTaint::ToBeDeleted, true) => {
                bound.tainted.entry(name).or_insert_with(unix_seconds);
            }
            (OwnTaint::ToBeDeleted, false) => {
                bound.tainted.remove(node);
            }
            (OwnTaint::DeletionCandidate, true) => {
                bound.candidates.insert(name);
            }
            (OwnTaint::DeletionCandidate, false) => {
                bound.candidates.remove(node);
            }
        }
        drop(bound);
        Ok(())
    }

    /// Slots end at once.
    async fn evict_from(&self, node: &str, _grace: Duration) -> Result<usize> {
        self.bound().slots.retain(|_, bound_to| bound_to != node);
        Ok(0)
    }
}

/// The machines that the provider lists as running, asked over a connection of its own. Each offers `allocatable`.
#[must_use]
pub fn listed_as_running(channel: Channel, allocatable: Resources) -> NodeSource {
    let client = CloudProviderClient::new(channel);
    Box::new(move || Box::pin(running(client.clone(), allocatable)))
}

async fn running(
    mut client: CloudProviderClient<Channel>,
    allocatable: Resources,
) -> Result<Vec<NodeSeen>> {
    let groups = client.node_groups(NodeGroupsRequest {}).await;
    let groups = groups.context("list the groups")?.into_inner().node_groups;
    let mut nodes = Vec::new();
    for group in groups {
        let listed = client
            .node_group_nodes(NodeGroupNodesRequest { id: group.id })
            .await;
        for instance in listed.context("list the instances")?.into_inner().instances {
            let state = instance.status.map(|status| status.instance_state());
            if state == Some(InstanceState::InstanceRunning) {
                nodes.push(NodeSeen {
                    name: instance
                        .id
                        .rsplit('/')
                        .next()
                        .unwrap_or_default()
                        .to_owned(),
                    provider_id: instance.id,
                    ready: true,
                    allocatable,
                    capacity: allocatable,
                    ..NodeSeen::default()
                });
            }
        }
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Resources = Resources {
        cpu_milli: 1_000,
        memory: 0,
        pods: 1,
    };

    fn node(name: &str) -> NodeSeen {
        let allocatable = Resources {
            cpu_milli: 2_000,
            memory: 0,
            pods: 10,
        };
        NodeSeen {
            name: name.into(),
            ready: true,
            allocatable,
            ..NodeSeen::default()
        }
    }

    fn toy() -> Toy {
        let nobody: NodeSource = Box::new(|| Box::pin(async { Ok(Vec::new()) }));
        Toy::new("0s:0".parse().unwrap(), SLOT, nobody)
    }

    fn placed(snapshot: &Snapshot) -> Vec<&str> {
        let pods = snapshot.pods.iter();
        pods.map(|pod| pod.node.as_deref().unwrap_or("-")).collect()
    }

    #[tokio::test]
    async fn slots_fill_nodes_and_stay_there() {
        let toy = toy();
        let nodes = || vec![node("a"), node("b")];
        assert_eq!(placed(&toy.see(Vec::new(), 2)), ["-", "-"]);
        assert_eq!(placed(&toy.see(nodes(), 3)), ["a", "a", "b"]);
        assert_eq!(placed(&toy.see(nodes(), 5)), ["a", "a", "b", "b", "-"]);
        assert_eq!(placed(&toy.see(nodes(), 1)), ["a"]);
        assert_eq!(placed(&toy.see(vec![node("b")], 1)), ["b"]);
        assert_eq!(placed(&toy.see(nodes(), 3)), ["b", "a", "a"]);
    }

    #[tokio::test]
    async fn tainted_node_takes_no_slot() {
        let toy = toy();
        let nodes = || vec![node("a"), node("b")];
        toy.see(nodes(), 1);
        toy.set_taint("a", OwnTaint::ToBeDeleted, true)
            .await
            .unwrap();
        toy.evict_from("a", Duration::ZERO).await.unwrap();
        let seen = toy.see(nodes(), 1);
        assert_eq!(placed(&seen), ["b"]);
        assert!(seen.nodes[0].has_taint(TO_BE_DELETED) && seen.nodes[0].unschedulable);
        toy.set_taint("a", OwnTaint::ToBeDeleted, false)
            .await
            .unwrap();
        assert!(!toy.see(nodes(), 1).nodes[0].unschedulable);
    }
}
