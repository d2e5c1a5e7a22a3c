//! Nodes on their way out, beside the loops: emptied, deleted with one RPC each, or given back.
//! Holds: a removal that fails takes taint and cordon off; what is under way is no candidate and no place for Pods. No Node is deleted
//! before its last evicted Pod is gone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    CaModel, Cluster, Event, EventLog, NodeSeen,
    caches::{Caches, to_message},
    cluster::OwnTaint,
};

/// Between two tries to evict, and two looks whether Pods are gone; 10 and 5 seconds in the real program.
const LOOK: Duration = Duration::from_millis(100);

/// Whether a Node has Pods that must go before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Emptying {
    Empty,
    Drained,
}

/// The removals under way at one moment: group and kind by Node.
#[derive(Debug, Clone, Default)]
pub(super) struct Ongoing(BTreeMap<String, (String, Emptying)>);

impl Ongoing {
    pub(super) fn contains(&self, node: &str) -> bool {
        self.0.contains_key(node)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn drained(&self) -> usize {
        let kinds = self.0.values();
        kinds.filter(|(_, how)| *how == Emptying::Drained).count()
    }

    pub(super) fn of_group(&self, group: &str) -> i32 {
        let of_group = self.0.values().filter(|(of, _)| of == group);
        i32::try_from(of_group.count()).unwrap_or(i32::MAX)
    }
}

/// All removals of a model; they end with it.
#[derive(Debug, Default)]
pub(super) struct Removals {
    tasks: JoinSet<()>,
    ongoing: Arc<Mutex<Ongoing>>,
}

impl Removals {
    /// What is under way now.
    pub(super) fn ongoing(&mut self) -> Ongoing {
        while self.tasks.try_join_next().is_some() {}
        lock(&self.ongoing).clone()
    }

    /// Waits until nothing is under way.
    pub(super) async fn settle(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Begins to remove a Node that carries the taint already.
    pub(super) fn begin<C: Cluster>(
        &mut self,
        worker: Worker<C>,
        node: &NodeSeen,
        (group, how): (&str, Emptying),
    ) {
        let of = (group.to_owned(), how);
        lock(&self.ongoing).0.insert(node.name.clone(), of);
        let (ongoing, node) = (Arc::clone(&self.ongoing), node.clone());
        self.tasks.spawn(async move {
            worker.remove(&node, how).await;
            lock(&ongoing).0.remove(&node.name);
        });
    }
}

/// What a removal needs of the model.
#[derive(Debug)]
pub(super) struct Worker<C> {
    cluster: Arc<C>,
    caches: Caches,
    events: EventLog,
    /// How long Pods may take to be let go.
    eviction: Duration,
    /// How long Pods are granted to end.
    grace: Duration,
    /// How long Pods that were let go are waited for.
    end: Duration,
    /// Between taint and removal.
    delay: Duration,
}

impl<C: Cluster> CaModel<C> {
    pub(super) fn worker(&self) -> Worker<C> {
        Worker {
            cluster: Arc::clone(&self.cluster),
            caches: self.caches.clone(),
            events: self.events.clone(),
            eviction: self.options.eviction_time,
            grace: self.options.graceful_termination,
            end: self.options.graceful_termination + self.options.eviction_headroom,
            delay: self.options.delete_delay,
        }
    }

    pub(super) async fn untaint(&self, node: &str) {
        untaint(&*self.cluster, node).await;
    }
}

impl<C: Cluster> Worker<C> {
    async fn remove(&self, node: &NodeSeen, how: Emptying) {
        let removed = self.try_remove(node, how).await;
        let name = node.name.clone();
        match removed {
            Ok(()) => self.events.push(Event::ScaledDown { node: name }),
            Err(why) => {
                untaint(&*self.cluster, &name).await;
                self.events.push(Event::ScaleDownFailed { node: name, why });
            }
        }
    }

    async fn try_remove(&self, node: &NodeSeen, how: Emptying) -> Result<(), String> {
        tokio::time::sleep(self.delay).await;
        match how {
            Emptying::Empty => {
                if !self.is_empty(&node.name).await? {
                    return Err("node is not empty, new pods scheduled".to_owned());
                }
            }
            Emptying::Drained => self.empty(&node.name).await?,
        }
        let group = self.caches.group_for_node(node).await;
        let group = group.map_err(|status| status.to_string())?;
        let group = group.ok_or("it belongs to no group")?;
        let nodes = vec![to_message(node)];
        let deleted = self.caches.provider.delete(&group.id, nodes).await;
        deleted.map_err(|status| status.to_string())?;
        self.caches.gpu_types().await;
        let _only_for_metrics = self.caches.template(&group, &self.events).await;
        Ok(())
    }

    async fn is_empty(&self, node: &str) -> Result<bool, String> {
        let seen = self.cluster.snapshot().await;
        let seen = seen.map_err(|error| format!("{error:#}"))?;
        Ok(seen.pods_on(node).all(|pod| pod.goes_with_node))
    }

    /// Evicts what does not go with the Node, then waits until it is gone, each for a time of its own
    /// (`drainNodeWithPodsBasedOnPodPriority` in core/scaledown/actuation/drain.go).
    async fn empty(&self, node: &str) -> Result<(), String> {
        let let_go = async {
            while self.evict(node).await? > 0 {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        within(self.eviction, let_go, "Pods may not be evicted").await?;
        let gone = async {
            while !self.is_empty(node).await? {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        within(self.end, gone, "evicted Pods are still there").await
    }

    async fn evict(&self, node: &str) -> Result<usize, String> {
        let kept = self.cluster.evict_from(node, self.grace).await;
        kept.map_err(|error| format!("{error:#}"))
    }
}

async fn within(
    limit: Duration,
    step: impl Future<Output = Result<(), String>>,
    late: &str,
) -> Result<(), String> {
    let ended = tokio::time::timeout(limit, step).await;
    ended.unwrap_or_else(|_elapsed| Err(format!("{late} after {limit:?}")))
}

async fn untaint<C: Cluster>(cluster: &C, node: &str) {
    let off = cluster.set_taint(node, OwnTaint::ToBeDeleted, false);
    if let Err(error) = off.await {
        tracing::warn!(node, error = format!("{error:#}"), "a taint stays");
    }
}

fn lock(ongoing: &Mutex<Ongoing>) -> std::sync::MutexGuard<'_, Ongoing> {
    ongoing.lock().unwrap_or_else(PoisonError::into_inner)
}
