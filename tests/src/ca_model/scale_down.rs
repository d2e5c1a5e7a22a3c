//! The model's scale-down: Nodes that are hardly used and whose Pods fit elsewhere, after they have been so for a while.
//! Holds: planned in every loop, also right after a group has grown; a Node must be unneeded for longer than its group says.
//! Not here: how a Node is removed (`removals`); groups that only scale between nothing and everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    CaModel, Cluster, Event, NodeSeen, Snapshot,
    caches::KnownGroup,
    cluster::{DELETION_CANDIDATE, OwnTaint, SCALE_DOWN_DISABLED, TO_BE_DELETED, admits},
    removals::{Emptying, Ongoing},
    scan::Scan,
    state::{millis, passed},
};

/// How many Nodes go at the same time.
const AT_ONCE: usize = 10;
/// How many of them may have Pods.
const DRAINED_AT_ONCE: usize = 1;
/// How many soft taints change in one loop.
const SOFT_TAINTS: usize = 10;

/// Whether a loop may remove what it plans to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    Remove,
    OnlyPlan,
}

/// A Node that the cluster could do without.
#[derive(Debug, Clone)]
pub(super) struct Unneeded {
    group: Arc<KnownGroup>,
    since_ms: u64,
    /// How long it must have been unneeded; none where its group could not tell.
    wait: Option<Duration>,
    emptying: Emptying,
}

impl<C: Cluster> CaModel<C> {
    /// Returns whether removals began.
    pub(super) async fn scale_down(
        &mut self,
        scan: &Scan,
        ongoing: &Ongoing,
        permission: Permission,
    ) -> bool {
        let candidates = self.candidates(scan).await;
        let anything = !candidates.is_empty();
        self.plan(scan, candidates, ongoing).await;
        let may = permission == Permission::Remove && !self.cools_down(scan.now_ms);
        let began = may && anything && self.remove_due(scan, ongoing).await;
        if began {
            self.last_removal_ms = Some(scan.now_ms);
            self.recalculate().await;
        }
        self.mark(scan).await;
        began
    }

    fn cools_down(&self, now_ms: u64) -> bool {
        let within = |since: Option<u64>, delay: Duration| {
            since.is_some_and(|since| now_ms < since + millis(delay))
        };
        within(self.last_scale_up_ms, self.options.delay_after_add)
            || within(self.last_removal_ms, self.options.delay_after_delete)
            || within(self.last_failure_ms, self.options.delay_after_failure)
    }

    /// The target of each group that tells it.
    async fn sizes(&self) -> BTreeMap<String, i32> {
        let mut sizes = BTreeMap::new();
        for group in self.caches.groups().await {
            if let Ok(target) = self.caches.provider.target_size(&group.id).await {
                sizes.insert(group.id.clone(), target);
            }
        }
        sizes
    }

    /// Nodes of groups above their minimum, those that were unneeded before first, then empty ones. The minimum is the one that came
    /// with the Node's group, not the one of the list of groups.
    async fn candidates<'a>(&self, scan: &'a Scan) -> Vec<(&'a NodeSeen, Arc<KnownGroup>)> {
        let sizes = self.sizes().await;
        let mut candidates = Vec::new();
        for node in &scan.snapshot.nodes {
            let Ok(Some(group)) = self.caches.group_for_node(node).await else {
                continue;
            };
            if sizes.get(&group.id).is_some_and(|size| *size > group.min) {
                candidates.push((node, group));
            }
        }
        candidates.sort_by_key(|(node, _)| {
            let is_known = self.unneeded.contains_key(&node.name);
            (!is_known, emptying(&scan.snapshot, node))
        });
        candidates
    }

    /// Finds the Nodes that the cluster could do without, each with those before it gone.
    async fn plan(
        &mut self,
        scan: &Scan,
        candidates: Vec<(&NodeSeen, Arc<KnownGroup>)>,
        ongoing: &Ongoing,
    ) {
        let names: BTreeSet<&str> = scan.snapshot.nodes.iter().map(|node| &*node.name).collect();
        self.unremovable_until
            .retain(|name, until| names.contains(name.as_str()) && scan.now_ms < *until);
        let mut eligible = Vec::new();
        for (node, group) in candidates {
            let is_open =
                !ongoing.contains(&node.name) && !self.unremovable_until.contains_key(&node.name);
            if is_open && self.may_go(scan, node, &group).await {
                eligible.push((node, group));
            }
        }
        let mut rest = scan.snapshot.clone();
        rest.nodes.retain(|node| !ongoing.contains(&node.name));
        let mut removable = Vec::new();
        for (node, group) in eligible {
            let Some(without) = without(&rest, node) else {
                let until = scan.now_ms + millis(self.options.unremovable_recheck);
                self.unremovable_until.insert(node.name.clone(), until);
                continue;
            };
            rest = without;
            let _no_group_is_all_or_nothing = self.options_of(&group.id).await;
            removable.push((node, group));
        }
        let before = std::mem::take(&mut self.unneeded);
        for (node, group) in removable {
            let options = self.options_of(&group.id).await.ok();
            let wait = options.map(|options| {
                if node.is_ready() {
                    options.unneeded_time
                } else {
                    options.unready_time
                }
            });
            let since = before.get(&node.name).map(|known| known.since_ms);
            let unneeded = Unneeded {
                group,
                since_ms: since.unwrap_or(scan.now_ms),
                wait,
                emptying: emptying(&scan.snapshot, node),
            };
            self.unneeded.insert(node.name.clone(), unneeded);
        }
    }

    /// Whether the Node is hardly used and nothing forbids its removal. Its options are asked for twice: once whether DaemonSets
    /// count, and once for the threshold, if there is anything to hold against it.
    async fn may_go(&self, scan: &Scan, node: &NodeSeen, group: &KnownGroup) -> bool {
        let disabled = node.annotations.get(SCALE_DOWN_DISABLED);
        if node.is_being_deleted(self.options.deletion_window)
            || disabled.is_some_and(|value| value == "true")
            || self.options_of(&group.id).await.is_err()
        {
            return false;
        }
        // For the utilisation, and then for the threshold (core/scaledown/eligibility/eligibility.go).
        self.caches.gpu_label().await;
        let used = scan.snapshot.pods_on(&node.name);
        let used = used.map(|pod| pod.requests).sum();
        let Some(utilisation) = node.allocatable.utilisation(&used) else {
            return false;
        };
        self.caches.gpu_label().await;
        let options = self.options_of(&group.id).await;
        options.is_ok_and(|options| utilisation <= options.utilisation_threshold)
    }

    /// Removes what has been unneeded for long enough: empty Nodes together, of those with Pods one.
    async fn remove_due(&mut self, scan: &Scan, ongoing: &Ongoing) -> bool {
        if let Err(status) = self.add_up_resources(scan).await {
            tracing::warn!(%status, "nothing is removed in this loop");
            return false;
        }
        let due = self.due(scan.now_ms, ongoing).await;
        let mut chosen = Vec::new();
        for name in due {
            let group = &self.unneeded[&name].group;
            if self.options_of(&group.id).await.is_ok() {
                chosen.push(name);
            }
        }
        let mut left = AT_ONCE.saturating_sub(ongoing.len());
        let drained = DRAINED_AT_ONCE.saturating_sub(ongoing.drained());
        let mut began = false;
        for (how, most) in [(Emptying::Empty, left), (Emptying::Drained, drained)] {
            let of_kind = chosen.iter();
            let of_kind = of_kind.filter(|name| self.unneeded[*name].emptying == how);
            let of_kind: Vec<String> = of_kind.cloned().collect();
            let groups = of_kind.iter().map(|name| &self.unneeded[name].group.id);
            for group in groups.collect::<BTreeSet<_>>() {
                let _no_group_is_all_or_nothing = self.options_of(group).await;
            }
            let batch: Vec<String> = of_kind.into_iter().take(most.min(left)).collect();
            left -= batch.len();
            if batch.is_empty() {
                continue;
            }
            if !self.begin(scan, &batch).await {
                self.last_failure_ms = Some(scan.now_ms);
                return false;
            }
            began = true;
        }
        began
    }

    /// What has been unneeded for long enough and is above its group's minimum, empty Nodes first.
    async fn due(&self, now_ms: u64, ongoing: &Ongoing) -> Vec<String> {
        let mut sizes = self.sizes().await;
        let mut names: Vec<&String> = self.unneeded.keys().collect();
        names.sort_by_key(|name| self.unneeded[*name].emptying);
        let mut due = Vec::new();
        for name in names {
            let unneeded = &self.unneeded[name];
            let is_due = unneeded
                .wait
                .is_some_and(|wait| wait.is_zero() || passed(unneeded.since_ms, wait, now_ms));
            let Some(size) = sizes.get_mut(&unneeded.group.id).filter(|_| is_due) else {
                continue;
            };
            if *size - ongoing.of_group(&unneeded.group.id) > unneeded.group.min {
                *size -= 1;
                due.push(name.clone());
            }
        }
        due
    }

    /// Taints these Nodes and begins to remove them; returns whether it could.
    async fn begin(&mut self, scan: &Scan, names: &[String]) -> bool {
        let mut tainted: Vec<&String> = Vec::new();
        for name in names {
            let taint = self.cluster.set_taint(name, OwnTaint::ToBeDeleted, true);
            if let Err(error) = taint.await {
                let (node, why) = (name.clone(), format!("{error:#}"));
                self.events.push(Event::ScaleDownFailed { node, why });
                for name in tainted {
                    self.untaint(name).await;
                }
                return false;
            }
            tainted.push(name);
        }
        for name in names {
            let unneeded = self.unneeded[name].clone();
            let _only_for_the_report = self.options_of(&unneeded.group.id).await;
            let nodes = &scan.snapshot.nodes;
            if let Some(node) = nodes.iter().find(|node| node.name == *name) {
                let worker = self.worker();
                let (group, how) = (&unneeded.group.id, unneeded.emptying);
                self.removals.begin(worker, node, (group, how));
            }
        }
        true
    }

    /// Takes soft taints off Nodes that are needed, then puts them on the others, a few in each loop.
    async fn mark(&self, scan: &Scan) {
        let mut ours = Vec::new();
        for node in &scan.snapshot.nodes {
            if let Ok(Some(_)) = self.caches.group_for_node(node).await {
                ours.push(node);
            }
        }
        let changes = ours.into_iter().filter_map(|node| {
            let is_marked = node.has_taint(DELETION_CANDIDATE);
            let is_unneeded = self.unneeded.contains_key(&node.name);
            let changes = is_marked != is_unneeded && !node.has_taint(TO_BE_DELETED);
            changes.then_some((&node.name, is_unneeded))
        });
        let mut changes: Vec<_> = changes.collect();
        changes.sort_by_key(|(_, is_unneeded)| *is_unneeded);
        for (node, present) in changes.into_iter().take(SOFT_TAINTS) {
            let taint = OwnTaint::DeletionCandidate;
            if let Err(error) = self.cluster.set_taint(node, taint, present).await {
                let error = format!("{error:#}");
                tracing::warn!(node, error, "a soft taint is left as it was");
            }
        }
    }
}

fn emptying(snapshot: &Snapshot, node: &NodeSeen) -> Emptying {
    let mut pods = snapshot.pods_on(&node.name);
    if pods.all(|pod| pod.goes_with_node) {
        Emptying::Empty
    } else {
        Emptying::Drained
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

#[cfg(test)]
mod tests;
