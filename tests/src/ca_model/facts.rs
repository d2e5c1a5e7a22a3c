//! What a loop asks to learn where it stands: sizes, instances, the group and options of everything.
//! Holds: the groups are asked for anew at each use while the call fails; one answer that fails at the wrong moment makes requests
//! look as if they had been met.

use std::{collections::BTreeMap, time::Duration};

use super::{
    CaModel, Cluster, Event, NodeSeen, Snapshot,
    caches::{FakeReason, fake_node},
    instances::InstanceSeen,
    scan::{Abort, Timers},
    state::{self, Facts, GroupSeen, MissingFact, NodeFact},
};

/// How long a Node may take to become Ready as long as no group has said otherwise; no flag changes it.
const STARTUP: Duration = Duration::from_secs(900);

impl<C: Cluster> CaModel<C> {
    /// Brings the state up to date, gives up late requests and tells of machines that cannot be created.
    pub(super) async fn update(&mut self, now_ms: u64, snapshot: &Snapshot) -> Result<(), Abort> {
        let targets = self.targets().await?;
        let mut instances = self.lists().await?;
        let mut groups = Vec::new();
        for group in self.caches.groups().await {
            groups.push(GroupSeen {
                target: targets.get(&group.id).copied().unwrap_or_default(),
                instances: instances.remove(&group.id).unwrap_or_default(),
                id: group.id.clone(),
            });
        }
        let missing = state::unregistered(&groups, &snapshot.nodes);
        let facts = Facts {
            now_ms,
            groups,
            nodes: self.node_facts(&snapshot.nodes).await,
            missing: self.missing_facts(missing).await,
        };
        for late in self.state.update(facts) {
            self.failed_to_grow(&late.group, now_ms).await;
            let (group, delta) = (&late.group, -late.increase);
            // A refusal is only a warning here.
            let _only_logged = self.caches.provider.decrease(group, delta).await;
            self.events.push(Event::ScaleUpTimedOut {
                group: late.group,
                increase: late.increase,
            });
        }
        self.tell_failed_creations(now_ms).await;
        Ok(())
    }

    async fn targets(&self) -> Result<BTreeMap<String, i32>, Abort> {
        let mut targets = BTreeMap::new();
        for group in self.caches.groups().await {
            let target = self.caches.provider.target_size(&group.id).await;
            let target = target
                .map_err(|status| Abort::at("NodeGroupTargetSize", &status, Timers::Cleared))?;
            targets.insert(group.id.clone(), target);
        }
        Ok(targets)
    }

    /// The instances of each group: fresh ones of a group that grows, kept ones else. A call that fails is made once more.
    async fn lists(&mut self) -> Result<BTreeMap<String, Vec<InstanceSeen>>, Abort> {
        let groups = self.caches.groups().await;
        for group in &groups {
            if self.state.is_scaling_up(&group.id) {
                self.instances.forget(&group.id);
            }
        }
        for group in &groups {
            let _asked_again_below = self.instances.of_group(&self.caches, &group.id).await;
        }
        let mut lists = BTreeMap::new();
        for group in &groups {
            let list = self.instances.of_group(&self.caches, &group.id).await;
            let list =
                list.map_err(|status| Abort::at("NodeGroupNodes", &status, Timers::Cleared))?;
            lists.insert(group.id.clone(), list);
        }
        Ok(lists)
    }

    /// The group of each Node, and its options twice: once for the group's counts, once for those of the cluster. The start-up time of
    /// one Node holds for those after it that have none of their own.
    async fn node_facts<'a>(&self, nodes: &'a [NodeSeen]) -> Vec<NodeFact<'a>> {
        let mut facts = Vec::new();
        let mut startup = STARTUP;
        for node in nodes {
            let group = self.caches.group_for_node(node).await.ok().flatten();
            let of_cluster = match &group {
                Some(group) => {
                    startup = self.startup_of(&group.id).await.unwrap_or(startup);
                    Some(group.id.clone())
                }
                None => {
                    let again = self.caches.group_for_node(node).await.ok().flatten();
                    again.map(|group| group.id.clone())
                }
            };
            if let Some(group) = of_cluster {
                startup = self.startup_of(&group).await.unwrap_or(startup);
            }
            let group = group.map(|group| group.id.clone());
            facts.push(NodeFact {
                node,
                group,
                startup,
            });
        }
        facts
    }

    async fn startup_of(&self, group: &str) -> Option<Duration> {
        let options = self.options_of(group).await.ok();
        options.map(|options| options.startup_time)
    }

    async fn missing_facts(&self, ids: Vec<String>) -> Vec<MissingFact> {
        let mut facts = Vec::new();
        for id in ids {
            let fake = fake_node(&id, FakeReason::Unregistered);
            let of = match self.caches.group_for(fake).await {
                Ok(Some(group)) => {
                    let options = self.options_of(&group.id).await.ok();
                    options.map(|options| (group.id.clone(), options.provision_time))
                }
                Ok(None) | Err(_) => None,
            };
            facts.push(MissingFact { id, of });
        }
        facts
    }

    /// A group has not grown as it should: it is left alone for a while, unless nothing is known of its machines.
    pub(super) async fn failed_to_grow(&mut self, group: &str, now_ms: u64) {
        if self.templates.contains_key(group) {
            self.state.back_off(group, &self.options, now_ms);
        }
        self.caches.gpu_types().await;
        let groups = self.caches.groups().await;
        if let Some(named) = groups.iter().find(|named| named.id == group) {
            let _only_for_metrics = self.caches.template(named, &self.events).await;
        }
    }

    /// Machines that have said since the loop before that they cannot be created.
    async fn tell_failed_creations(&mut self, now_ms: u64) {
        for group in self.caches.groups().await {
            for (code, ids) in self.state.fresh_errors(&group.id) {
                if !self.state.is_scaling_up(&group.id) {
                    continue;
                }
                if self.options_of(&group.id).await.is_ok() {
                    let failed = i32::try_from(ids.len()).unwrap_or(i32::MAX);
                    self.state.reduced(&group.id, failed);
                }
                self.failed_to_grow(&group.id, now_ms).await;
                for instance in ids {
                    self.events.push(Event::ScaleUpFailed {
                        group: group.id.clone(),
                        instance,
                        code: code.clone(),
                    });
                }
            }
        }
    }
}
