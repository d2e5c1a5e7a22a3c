//! The model's scale-down: Nodes that are hardly used and whose Pods fit elsewhere, after they have been so for a while.
//! Holds: empty Nodes go together, of those with Pods one at a time; each has an RPC of its own; a failed one loses taint and cordon.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use proto_autoscaler::ExternalGrpcNode;

use super::{
    CaModel, Cluster, Event, LoopEnd, NodeSeen, Snapshot,
    caches::to_message,
    cluster::{OwnTaint, SCALE_DOWN_DISABLED, TO_BE_DELETED, admits},
    options::GroupOptions,
    scan::Scan,
};

/// How many empty Nodes go at the same time.
const EMPTY_AT_ONCE: usize = 10;
/// Between two looks at a Node that is being emptied.
const LOOK: Duration = Duration::from_millis(100);

/// A Node that may go.
#[derive(Debug, Clone)]
struct Removal {
    group: String,
    node: ExternalGrpcNode,
    is_empty: bool,
    /// How long it must have been unneeded.
    wait: Duration,
}

impl<C: Cluster> CaModel<C> {
    pub(super) async fn scale_down(&mut self, scan: &Scan) -> LoopEnd {
        let mut targets = BTreeMap::new();
        // The real program asks once to plan and once to check its limits.
        for _ in 0..2 {
            for group in &scan.groups {
                if let Ok(target) = self.provider.target_size(&group.id).await {
                    targets.insert(group.id.clone(), target);
                }
            }
        }
        let unneeded = self.unneeded(scan, targets).await;
        self.mark(scan, &unneeded).await;
        let just_grown = self
            .last_scale_up_ms
            .is_some_and(|at_ms| scan.now_ms < at_ms + millis(self.options.delay_after_add));
        if just_grown {
            return LoopEnd::Quiet;
        }
        let is_due = |removal: &Removal| {
            let since = self.unneeded_since.get(&removal.node.name);
            since.is_some_and(|since| scan.now_ms >= since + millis(removal.wait))
        };
        let due: Vec<Removal> = unneeded.into_iter().filter(is_due).collect();
        let mut batch: Vec<Removal> = due.iter().filter(|one| one.is_empty).cloned().collect();
        batch.truncate(EMPTY_AT_ONCE);
        if batch.is_empty() {
            batch.extend(due.into_iter().next());
        }
        if batch.is_empty() {
            return LoopEnd::Quiet;
        }
        for removal in &batch {
            self.deletions
                .insert(removal.node.name.clone(), scan.now_ms);
            self.unneeded_since.remove(&removal.node.name);
        }
        let removals = batch.iter().map(|removal| self.remove(removal));
        join_all(removals).await;
        LoopEnd::Acted
    }

    /// The Nodes that the cluster could do without, each with those before it gone.
    async fn unneeded(&self, scan: &Scan, mut left: BTreeMap<String, i32>) -> Vec<Removal> {
        let mut rest = scan.snapshot.clone();
        let mut unneeded = Vec::new();
        for node in &scan.snapshot.nodes {
            let Some(group) = scan.group_of.get(&node.name) else {
                continue;
            };
            let defaults = self.options.as_message();
            let Ok(answer) = self.provider.options(&group.id, defaults).await else {
                continue;
            };
            let options = self.options.of_group(answer.as_ref());
            if !self.may_go(scan, node, &options) {
                continue;
            }
            // The minimum is the one that came with the Node's group, not the one of the list of groups.
            let target = left.get_mut(&group.id);
            let Some(target) = target.filter(|target| **target > group.min_size) else {
                continue;
            };
            let Some(without) = without(&rest, node) else {
                continue;
            };
            let busy = scan.snapshot.pods_on(&node.name);
            let is_ready = node.is_ready();
            unneeded.push(Removal {
                group: group.id.clone(),
                node: to_message(node),
                is_empty: busy.filter(|pod| !pod.goes_with_node).count() == 0,
                wait: if is_ready {
                    options.unneeded_time
                } else {
                    options.unready_time
                },
            });
            *target -= 1;
            rest = without;
        }
        unneeded
    }

    /// Whether the Node is hardly used and nothing forbids its removal.
    fn may_go(&self, scan: &Scan, node: &NodeSeen, options: &GroupOptions) -> bool {
        let began = self.deletions.get(&node.name);
        let window = millis(self.options.deletion_window);
        let in_removal = node.has_taint(TO_BE_DELETED)
            && began.is_some_and(|at_ms| scan.now_ms < at_ms + window);
        let disabled = node.annotations.get(SCALE_DOWN_DISABLED);
        if in_removal || disabled.is_some_and(|value| value == "true") {
            return false;
        }
        let used = scan.snapshot.pods_on(&node.name);
        let used = used.map(|pod| pod.requests).sum();
        node.allocatable.utilisation(&used) <= options.utilisation_threshold
    }

    /// Keeps the clocks of unneeded Nodes and their soft taints.
    async fn mark(&mut self, scan: &Scan, unneeded: &[Removal]) {
        let names: BTreeSet<&str> = unneeded
            .iter()
            .map(|removal| removal.node.name.as_str())
            .collect();
        let before = self.unneeded_since.len();
        let gone: Vec<String> = self
            .unneeded_since
            .keys()
            .filter(|name| !names.contains(name.as_str()))
            .cloned()
            .collect();
        for name in &gone {
            self.unneeded_since.remove(name);
            self.mark_candidate(name, false).await;
        }
        for name in names {
            if !self.unneeded_since.contains_key(name) {
                self.unneeded_since.insert(name.to_owned(), scan.now_ms);
                self.mark_candidate(name, true).await;
            }
        }
        if before != self.unneeded_since.len() {
            tracing::debug!(unneeded = ?self.unneeded_since.keys(), "the model's unneeded Nodes");
        }
    }

    async fn mark_candidate(&self, node: &str, present: bool) {
        let marked = self
            .cluster
            .set_taint(node, OwnTaint::DeletionCandidate, present);
        if let Err(error) = marked.await {
            tracing::warn!(
                node,
                error = format!("{error:#}"),
                "a soft taint is left as it was"
            );
        }
    }

    async fn remove(&self, removal: &Removal) {
        let node = &removal.node.name;
        let removed = async {
            let taint = self.cluster.set_taint(node, OwnTaint::ToBeDeleted, true);
            taint.await.map_err(|error| format!("{error:#}"))?;
            self.empty(node).await?;
            let nodes = vec![removal.node.clone()];
            let deleted = self.provider.delete(&removal.group, nodes).await;
            deleted.map_err(|status| status.to_string())
        };
        match removed.await {
            Ok(()) => self.events.push(Event::ScaledDown { node: node.clone() }),
            Err(why) => {
                self.untaint(node).await;
                let node = node.clone();
                self.events.push(Event::ScaleDownFailed { node, why });
            }
        }
    }

    /// Evicts until nothing is left that does not go with the Node.
    async fn empty(&self, node: &str) -> Result<(), String> {
        let emptied = async {
            loop {
                let seen = self.cluster.snapshot().await;
                let seen = seen.map_err(|error| format!("{error:#}"))?;
                if seen.pods_on(node).all(|pod| pod.goes_with_node) {
                    return Ok(());
                }
                let evicted = self.cluster.evict_from(node).await;
                evicted.map_err(|error| format!("{error:#}"))?;
                tokio::time::sleep(LOOK).await;
            }
        };
        let limit = self.options.eviction_time;
        let late = |_elapsed| Err(format!("Pods are still there after {limit:?}"));
        tokio::time::timeout(limit, emptied)
            .await
            .unwrap_or_else(late)
    }
}

/// The cluster without this Node, its Pods moved elsewhere; `None` if one of them finds no room.
fn without(snapshot: &Snapshot, gone: &NodeSeen) -> Option<Snapshot> {
    let mut rest = snapshot.clone();
    rest.nodes.retain(|node| node.name != gone.name);
    for index in 0..rest.pods.len() {
        let pod = &rest.pods[index];
        if pod.node.as_deref() != Some(&gone.name) {
            continue;
        }
        let place = if pod.goes_with_node {
            None
        } else {
            let mut nodes = rest.nodes.iter();
            let room =
                nodes.find(|node| admits(node, pod) && rest.free(node).holds(&pod.requests))?;
            Some(room.name.clone())
        };
        rest.pods[index].node = place;
    }
    Some(rest)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::super::{PodSeen, Resources};
    use super::*;

    fn node(name: &str) -> NodeSeen {
        let allocatable = Resources {
            cpu_milli: 4_000,
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

    fn pod(node: &str, cpu_milli: u64) -> PodSeen {
        let requests = Resources {
            cpu_milli,
            memory: 0,
            pods: 1,
        };
        PodSeen {
            node: Some(node.into()),
            requests,
            ..PodSeen::default()
        }
    }

    #[test]
    fn node_goes_only_if_its_pods_fit_elsewhere() {
        let snapshot = |pods: Vec<PodSeen>| Snapshot {
            nodes: vec![node("a"), node("b")],
            pods,
        };
        let cases = [
            (snapshot(vec![]), true),
            (snapshot(vec![pod("a", 1_000), pod("b", 3_000)]), true),
            (snapshot(vec![pod("a", 1_001), pod("b", 3_000)]), false),
        ];
        for (snapshot, goes) in cases {
            let rest = without(&snapshot, &snapshot.nodes[0]);
            assert_eq!(rest.is_some(), goes, "{snapshot:?}");
            let moved = rest.is_none_or(|rest| rest.pods_on("a").count() == 0);
            assert!(moved);
        }
    }

    #[test]
    fn pods_of_the_node_itself_keep_it_not_alive() {
        let mut daemon = pod("a", 4_000);
        daemon.goes_with_node = true;
        let snapshot = Snapshot {
            nodes: vec![node("a")],
            pods: vec![daemon],
        };
        assert!(without(&snapshot, &snapshot.nodes[0]).is_some());
    }
}
