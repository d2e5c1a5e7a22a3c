//! A model of the cluster-autoscaler: the client that the provider meets, with the real one's order of calls and its caches.
//! In: an endpoint, a [`Cluster`], [`Options`]. Out: RPCs, taints and evictions; a log of calls and [`Event`]s for assertions.
//! Holds: what is remembered between loops is lost with the value, so a new one is a restarted autoscaler.
//! Not here: prices, GPUs, node group balancing, DaemonSets on Nodes to come; a Pod that finds no room does not start a loop early.

mod caches;
pub mod calls;
pub mod cluster;
mod facts;
mod instances;
pub mod options;
mod provider;
mod removals;
mod repairs;
pub mod resources;
mod rooms;
mod scale_down;
mod scale_up;
mod scan;
mod state;
mod templates;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::task::AbortHandle;
use tonic::transport::{Channel, Endpoint};

pub use calls::{Call, CallLog, Outcome, Rpc};
pub use cluster::{Cluster, NodeSeen, PodSeen, Snapshot};
pub use options::Options;
pub use resources::Resources;

use crate::dice::Dice;
use caches::Caches;
use instances::Instances;
use provider::Provider;
use removals::Removals;
use scale_down::Unneeded;
use state::State;
use templates::Template;

/// Something worth an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A loop ended early.
    LoopAborted {
        /// The step and its error.
        why: String,
    },
    /// The instances of a group could not be listed when it was time to: they count as none until the next time.
    InstancesForgotten {
        /// The group.
        group: String,
        /// The status.
        why: String,
    },
    /// Machines are needed, and this loop asks for none: it could not look everything up.
    ScaleUpDropped {
        /// The status.
        why: String,
    },
    /// Too many Nodes are unready: nothing is done.
    ClusterUnhealthy,
    /// A group was enlarged.
    ScaledUp {
        /// The group.
        group: String,
        /// By how many.
        delta: i32,
    },
    /// `IncreaseSize` failed; the group is left alone for a while.
    FailedToScaleUpGroup {
        /// The group.
        group: String,
        /// The status.
        why: String,
    },
    /// A machine that was being created reported an error.
    ScaleUpFailed {
        /// The group.
        group: String,
        /// The instance.
        instance: String,
        /// The error code.
        code: String,
    },
    /// A request was not met in time.
    ScaleUpTimedOut {
        /// The group.
        group: String,
        /// The whole increase.
        increase: i32,
    },
    /// A Node was removed.
    ScaledDown {
        /// Its name.
        node: String,
    },
    /// A Node could not be removed; its taint and cordon are gone again.
    ScaleDownFailed {
        /// Its name.
        node: String,
        /// The status.
        why: String,
    },
    /// Here the real program would have crashed.
    WouldPanic {
        /// The reason.
        why: String,
    },
}

impl Event {
    /// Whether the real program would have written a line with "Failed to", or worse.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        match self {
            Self::LoopAborted { .. }
            | Self::InstancesForgotten { .. }
            | Self::ScaleUpDropped { .. }
            | Self::FailedToScaleUpGroup { .. }
            | Self::ScaleUpFailed { .. }
            | Self::ScaleUpTimedOut { .. }
            | Self::ScaleDownFailed { .. }
            | Self::WouldPanic { .. } => true,
            Self::ClusterUnhealthy | Self::ScaledUp { .. } | Self::ScaledDown { .. } => false,
        }
    }
}

/// How a loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopEnd {
    /// Nothing changed; the next loop comes after the scan interval.
    Quiet,
    /// A group grew or a Node was removed; the next loop comes at once.
    Acted,
    /// An error ended it early.
    Aborted,
}

/// The events of a model; clones share one list.
#[derive(Debug, Clone, Default)]
pub struct EventLog {
    events: Arc<Mutex<Vec<Event>>>,
}

impl EventLog {
    /// Every event so far, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The events that a clean run does not have.
    #[must_use]
    pub fn failures(&self) -> Vec<Event> {
        let mut events = self.all();
        events.retain(Event::is_failure);
        events
    }

    fn push(&self, event: Event) {
        tracing::info!(?event, "the model");
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }
}

/// The model; drive it loop by loop with [`CaModel::scan`], or [`CaModel::spawn`] it.
#[derive(Debug)]
pub struct CaModel<C> {
    caches: Caches,
    cluster: Arc<C>,
    options: Options,
    events: EventLog,
    instances: Instances,
    state: State,
    dice: Dice,
    is_first_loop: bool,
    /// Of this loop, or of the one before until it is made anew.
    templates: BTreeMap<String, Template>,
    /// Made from Nodes that were good once.
    remembered: BTreeMap<String, Template>,
    unneeded: BTreeMap<String, Unneeded>,
    /// Nodes whose Pods fitted nowhere are not looked at again before this.
    unremovable_until: BTreeMap<String, u64>,
    removals: Removals,
    last_scale_up_ms: Option<u64>,
    last_removal_ms: Option<u64>,
    /// When a Node could not be tainted.
    last_failure_ms: Option<u64>,
}

impl<C: Cluster> CaModel<C> {
    /// A model that has just started; connects at its first call.
    ///
    /// # Errors
    /// When `address` is no URL such as `http://127.0.0.1:50051`.
    pub fn new(address: &str, cluster: C, options: Options) -> Result<Self> {
        let endpoint = Endpoint::from_shared(address.to_owned());
        let endpoint = endpoint.with_context(|| format!("{address} is no address"))?;
        Ok(Self::over(endpoint.connect_lazy(), cluster, options))
    }

    /// A model over a connection that exists already, with TLS for example.
    #[must_use]
    pub fn over(channel: Channel, cluster: C, options: Options) -> Self {
        Self {
            caches: Caches::new(Provider::new(channel, options.grpc_timeout)),
            cluster: Arc::new(cluster),
            events: EventLog::default(),
            instances: Instances::default(),
            state: State::default(),
            dice: Dice::new(options.seed),
            options,
            is_first_loop: true,
            templates: BTreeMap::new(),
            remembered: BTreeMap::new(),
            unneeded: BTreeMap::new(),
            unremovable_until: BTreeMap::new(),
            removals: Removals::default(),
            last_scale_up_ms: None,
            last_removal_ms: None,
            last_failure_ms: None,
        }
    }

    /// Every RPC of this model.
    #[must_use]
    pub fn calls(&self) -> CallLog {
        self.caches.provider.log.clone()
    }

    /// Every event of this model.
    #[must_use]
    pub fn events(&self) -> EventLog {
        self.events.clone()
    }

    /// The cluster it looks at.
    #[must_use]
    pub fn cluster(&self) -> &C {
        &self.cluster
    }

    /// What the real program does last when it is stopped in order.
    ///
    /// # Errors
    /// The status of the call.
    pub async fn finish(self) -> Result<()> {
        self.caches.provider.cleanup().await.context("clean up")
    }

    /// Runs loop after loop, and removals beside them, until the value returned is stopped or dropped.
    #[must_use]
    pub fn spawn(mut self) -> RunningModel {
        let (calls, events) = (self.calls(), self.events());
        let interval = self.options.scan_interval;
        let task = tokio::spawn(async move {
            loop {
                let pause = match self.step().await {
                    LoopEnd::Acted => Duration::ZERO,
                    LoopEnd::Quiet | LoopEnd::Aborted => interval,
                };
                tokio::time::sleep(pause).await;
            }
        });
        RunningModel {
            calls,
            events,
            task: task.abort_handle(),
        }
    }
}

/// A model that runs; dropping it is `kill -9`.
#[derive(Debug)]
pub struct RunningModel {
    /// Every RPC so far.
    pub calls: CallLog,
    /// Every event so far.
    pub events: EventLog,
    task: AbortHandle,
}

impl RunningModel {
    /// Stops it wherever it waits, in the middle of a call too; everything it remembers is lost.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for RunningModel {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
