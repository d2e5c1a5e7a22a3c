//! One loop of the model, step by step in the real program's order.
//! Not here: what the loop asks to learn where it stands (`facts`), and what it puts right (`repairs`).

use std::time::Duration;

use proto_autoscaler::ExternalGrpcNode;
use tonic::Status;

use super::{
    CaModel, Cluster, Event, LoopEnd, PodSeen, Snapshot, cluster::TO_BE_DELETED,
    options::GroupOptions, scale_down::Permission,
};
use crate::recorder::clock_ms;

/// While no waiting Pod is older than this, more of them are expected.
const YOUNG: Duration = Duration::from_secs(2);

/// What the second half of a loop works with.
pub(super) struct Scan {
    pub(super) now_ms: u64,
    /// Without the Nodes for which made-up ones stand; Pods that fit on a Node count as being there.
    pub(super) snapshot: Snapshot,
    /// A Node for each upcoming machine, with its group.
    pub(super) upcoming: Vec<(String, ExternalGrpcNode)>,
}

/// A step that ends the loop.
pub(super) struct Abort {
    why: String,
    timers: Timers,
}

/// What becomes of the clocks of unneeded Nodes when a loop ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timers {
    Kept,
    Cleared,
}

impl Abort {
    pub(super) fn at(step: &str, status: &Status, timers: Timers) -> Self {
        let why = format!("{step}: {:?}: {}", status.code(), status.message());
        Self { why, timers }
    }
}

impl<C: Cluster> CaModel<C> {
    /// Runs one loop and waits for the removals that it began.
    pub async fn scan(&mut self) -> LoopEnd {
        let end = self.step().await;
        self.removals.settle().await;
        end
    }

    /// Runs one loop; removals that it begins go on beside the loops after it.
    pub(super) async fn step(&mut self) -> LoopEnd {
        match self.try_step().await {
            Ok(end) => end,
            Err(Abort { why, timers }) => {
                if timers == Timers::Cleared {
                    self.unneeded.clear();
                }
                self.events.push(Event::LoopAborted { why });
                LoopEnd::Aborted
            }
        }
    }

    async fn try_step(&mut self) -> Result<LoopEnd, Abort> {
        let now_ms = clock_ms();
        let due = (now_ms, self.options.instance_refresh);
        let refreshed = self
            .instances
            .refresh_if_due(&self.caches, due, &self.events);
        refreshed.await;
        if self.is_first_loop {
            self.take_back_taints().await?;
            self.is_first_loop = false;
        }
        let snapshot = self.look().await?;
        self.look_at_ready_nodes(&snapshot).await;
        let ongoing = self.removals.ongoing();
        let refreshed = self.caches.refresh().await;
        refreshed.map_err(|status| Abort::at("Refresh", &status, Timers::Kept))?;
        let _only_counted = self.caches.groups().await;
        self.make_templates(&snapshot).await;
        self.update(now_ms, &snapshot).await?;
        self.remove_long_unregistered(now_ms).await;
        if !self.state.cluster_is_healthy(&self.options) {
            self.unneeded.clear();
            self.events.push(Event::ClusterUnhealthy);
            return Ok(LoopEnd::Quiet);
        }
        self.remove_failed_creations().await;
        if self.fix_sizes(now_ms).await? {
            return Ok(LoopEnd::Quiet);
        }
        let mut scan = self.with_upcoming(now_ms, snapshot).await;
        let waiting = self.waiting_pods(&mut scan);
        let all_young = !waiting.is_empty() && waiting.iter().all(|pod| pod.age < YOUNG);
        let grown = !all_young && self.scale_up(&scan, &waiting).await;
        if grown {
            self.last_scale_up_ms = Some(now_ms);
        }
        let permission = if all_young {
            Permission::OnlyPlan
        } else {
            Permission::Remove
        };
        let shrunk = self.scale_down(&scan, &ongoing, permission).await;
        Ok(if grown || shrunk {
            LoopEnd::Acted
        } else {
            LoopEnd::Quiet
        })
    }

    async fn look(&self) -> Result<Snapshot, Abort> {
        let seen = self.cluster.snapshot().await;
        seen.map_err(|error| Abort {
            why: format!("look at the cluster: {error:#}"),
            timers: Timers::Kept,
        })
    }

    /// After a restart nobody knows why a Node was being removed, so it is not any more. A cordon of people stays.
    async fn take_back_taints(&self) -> Result<(), Abort> {
        let mut ours = Vec::new();
        let nodes = self.look().await?.nodes;
        for node in &nodes {
            if let Ok(Some(_)) = self.caches.group_for_node(node).await {
                ours.push(node);
            }
        }
        for node in ours {
            if node.has_taint(TO_BE_DELETED) {
                self.untaint(&node.name).await;
            }
        }
        Ok(())
    }

    /// Before the Refresh, so with the caches of the loop before: GPUs, and devices that the template promises.
    async fn look_at_ready_nodes(&self, snapshot: &Snapshot) {
        let nodes = snapshot.nodes.iter();
        let ready = nodes.filter(|node| node.is_listed_as_ready());
        for _ in ready.clone() {
            // Whether its GPU comes through DRA, then whether it should have one
            // (`FilterOutNodesWithUnreadyResources` in processors/customresources/gpu_processor.go).
            self.caches.gpu_label().await;
            self.caches.gpu_label().await;
        }
        for node in ready {
            if let Ok(Some(group)) = self.caches.group_for_node(node).await
                && !self.templates.contains_key(&group.id)
            {
                let _only_devices = self.caches.template(&group, &self.events).await;
            }
        }
    }

    /// Puts a made-up Node for each upcoming machine beside the Nodes, and in the place of those that are not ready yet.
    async fn with_upcoming(&mut self, now_ms: u64, mut snapshot: Snapshot) -> Scan {
        let mut upcoming = Vec::new();
        for group in self.caches.groups().await {
            let Some(template) = self.templates.get(&group.id) else {
                continue;
            };
            let draw = self.dice.roll();
            for number in 0..self.state.upcoming(&group.id, now_ms) {
                let node = template.upcoming_node(&group.id, draw, number);
                upcoming.push((group.id.clone(), node));
            }
            let replaced = self.state.replaced(&group.id, now_ms);
            snapshot.nodes.retain(|node| !replaced.contains(&node.name));
        }
        Scan {
            now_ms,
            snapshot,
            upcoming,
        }
    }

    /// Asks for the options of a group; each question is a call.
    pub(super) async fn options_of(&self, group: &str) -> Result<GroupOptions, Status> {
        let defaults = self.options.as_message();
        let answer = self.caches.provider.options(group, defaults).await?;
        Ok(self.options.of_group(answer.as_ref()))
    }

    /// Asks for the group of everything in sight, made-up Nodes included, as whoever adds up resources does.
    pub(super) async fn add_up_resources(&self, scan: &Scan) -> Result<(), Status> {
        for node in &scan.snapshot.nodes {
            self.caches.group_for_node(node).await?;
        }
        for (_, node) in &scan.upcoming {
            self.caches.group_for(node.clone()).await?;
        }
        Ok(())
    }

    /// Pods that fit nowhere. Those that fit on a Node count as being there from now on: it is not unneeded because the scheduler has
    /// not come to them yet.
    fn waiting_pods(&self, scan: &mut Scan) -> Vec<PodSeen> {
        let templates = scan.upcoming.iter();
        let templates = templates.filter_map(|(group, _)| self.templates.get(group));
        let mut rooms = super::rooms::Rooms::of(&scan.snapshot, templates.cloned());
        let mut waiting = Vec::new();
        for index in 0..scan.snapshot.pods.len() {
            let pod = scan.snapshot.pods[index].clone();
            if !pod.unschedulable {
                continue;
            }
            match rooms.take(&pod, &scan.snapshot) {
                Some(node) => scan.snapshot.pods[index].node = node,
                None => waiting.push(pod),
            }
        }
        waiting
    }
}
