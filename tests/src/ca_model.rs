//! A model of the cluster-autoscaler: the client that the provider meets, with the real one's order of calls and its caches.
//! In: an endpoint, a [`Cluster`], [`Options`]. Out: RPCs, taints and evictions; a log of calls and [`Event`]s for assertions.
//! Holds: what is remembered between loops is lost with the value, so a new one is a restarted autoscaler.
//! Not here: prices, GPUs, node group balancing; deletions end before the loop does instead of running beside the next ones.

mod caches;
pub mod calls;
pub mod cluster;
pub mod options;
mod provider;
pub mod resources;
mod scale_down;
mod scale_up;
mod scan;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
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

use caches::Caches;
use provider::Provider;
use state::State;

/// Something worth an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A loop ended early; timers of unneeded Nodes start anew.
    LoopAborted {
        /// The step and its error.
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
    provider: Provider,
    cluster: C,
    options: Options,
    events: EventLog,
    caches: Caches,
    state: State,
    is_first_loop: bool,
    /// Since when each Node is unneeded.
    unneeded_since: BTreeMap<String, u64>,
    last_scale_up_ms: Option<u64>,
    /// When the removal of each Node began.
    deletions: BTreeMap<String, u64>,
    /// Instances whose creation error was told already.
    told_errors: BTreeSet<String>,
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
            provider: Provider::new(channel, options.grpc_timeout),
            cluster,
            events: EventLog::default(),
            caches: Caches::default(),
            state: State::new(options.startup_time),
            options,
            is_first_loop: true,
            unneeded_since: BTreeMap::new(),
            last_scale_up_ms: None,
            deletions: BTreeMap::new(),
            told_errors: BTreeSet::new(),
        }
    }

    /// Every RPC of this model.
    #[must_use]
    pub fn calls(&self) -> CallLog {
        self.provider.log.clone()
    }

    /// Every event of this model.
    #[must_use]
    pub fn events(&self) -> EventLog {
        self.events.clone()
    }

    /// The cluster it looks at.
    #[must_use]
    pub const fn cluster(&self) -> &C {
        &self.cluster
    }

    /// What the real program does last when it is stopped in order.
    ///
    /// # Errors
    /// The status of the call.
    pub async fn finish(self) -> Result<()> {
        self.provider.cleanup().await.context("clean up")
    }

    /// Runs loop after loop until the value returned is stopped or dropped.
    #[must_use]
    pub fn spawn(mut self) -> RunningModel {
        let (calls, events) = (self.calls(), self.events());
        let interval = self.options.scan_interval;
        let task = tokio::spawn(async move {
            loop {
                let pause = match self.scan().await {
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
    /// Stops it between two of its steps; everything it remembers is lost.
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
