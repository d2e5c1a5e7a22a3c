//! The watches: what the API server tells, cut down to what is needed, into one queue.
//!
//! In: Groups and Nodes (ours) of the watched namespaces, core Nodes, their Leases, PersistentVolumes. Out: [`Seen`].
//! Holds: an object that cannot be decoded is told as such and stops nothing; core Nodes and volumes are pruned as they come.
//! Holds: a watch that ended goes on where it was, or starts over with a whole list.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use coordinator_core::{AgentId, NodeSeen};
use coordinator_crds as crds;
use futures::StreamExt as _;
use k8s_openapi::api::{coordination::v1 as lease_v1, core::v1 as core_v1};
use kube::{
    Api, Resource,
    core::{DeserializeGuard, ObjectMeta, error_boundary::InvalidObject},
    runtime::{
        WatchStreamExt as _,
        utils::Backoff,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    cluster::Cluster,
    declared::Key,
    nodes::node_seen,
    volumes::{VolumeSeen, volume_seen},
};

/// A watch is asked for anew after so long, seconds: a connection that died silently is noticed soon after.
const WATCH_SECONDS: u32 = 45;
/// Objects in one page of a list: bounds how much of it is in memory at once.
const PAGE: u32 = 50;
/// Namespace of the Leases that kubelets renew.
const KUBELET_LEASES: &str = "kube-node-lease";

/// One thing that a watch told.
#[derive(Debug)]
pub(super) enum Seen {
    /// About a Group, from the watch with this number.
    Group(usize, Watched<crds::Group>),
    /// About a Node of ours, from the watch with this number.
    Machine(usize, Watched<crds::Node>),
    /// About a core Node.
    CoreNode(Watched<NodeSeen>),
    /// About a PersistentVolume.
    Volume(Watched<VolumeSeen>),
    /// About the Lease of a core Node.
    Lease(Renewal),
    /// Keys of agents that are no machine's own, as they were pinned when this process began to lead: not a watch's either.
    RelayKeys(BTreeMap<AgentId, String>),
    /// This process leads: not a watch's, but in one queue with them because everything before it must be known.
    Lead {
        /// The epoch.
        epoch: u32,
    },
}

/// An event of a watch.
#[derive(Debug)]
pub(super) enum Watched<T> {
    /// A whole list begins.
    Begin,
    /// An object as it is now.
    Is(Box<T>),
    /// An object that cannot be decoded.
    Unreadable(Box<InvalidObject>),
    /// An object is gone.
    Gone {
        /// Its namespace, empty for what is in none, and its name.
        key: Key,
        /// Which object of that name.
        uid: String,
    },
    /// The list was whole: what was not in it is gone.
    Complete,
}

/// When a kubelet last renewed.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) node: String,
    /// The time as text: only whether it changes counts.
    pub(super) at: Option<String>,
}

/// Starts every watch. They end with the receiver.
pub(super) fn start(
    cluster: &Cluster,
    tasks: &mut JoinSet<()>,
) -> (mpsc::Sender<Seen>, mpsc::Receiver<Seen>) {
    let (queue, seen) = mpsc::channel(256);
    for (number, scope) in cluster.scopes().into_iter().enumerate() {
        let groups: Api<DeserializeGuard<crds::Group>> = cluster.scoped(scope.as_deref());
        let told = guarded(move |watched| Seen::Group(number, watched));
        tasks.spawn(pump("groups", groups, queue.clone(), told));
        let machines: Api<DeserializeGuard<crds::Node>> = cluster.scoped(scope.as_deref());
        let told = guarded(move |watched| Seen::Machine(number, watched));
        tasks.spawn(pump("nodes", machines, queue.clone(), told));
    }
    let told = |event| Some(Seen::CoreNode(pruned(event, node_seen)));
    tasks.spawn(pump(
        "core nodes",
        cluster.all::<core_v1::Node>(),
        queue.clone(),
        told,
    ));
    let told = |event| Some(Seen::Volume(pruned(event, volume_seen)));
    tasks.spawn(pump(
        "persistent volumes",
        cluster.all::<core_v1::PersistentVolume>(),
        queue.clone(),
        told,
    ));
    let leases: Api<lease_v1::Lease> = cluster.namespaced(KUBELET_LEASES);
    tasks.spawn(pump("leases", leases, queue.clone(), renewal));
    (queue, seen)
}

/// How every watch is asked for.
fn settings() -> watcher::Config {
    watcher::Config::default()
        .timeout(WATCH_SECONDS)
        .page_size(PAGE)
}

async fn pump<K>(
    what: &'static str,
    api: Api<K>,
    queue: mpsc::Sender<Seen>,
    told: impl Fn(Event<K>) -> Option<Seen>,
) where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut events = pin!(watcher(api, settings()).backoff(Pauses::default()));
    let mut working = true;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if !working {
                    tracing::info!(what, "watch works again");
                    working = true;
                }
                let Some(seen) = told(event) else { continue };
                if queue.send(seen).await.is_err() {
                    return;
                }
            }
            Err(fault) if working => {
                tracing::warn!(what, %fault, "watch interrupted");
                working = false;
            }
            Err(fault) => tracing::debug!(what, %fault, "watch still interrupted"),
        }
    }
}

fn guarded<K: Resource>(
    wrap: impl Fn(Watched<K>) -> Seen,
) -> impl Fn(Event<DeserializeGuard<K>>) -> Option<Seen> {
    move |event| {
        Some(wrap(match event {
            Event::Init => Watched::Begin,
            Event::InitDone => Watched::Complete,
            Event::Apply(DeserializeGuard(Ok(object)))
            | Event::InitApply(DeserializeGuard(Ok(object))) => Watched::Is(Box::new(object)),
            Event::Apply(DeserializeGuard(Err(fault)))
            | Event::InitApply(DeserializeGuard(Err(fault))) => {
                Watched::Unreadable(Box::new(fault))
            }
            Event::Delete(object) => gone(object.meta()),
        }))
    }
}

/// Of objects in no namespace.
fn pruned<K: Resource, T>(event: Event<K>, seen: fn(K) -> T) -> Watched<T> {
    match event {
        Event::Init => Watched::Begin,
        Event::InitDone => Watched::Complete,
        Event::Apply(object) | Event::InitApply(object) => Watched::Is(Box::new(seen(object))),
        Event::Delete(object) => gone(object.meta()),
    }
}

fn gone<T>(metadata: &ObjectMeta) -> Watched<T> {
    let namespace = metadata.namespace.clone().unwrap_or_default();
    Watched::Gone {
        key: (namespace, metadata.name.clone().unwrap_or_default()),
        uid: metadata.uid.clone().unwrap_or_default(),
    }
}

fn renewal(event: Event<lease_v1::Lease>) -> Option<Seen> {
    match event {
        Event::Apply(lease) | Event::InitApply(lease) => Some(Seen::Lease(Renewal {
            node: lease.metadata.name.unwrap_or_default(),
            at: lease
                .spec
                .and_then(|spec| spec.renew_time)
                .map(|time| time.0.to_string()),
        })),
        // A Lease that is gone is a Lease that is not renewed.
        Event::Delete(_) | Event::Init | Event::InitDone => None,
    }
}

/// Pauses between attempts of a watch that fails: doubling, at most 5 s, so that a restarted API server is found soon.
#[derive(Default)]
struct Pauses {
    failures: u32,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(200 << self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        Some(pause.min(Duration::from_secs(5)))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
