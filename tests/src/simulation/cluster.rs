//! The cluster: core Nodes, their Leases and the pods on them.
//!
//! In: what kubelets and the coordinator's actions do to Nodes. Out: facts for every coordinator, in order.
//! Holds: a change applies only to the Node and to the taints that it was computed from.

use std::{collections::BTreeMap, sync::Arc};

use coordinator_core::{
    Cordon, Eviction, EvictionOutcome, Fact, MachineId, NodeObjectPolicy, NodePatch, NodeSeen,
    PodRef, PodSeen, Taint,
};

use super::hosts::Change;
use super::world::{Event, World};

const FENCE: &str = "homelab-autoscaler.dev/power-off";
const CORDONED: &str = "homelab-autoscaler.dev/cordoned-by-person";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// From a change to its sight by a watch.
const WATCH_MS: u64 = 5;

#[derive(Default)]
pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<String, NodeSeen>,
    pub(super) pods: BTreeMap<String, Vec<PodSeen>>,
    uids: u32,
}

fn taint(key: &str) -> Taint {
    Taint {
        key: key.into(),
        value: String::new(),
        effect: "NoSchedule".into(),
    }
}

impl World {
    fn watchers(&mut self, fact: &Fact) {
        let processes: Vec<u32> = self.coordinators.iter().map(|c| c.id).collect();
        for process in processes {
            let fact = Box::new(fact.clone());
            self.after(WATCH_MS, Event::Told { process, fact });
        }
    }

    fn show(&mut self, name: &str) {
        if let Some(node) = self.cluster.nodes.get(name).cloned() {
            self.watchers(&Fact::NodeSeen(node));
        }
    }

    /// A kubelet renews its Lease; the first time after a boot it also registers its Node, or says that it is ready again.
    pub(super) fn renew_lease(&mut self, name: &str) {
        let Some(boot_id) = self.hosts.get(name).map(|host| host.boot_id(name)) else {
            return;
        };
        let known = self.cluster.nodes.get_mut(name);
        let right = known.is_some_and(|node| {
            let right = node.ready && node.boot_id == boot_id;
            node.ready = true;
            node.boot_id.clone_from(&boot_id);
            right
        });
        if !self.cluster.nodes.contains_key(name) {
            self.cluster.uids += 1;
            let node = NodeSeen {
                name: name.to_owned(),
                uid: format!("uid-{}", self.cluster.uids),
                ready: true,
                boot_id,
                taints: vec![taint(NOT_READY)],
                capacity: Arc::new(BTreeMap::from([("cpu".into(), "4".into())])),
                allocatable: Arc::new(BTreeMap::from([("cpu".into(), "3900m".into())])),
                ..NodeSeen::default()
            };
            self.cluster.nodes.insert(name.to_owned(), node);
            self.plan(name, 1_500, Change::Untaints);
        }
        if !right {
            self.show(name);
        }
        let name = name.to_owned();
        self.watchers(&Fact::LeaseRenewed { name });
    }

    pub(super) fn untaint(&mut self, name: &str) {
        if let Some(node) = self.cluster.nodes.get_mut(name) {
            node.taints.retain(|taint| taint.key != NOT_READY);
            self.show(name);
        }
    }

    /// The cluster has not heard the kubelet for too long.
    pub(super) fn miss_node(&mut self, name: &str) {
        if let Some(node) = self.cluster.nodes.get_mut(name) {
            node.ready = false;
            self.show(name);
        }
    }

    pub(super) fn fence(
        &mut self,
        process: u32,
        machine: MachineId,
        (name, cordon): (&str, Cordon),
    ) {
        let outcome = match self.cluster.nodes.get_mut(name) {
            Some(_) if self.dice.percent(self.faults.store_fails) => Err("timeout".to_owned()),
            Some(node) => {
                node.unschedulable = true;
                if cordon == Cordon::Persons {
                    node.annotations.insert(CORDONED.into(), "true".into());
                }
                if !node.taints.iter().any(|taint| taint.key == FENCE) {
                    node.taints.push(taint(FENCE));
                }
                Ok(())
            }
            None => Err("no such Node".to_owned()),
        };
        self.answer(process, Fact::Fenced { machine, outcome });
        self.show(name);
    }

    pub(super) fn list_pods(&mut self, process: u32, machine: MachineId, name: &str) {
        let pods = self.cluster.pods.get(name).cloned().unwrap_or_default();
        if !pods.is_empty() {
            self.tally.count("pods held a stop up");
        }
        let outcome = if self.dice.percent(self.faults.store_fails) {
            Err("timeout".to_owned())
        } else {
            Ok(pods)
        };
        self.answer(process, Fact::PodsListed { machine, outcome });
    }

    /// Pods that are asked leave at once.
    pub(super) fn evict(&mut self, process: u32, machine: MachineId, pods: Vec<PodRef>) {
        let fails = self.dice.percent(self.faults.store_fails);
        let ask = |pod: PodRef| {
            let outcome = if fails {
                let (fault, retry_after_ms) = ("timeout".to_owned(), None);
                EvictionOutcome::Unanswered {
                    fault,
                    retry_after_ms,
                }
            } else {
                self.leave(&pod)
            };
            Eviction { pod, outcome }
        };
        let pods = pods.into_iter().map(ask).collect();
        self.answer(process, Fact::Evicted { machine, pods });
    }

    fn leave(&mut self, pod: &PodRef) -> EvictionOutcome {
        let mut on_nodes = self.cluster.pods.iter();
        let is_there = |pods: &[PodSeen]| pods.iter().any(|seen| seen.pod == *pod);
        let Some(name) = on_nodes.find_map(|(name, pods)| is_there(pods).then(|| name.clone()))
        else {
            return EvictionOutcome::Gone;
        };
        self.cluster.pods.remove(&name);
        self.tally.count("a pod was evicted");
        let node = self.cluster.nodes.get(&name);
        let fenced = node.is_some_and(|node| node.unschedulable);
        self.holds(fenced, || {
            format!("{pod} was evicted from {name}, which is not cordoned")
        });
        EvictionOutcome::Accepted
    }

    pub(super) fn patch_node(&mut self, process: u32, machine: MachineId, patch: NodePatch) {
        let name = patch.node.clone();
        let outcome = if self.dice.percent(self.faults.store_fails) {
            Err("timeout".to_owned())
        } else {
            self.patched(patch)
        };
        self.answer(process, Fact::NodeDone { machine, outcome });
        self.show(&name);
    }

    fn patched(&mut self, patch: NodePatch) -> Result<(), String> {
        let node = self
            .cluster
            .nodes
            .get_mut(&patch.node)
            .filter(|node| node.uid == patch.uid)
            .ok_or("another Node")?;
        if let Some(taints) = patch.taints {
            if taints.from != node.taints {
                return Err("its taints changed meanwhile".into());
            }
            node.taints = taints.to;
        }
        if let Some(provider_id) = patch.provider_id {
            node.provider_id = provider_id;
        }
        Arc::make_mut(&mut node.labels).extend(patch.labels);
        node.annotations.extend(patch.annotations);
        for key in &patch.remove_annotations {
            node.annotations.remove(key);
        }
        node.unschedulable = patch.unschedulable.unwrap_or(node.unschedulable);
        node.suspended &= !patch.resume;
        Ok(())
    }

    pub(super) fn retire_node(
        &mut self,
        process: u32,
        machine: MachineId,
        (name, uid): (String, String),
        policy: NodeObjectPolicy,
    ) {
        self.judge_retire(&name, &uid);
        let found = self.cluster.nodes.get_mut(&name);
        match (found.filter(|node| node.uid == uid), policy) {
            (Some(node), NodeObjectPolicy::Retain) => {
                node.suspended = true;
                self.show(&name);
            }
            (Some(_), NodeObjectPolicy::Delete) => {
                self.cluster.nodes.remove(&name);
                self.watchers(&Fact::NodeGone { name });
            }
            (None, _) => {}
        }
        let outcome = Ok(());
        self.answer(process, Fact::NodeDone { machine, outcome });
    }

    /// An answer of the cluster's API to one coordinator.
    pub(super) fn answer(&mut self, process: u32, fact: Fact) {
        let fact = Box::new(fact);
        self.after(WATCH_MS - 1, Event::Told { process, fact });
    }
}
