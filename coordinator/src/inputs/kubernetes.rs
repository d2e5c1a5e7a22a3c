//! The inputs from a cluster: watches, the Lease of the leader, requests of people in the status of Nodes.
//!
//! In: Groups and Nodes (ours), core Nodes and their Leases, PersistentVolumes. Out: facts; notices and a mirror for the outputs.
//! Holds: `Loaded` comes after every first list, `Leading` after one more list that is as new as the leadership, and after the
//! keys of relays as they are pinned by then: nobody is trusted at first sight whose key an earlier leader knew.
//! Not here: any write but that of the Lease (`outputs::kubernetes`).

mod cluster;
mod complaints;
mod declared;
mod election;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod intake;
mod leadership;
mod lists;
mod locks;
mod mirror;
mod nodes;
mod notices;
mod volumes;
mod watches;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use coordinator_core::{AgentId, Answer, Fact, MachineId, RejectedKind, Request};
use coordinator_crds as crds;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::ListParams, core::DeserializeGuard};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

pub(crate) use cluster::{CALL, CallFault, call};
pub use cluster::{Cluster, ConnectCluster};
pub(crate) use complaints::Standing;
pub use mirror::Mirror;
pub(crate) use mirror::Place;
pub(crate) use nodes::{SUSPENDED, taint, taints};
pub use nodes::{node_seen, provider_scheme};
pub(crate) use notices::{Complaint, FINALIZER, Kind, Notice, Undo};

use crate::{
    args::{Election, KubernetesSettings},
    clock,
    engine::Handle,
    mandate::Mandate,
    metrics::Metrics,
};
use election::Candidate;
use intake::{Intake, Told};
use leadership::Leadership;
use watches::{Seen, Watched};

/// ConfigMap with what agents outside of the cluster are told, and the keys of those that are no machine's own.
pub(crate) const AGENTS: &str = "homelab-autoscaler-agents";
/// How the keys of agents begin in it, so that no agent's name can hide another entry.
pub(crate) const AGENT_KEY: &str = "key.";
/// How long a person's request may wait for the core.
const ASK: Duration = Duration::from_secs(10);
/// Between attempts at start while the API server does not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest sleep of whoever waits for a lock's end: timers stop while the host is suspended, and the boot clock does not.
const LONGEST_NAP: Duration = Duration::from_secs(5);
/// Notices that may wait for the outputs.
const NOTICES: usize = 256;

/// This process led, and does not any more: it must end, and start again as a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "lost the leader's Lease: another process leads, or the cluster's API did not answer for too long"
)]
pub struct LeadershipLost;

/// What the inputs and the outputs of one process share.
#[derive(Clone)]
pub struct Shared {
    /// The way into the cluster.
    pub cluster: Cluster,
    /// What was seen of our own objects.
    pub mirror: Arc<Mirror>,
    /// Until when this process may write.
    pub mandate: Mandate,
    /// Counts what is written.
    pub metrics: Metrics,
}

/// The inputs of one process, ready to run.
pub struct Inputs {
    shared: Shared,
    me: Candidate,
    election: Election,
    notices: mpsc::Sender<Notice>,
}

/// What the outputs are told besides actions.
pub struct Notices(pub(crate) mpsc::Receiver<Notice>);

impl Inputs {
    /// The inputs, and what they tell the outputs.
    #[must_use]
    pub fn new(shared: Shared, settings: &KubernetesSettings) -> (Self, Notices) {
        let (notices, told) = mpsc::channel(NOTICES);
        let me = Candidate {
            identity: settings.identity.clone().unwrap_or_else(host_name),
            incarnation: incarnation(),
            exclusive: settings.identity.is_some(),
            contested: settings.election.enabled,
        };
        let inputs = Self {
            shared,
            me,
            election: settings.election,
            notices,
        };
        (inputs, Notices(told))
    }

    /// Watches, leads while it may, and gives the leadership back when `stop` comes.
    ///
    /// # Errors
    /// The leadership was lost; nothing was decided any more from that moment on.
    pub async fn run(
        self,
        handle: Handle,
        stop: impl Future<Output = ()>,
    ) -> Result<(), LeadershipLost> {
        let facts = handle.facts.clone();
        let mut leadership = Leadership::new(
            &self.shared.cluster,
            self.me.clone(),
            self.election,
            self.shared.mandate.clone(),
            (self.shared.metrics.clone(), facts.clone()),
        );
        let outcome = {
            let work = self.lead(&handle, &mut leadership);
            tokio::select! {
                lost = work => Err(lost),
                () = stop => Ok(()),
            }
        };
        facts.tell(Fact::Following).await;
        leadership.release().await;
        outcome
    }

    async fn lead(&self, handle: &Handle, leadership: &mut Leadership) -> LeadershipLost {
        let mut tasks = JoinSet::new();
        let (queue, seen) = watches::start(&self.shared.cluster, &mut tasks);
        let (loaded, mut is_loaded) = watch::channel(false);
        let intake = Intake::new(self.shared.mirror.clone(), self.shared.cluster.scopes());
        tasks.spawn(take_in(
            (intake, seen),
            (handle.clone(), self.shared.mirror.clone()),
            self.notices.clone(),
            loaded,
        ));
        // The sender lives in a task that does not end, so this cannot fail while that task works.
        if is_loaded.wait_for(|loaded| *loaded).await.is_err() {
            return LeadershipLost;
        }
        let epoch = leadership
            .acquire(|| self.shared.mirror.highest_epoch())
            .await;
        let Some(epoch) = self.catch_up(epoch, &queue, leadership).await else {
            return LeadershipLost;
        };
        tracing::info!(epoch, identity = self.me.identity, "leading");
        if queue.send(Seen::Lead { epoch }).await.is_err() {
            return LeadershipLost;
        }
        leadership.hold().await;
        LeadershipLost
    }

    /// Whoever led before may have written until a moment ago: read everything once more, and stay above every epoch.
    async fn catch_up(
        &self,
        epoch: u32,
        queue: &mpsc::Sender<Seen>,
        leadership: &mut Leadership,
    ) -> Option<u32> {
        let mut highest = 0;
        for (number, scope) in self.shared.cluster.scopes().into_iter().enumerate() {
            for group in self.list::<crds::Group>(scope.as_deref()).await? {
                let seen = group.map_or_else(Watched::Unreadable, Watched::Is);
                queue.send(Seen::Group(number, seen)).await.ok()?;
            }
            for node in self.list::<crds::Node>(scope.as_deref()).await? {
                if let Ok(node) = &node {
                    let token = node.status.as_ref().and_then(|status| status.token);
                    let stored = token.map_or(0, |token| token.epoch);
                    highest = highest.max(u32::try_from(stored).unwrap_or(u32::MAX));
                }
                let seen = node.map_or_else(Watched::Unreadable, Watched::Is);
                queue.send(Seen::Machine(number, seen)).await.ok()?;
            }
        }
        let keys = self.relay_keys().await?;
        queue.send(Seen::RelayKeys(keys)).await.ok()?;
        if highest < epoch {
            return Some(epoch);
        }
        let raised = highest.saturating_add(1);
        leadership.raise(raised).await.ok()?;
        Some(raised)
    }

    /// One consistent list, as often as it takes while this process may lead.
    async fn list<K>(
        &self,
        scope: Option<&str>,
    ) -> Option<Vec<Result<Box<K>, Box<kube::core::error_boundary::InvalidObject>>>>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<DeserializeGuard<K>> = self.shared.cluster.scoped(scope);
        while self.shared.mandate.holds() {
            match call(api.list(&ListParams::default())).await {
                Ok(list) => {
                    let unboxed = list
                        .items
                        .into_iter()
                        .map(|DeserializeGuard(object)| object.map(Box::new).map_err(Box::new));
                    return Some(unboxed.collect());
                }
                Err(fault) => {
                    tracing::warn!(%fault, "cannot list before leading");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        None
    }

    /// Keys of agents that are no machine's own, read as often as it takes while this process may lead.
    async fn relay_keys(&self) -> Option<BTreeMap<AgentId, String>> {
        let cluster = &self.shared.cluster;
        let api: Api<ConfigMap> = cluster.namespaced(cluster.own_namespace());
        while self.shared.mandate.holds() {
            match call(api.get_opt(AGENTS)).await {
                Ok(found) => {
                    let entries = found.and_then(|map| map.data).unwrap_or_default();
                    let keys = entries.into_iter().filter_map(|(name, key)| {
                        let agent = name.strip_prefix(AGENT_KEY)?;
                        Some((AgentId::new(agent), key))
                    });
                    return Some(keys.collect());
                }
                Err(fault) => {
                    tracing::warn!(%fault, config_map = AGENTS, "cannot read the keys of agents");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        None
    }
}

/// Passes on what the watches tell, in its order.
async fn take_in(
    (mut intake, mut seen): (Intake, mpsc::Receiver<Seen>),
    (handle, mirror): (Handle, Arc<Mirror>),
    notices: mpsc::Sender<Notice>,
    loaded: watch::Sender<bool>,
) {
    loop {
        let ends = intake.next_end_ms();
        let nap = ends.map_or(LONGEST_NAP, |end| clock::until(end).min(LONGEST_NAP));
        let event = tokio::time::timeout(nap, seen.recv()).await;
        let now_ms = clock::boot_ms();
        intake.at(now_ms);
        let mut told = match event {
            Ok(Some(event)) => intake.take(event),
            Ok(None) => return,
            Err(_) => Vec::new(),
        };
        if ends.is_some_and(|end| end <= now_ms) {
            told.extend(intake.ended());
        }
        let (mut facts, mut requests) = (Vec::new(), Vec::new());
        for told in told {
            match told {
                Told::Fact(fact) => facts.push(fact),
                Told::Notice(notice) => pass_on(&notices, notice).await,
                Told::Ask(request) => requests.push(request),
            }
        }
        handle.facts.tell_together(facts).await;
        for request in requests {
            tokio::spawn(ask(
                handle.clone(),
                mirror.clone(),
                notices.clone(),
                request,
            ));
        }
        loaded.send_if_modified(|loaded| {
            let before = std::mem::replace(loaded, intake.is_loaded());
            before != *loaded
        });
    }
}

/// Puts a person's request to the core, again until it is stored; a refusal is told to the one who asked.
async fn ask(handle: Handle, mirror: Arc<Mirror>, notices: mpsc::Sender<Notice>, request: Request) {
    let Request::Ask { machine, id, .. } = request.clone() else {
        return;
    };
    while is_open(&mirror, &machine, &id) {
        let deadline_ms = clock::boot_ms() + u64::try_from(ASK.as_millis()).unwrap_or(0);
        match handle.ask(request.clone(), deadline_ms).await {
            // The record that shows it as taken takes it off the object.
            Answer::Done => return,
            Answer::Rejected(rejected) if is_passing(rejected.kind) => {
                tokio::time::sleep(AGAIN).await;
            }
            Answer::Rejected(rejected) => {
                let message = rejected.message;
                let rejected = Complaint::AskRejected {
                    machine,
                    id,
                    message,
                };
                pass_on(&notices, Notice::Complaint(rejected)).await;
                return;
            }
        }
    }
}

/// Whether a rejection says nothing about the request itself, but only that it could not be stored (in time).
fn is_passing(kind: RejectedKind) -> bool {
    match kind {
        RejectedKind::Unavailable | RejectedKind::DeadlineExceeded => true,
        RejectedKind::NotFound
        | RejectedKind::InvalidArgument
        | RejectedKind::FailedPrecondition
        | RejectedKind::ResourceExhausted => false,
    }
}

/// Whether the request still stands in the machine's status.
fn is_open(mirror: &Mirror, machine: &MachineId, id: &str) -> bool {
    let status = mirror.machine(machine).and_then(|entry| entry.status);
    status
        .and_then(|status| status.ask)
        .is_some_and(|ask| ask.id == id)
}

async fn pass_on(notices: &mpsc::Sender<Notice>, notice: Notice) {
    // The error means that the outputs have ended, and with them the process.
    let _ = notices.send(notice).await;
}

/// Distinguishes this start of the process from every other.
fn incarnation() -> String {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => format!("{:016x}", u64::from_be_bytes(bytes)),
        // Without randomness the boot clock still tells two starts of one host apart.
        Err(_) => format!("{:016x}", clock::boot_ms()),
    }
}

fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
