//! One loop of the model, step by step in the real program's order.

use std::collections::{BTreeMap, BTreeSet};

use proto_autoscaler::NodeGroup;
use tonic::Status;

use super::{
    CaModel, Cluster, Event, LoopEnd, NodeSeen, Snapshot,
    caches::{FakeReason, Template, fake_node, to_message},
    cluster::{OwnTaint, TO_BE_DELETED},
    state::{self, GroupSeen, InstanceState, Picture, State},
};
use crate::recorder::clock_ms;

/// What one loop works with after it has asked for everything.
pub(super) struct Scan {
    pub(super) now_ms: u64,
    pub(super) snapshot: Snapshot,
    pub(super) groups: Vec<GroupSeen>,
    /// The group of each Node that has one, as `NodeGroupForNode` told it: its `minSize` is the one that counts for removals.
    pub(super) group_of: BTreeMap<String, NodeGroup>,
    /// Some `NodeGroupForNode` failed, which spoils every scale-up of this loop.
    pub(super) lookup_failed: bool,
    pub(super) templates: BTreeMap<String, Template>,
    pub(super) picture: Picture,
}

/// A step that ends the loop.
struct Abort(String);

impl Abort {
    fn at(step: &str, status: &Status) -> Self {
        Self(format!("{step}: {:?}: {}", status.code(), status.message()))
    }
}

impl<C: Cluster> CaModel<C> {
    /// Runs one loop.
    pub async fn scan(&mut self) -> LoopEnd {
        match self.try_scan().await {
            Ok(end) => end,
            Err(Abort(why)) => {
                self.unneeded_since.clear();
                self.events.push(Event::LoopAborted { why });
                LoopEnd::Aborted
            }
        }
    }

    async fn try_scan(&mut self) -> Result<LoopEnd, Abort> {
        let now_ms = clock_ms();
        let mut snapshot = self.look().await?;
        if self.is_first_loop {
            self.take_back_taints(&snapshot).await;
            self.is_first_loop = false;
            snapshot = self.look().await?;
        }
        for node in snapshot.nodes.iter().filter(|node| node.is_ready()) {
            let _asked_again_below = self.group_for(node).await;
            self.caches.gpu_label(&self.provider).await;
        }
        self.caches.before_refresh();
        let refreshed = self.provider.refresh().await;
        refreshed.map_err(|status| Abort::at("Refresh", &status))?;
        let mut scan = self.ask_for_everything(now_ms, snapshot).await?;
        self.give_up_late_requests(&mut scan).await;
        self.remove_long_unregistered(&scan).await;
        if !State::cluster_is_healthy(&scan.picture, &self.options) {
            self.unneeded_since.clear();
            self.events.push(Event::ClusterUnhealthy);
            return Ok(LoopEnd::Quiet);
        }
        self.remove_failed_creations(&scan).await;
        if self.fix_sizes(&scan).await? {
            return Ok(LoopEnd::Acted);
        }
        if self.scale_up(&mut scan).await {
            return Ok(LoopEnd::Acted);
        }
        Ok(self.scale_down(&scan).await)
    }

    async fn look(&self) -> Result<Snapshot, Abort> {
        let seen = self.cluster.snapshot().await;
        seen.map_err(|error| Abort(format!("look at the cluster: {error:#}")))
    }

    /// After a restart nobody knows why a Node was being removed, so it is not any more.
    async fn take_back_taints(&mut self, snapshot: &Snapshot) {
        for node in &snapshot.nodes {
            let group = self.group_for(node).await;
            let ours = matches!(group, Ok(Some(_)));
            if ours && (node.has_taint(TO_BE_DELETED) || node.unschedulable) {
                self.untaint(&node.name).await;
            }
        }
    }

    pub(super) async fn untaint(&self, node: &str) {
        let off = self.cluster.set_taint(node, OwnTaint::ToBeDeleted, false);
        if let Err(error) = off.await {
            tracing::warn!(node, error = format!("{error:#}"), "a taint stays");
        }
    }

    pub(super) async fn group_for(&mut self, node: &NodeSeen) -> Result<Option<NodeGroup>, Status> {
        let message = to_message(node);
        self.caches.group_for(&self.provider, message).await
    }

    /// Groups, templates, targets, instances, the group of every Node, options.
    async fn ask_for_everything(&mut self, now_ms: u64, snapshot: Snapshot) -> Result<Scan, Abort> {
        let named = self.caches.groups(&self.provider).await;
        let (group_of, mut lookup_failed) = self.groups_of(&snapshot, &named).await;
        let templates = self.templates(&snapshot, &group_of, &named).await;
        let groups = self.sizes(&named, now_ms).await?;
        for group in &groups {
            for id in state::unregistered(group, &snapshot.nodes) {
                let fake = fake_node(id, FakeReason::Unregistered);
                let found = self.caches.group_for(&self.provider, fake).await;
                lookup_failed |= found.is_err();
            }
        }
        let plain = group_of
            .iter()
            .map(|(node, group)| (node.clone(), group.id.clone()))
            .collect();
        let picture = self.state.update(now_ms, &groups, &snapshot.nodes, &plain);
        for group in &groups {
            if self.state.is_scaling_up(&picture, group) {
                self.caches.forget_instances(&group.id);
            }
        }
        Ok(Scan {
            now_ms,
            snapshot,
            groups,
            group_of,
            lookup_failed,
            templates,
            picture,
        })
    }

    async fn groups_of(
        &mut self,
        snapshot: &Snapshot,
        named: &[NodeGroup],
    ) -> (BTreeMap<String, NodeGroup>, bool) {
        let known: BTreeSet<&str> = named.iter().map(|group| group.id.as_str()).collect();
        let mut group_of = BTreeMap::new();
        let mut failed = false;
        for node in &snapshot.nodes {
            match self.group_for(node).await {
                Ok(Some(group)) if known.contains(group.id.as_str()) => {
                    group_of.insert(node.name.clone(), group);
                }
                Ok(Some(group)) => {
                    let (id, node) = (group.id, &node.name);
                    let why = format!("{node} is in {id}, which is not in NodeGroups");
                    self.events.push(Event::WouldPanic { why });
                }
                Ok(None) => {}
                Err(_) => failed = true,
            }
        }
        (group_of, failed)
    }

    /// A stable Node is the best template, a remembered one the next, then the provider's, at last an unready Node.
    async fn templates(
        &mut self,
        snapshot: &Snapshot,
        group_of: &BTreeMap<String, NodeGroup>,
        named: &[NodeGroup],
    ) -> BTreeMap<String, Template> {
        let mut templates = BTreeMap::new();
        for group in named {
            let is_member =
                |node: &&NodeSeen| group_of.get(&node.name).is_some_and(|of| of.id == group.id);
            let is_good = |node: &&NodeSeen| {
                node.is_ready()
                    && node.ready_for >= self.options.template_stability
                    && !node.unschedulable
                    && !node.has_taint(TO_BE_DELETED)
            };
            let mut members = snapshot.nodes.iter().filter(is_member);
            if let Some(good) = members.clone().find(is_good) {
                let template = Template::of_node(good);
                self.caches.remember(&group.id, template.clone());
                templates.insert(group.id.clone(), template);
                continue;
            }
            let asked = self
                .caches
                .template(&self.provider, &group.id, &self.events);
            let template = asked
                .await
                .or_else(|| members.next().map(Template::of_node));
            if let Some(template) = template {
                templates.insert(group.id.clone(), template);
            }
        }
        templates
    }

    /// Target and instances of each group; an error of either ends the loop.
    async fn sizes(&mut self, named: &[NodeGroup], now_ms: u64) -> Result<Vec<GroupSeen>, Abort> {
        let mut targets = Vec::new();
        for group in named {
            let target = self.provider.target_size(&group.id).await;
            targets.push(target.map_err(|status| Abort::at("NodeGroupTargetSize", &status))?);
        }
        let mut groups = Vec::new();
        for (group, target) in named.iter().zip(targets) {
            let instances = self
                .caches
                .instances(&self.provider, &group.id, (now_ms, &self.options))
                .await
                .map_err(|status| Abort::at("NodeGroupNodes", &status))?;
            let defaults = self.options.as_message();
            let answer = self.provider.options(&group.id, defaults).await;
            let answer = answer.map_err(|status| Abort::at("NodeGroupGetOptions", &status))?;
            groups.push(GroupSeen {
                id: group.id.clone(),
                min: group.min_size,
                max: group.max_size,
                target,
                instances,
                options: self.options.of_group(answer.as_ref()),
            });
        }
        Ok(groups)
    }

    async fn give_up_late_requests(&mut self, scan: &mut Scan) {
        for late in std::mem::take(&mut scan.picture.timed_out) {
            self.state.back_off(&late.group, &self.options, scan.now_ms);
            // A refusal is only a warning here.
            let _only_logged = self.provider.decrease(&late.group, -late.increase).await;
            self.events.push(Event::ScaleUpTimedOut {
                group: late.group,
                increase: late.increase,
            });
        }
    }

    async fn remove_long_unregistered(&mut self, scan: &Scan) {
        for group in &scan.groups {
            let missing = scan.picture.long_unregistered.iter();
            let missing = missing.filter(|(id, _)| *id == group.id);
            let mut fakes: Vec<_> = missing
                .map(|(_, instance)| fake_node(instance, FakeReason::Unregistered))
                .collect();
            if fakes.is_empty() {
                continue;
            }
            let Ok(target) = self.provider.target_size(&group.id).await else {
                continue;
            };
            fakes.truncate(usize::try_from(target - group.min).unwrap_or(0));
            if !fakes.is_empty() {
                let removed = self.provider.delete(&group.id, fakes).await;
                self.removed_fakes(group, removed);
            }
        }
    }

    fn removed_fakes(&mut self, group: &GroupSeen, removed: Result<(), Status>) {
        match removed {
            Ok(()) => self.caches.forget_instances(&group.id),
            Err(status) => self.events.push(Event::ScaleDownFailed {
                node: group.id.clone(),
                why: status.to_string(),
            }),
        }
    }

    /// Machines that said that they cannot be created go at once, in every loop until they have left the list.
    async fn remove_failed_creations(&mut self, scan: &Scan) {
        for group in &scan.groups {
            let mut fakes = Vec::new();
            for instance in &group.instances {
                let Some(code) = &instance.error else {
                    continue;
                };
                if instance.state != InstanceState::Creating {
                    continue;
                }
                fakes.push(fake_node(&instance.id, FakeReason::CreateError));
                if self.told_errors.insert(instance.id.clone()) {
                    self.state.reduced(&group.id, 1);
                    self.state.back_off(&group.id, &self.options, scan.now_ms);
                    self.events.push(Event::ScaleUpFailed {
                        group: group.id.clone(),
                        instance: instance.id.clone(),
                        code: code.clone(),
                    });
                }
            }
            if !fakes.is_empty() {
                let removed = self.provider.delete(&group.id, fakes).await;
                self.removed_fakes(group, removed);
            }
        }
        let failed: BTreeSet<&str> = scan
            .groups
            .iter()
            .flat_map(|group| &group.instances)
            .filter(|instance| instance.error.is_some())
            .map(|instance| instance.id.as_str())
            .collect();
        self.told_errors.retain(|id| failed.contains(id.as_str()));
    }

    /// Makes targets agree with what exists; if there was anything to do, the loop ends.
    async fn fix_sizes(&self, scan: &Scan) -> Result<bool, Abort> {
        for (group, delta) in &scan.picture.wrong_sizes {
            let fixed = self.provider.decrease(group, *delta).await;
            fixed.map_err(|status| Abort::at("NodeGroupDecreaseTargetSize", &status))?;
        }
        Ok(!scan.picture.wrong_sizes.is_empty())
    }
}
