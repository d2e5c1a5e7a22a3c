//! Leadership by Lease: takes it, holds it, gives it back.
//!
//! In: the Lease. Out: an epoch once this process leads; [`Lost`] once it may not any more; facts about the cluster's API.
//! Holds: every write names the version it replaces; a write of unknown outcome is settled by reading.
//! Holds: validity counts from before the renewal was sent, and ends at the renew deadline, well before the lease does.
//! Not here: the rule (`election`).

use std::time::Duration;

use coordinator_core::Fact;
use coordinator_crds::time::from_unix_ms;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, api::PostParams, core::ObjectMeta};

use super::{
    cluster::{CallFault, Cluster, call_within},
    election::{Candidate, Standing, Step, step},
};
use crate::{
    args::Election,
    clock,
    engine::Facts,
    mandate::Mandate,
    metrics::{ApiWrite, Metrics},
};

/// Name of the Lease.
pub(crate) const LEASE: &str = "homelab-autoscaler";

/// This process does not lead any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

/// One candidate and its Lease.
pub(super) struct Leadership {
    api: Api<Lease>,
    me: Candidate,
    election: Election,
    mandate: Mandate,
    metrics: Metrics,
    cluster_up: Reachability,
    /// The Lease as last read or written.
    lease: Option<Lease>,
    unchanged_since_ms: u64,
}

/// Tells whether the cluster's API answers, once per change.
struct Reachability {
    facts: Facts,
    up: Option<bool>,
}

impl Reachability {
    async fn is(&mut self, up: bool, detail: &str) {
        if self.up.replace(up) == Some(up) {
            return;
        }
        if up {
            tracing::info!("cluster API answers");
        } else {
            tracing::warn!(detail, "cluster API does not answer");
        }
        self.facts.tell(Fact::Cluster { up }).await;
    }
}

impl Leadership {
    pub(super) fn new(
        cluster: &Cluster,
        me: Candidate,
        election: Election,
        mandate: Mandate,
        (metrics, facts): (Metrics, Facts),
    ) -> Self {
        Self {
            api: cluster.namespaced(cluster.own_namespace()),
            me,
            election,
            mandate,
            metrics,
            cluster_up: Reachability { facts, up: None },
            lease: None,
            unchanged_since_ms: 0,
        }
    }

    /// Waits until this process leads. `floor` tells the highest epoch known so far.
    pub(super) async fn acquire(&mut self, floor: impl Fn() -> u32) -> u32 {
        loop {
            if let Err(fault) = self.read().await {
                self.cluster_up.is(false, &fault.to_string()).await;
                tokio::time::sleep(self.election.retry).await;
                continue;
            }
            self.cluster_up.is(true, "").await;
            let standing = self.lease.as_ref().map(|lease| self.promised(lease));
            let now_ms = clock::boot_ms();
            let next = step(
                standing.as_ref(),
                self.unchanged_since_ms,
                now_ms,
                &self.me,
                floor(),
            );
            let taken = match next {
                Step::Create { transitions } | Step::Take { transitions, .. } => {
                    self.write(transitions).await.map(|()| transitions)
                }
                Step::Hold => {
                    let held = standing.map_or(0, |standing| standing.transitions);
                    self.write(held).await.map(|()| held)
                }
                Step::Wait { until_ms } => {
                    tracing::debug!(lease = LEASE, "another process leads");
                    tokio::time::sleep(clock::until(until_ms).min(self.election.retry)).await;
                    continue;
                }
            };
            match taken {
                Ok(epoch) => return epoch,
                // Somebody was faster; what stands there now decides.
                Err(CallFault::Conflict(_) | CallFault::NotFound) => {}
                Err(
                    fault @ (CallFault::Unsure(_)
                    | CallFault::Refused(_)
                    | CallFault::Unprocessable(_)),
                ) => {
                    tracing::warn!(%fault, lease = LEASE, "cannot write the Lease");
                    tokio::time::sleep(self.election.retry).await;
                }
            }
        }
    }

    /// Raises the count while leading, because a store knows a higher epoch than the Lease did.
    pub(super) async fn raise(&mut self, epoch: u32) -> Result<(), CallFault> {
        self.write(epoch).await
    }

    /// Renews until that fails for too long.
    pub(super) async fn hold(&mut self) -> Lost {
        let mut renewed_ms = clock::boot_ms();
        let mut pause = self.election.lease / 3;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.mandate.revoked() => return self.lost(),
            }
            let deadline_ms = renewed_ms.saturating_add(ms(self.election.renew));
            let sent_ms = clock::boot_ms();
            if sent_ms >= deadline_ms {
                return self.lost();
            }
            match self.renew().await {
                Ok(()) => {
                    self.cluster_up.is(true, "").await;
                    renewed_ms = sent_ms;
                    pause = self.election.lease / 3;
                }
                Err(Renewal::Foreign) => return self.lost(),
                Err(Renewal::Failed(fault)) => {
                    self.cluster_up.is(false, &fault.to_string()).await;
                    let left = clock::until(deadline_ms);
                    pause = self.election.retry.min(left);
                }
            }
        }
    }

    /// Empties the holder so that the next leader need not wait; the count stays.
    pub(super) async fn release(&mut self) {
        self.mandate.end();
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        if standing(&lease).holder != self.me.holder() {
            return;
        }
        if let Some(spec) = lease.spec.as_mut() {
            spec.holder_identity = None;
        }
        self.metrics.api_write(ApiWrite::Lease);
        let parameters = PostParams::default();
        let released = self.api.replace(LEASE, &parameters, &lease);
        if let Err(fault) = call_within(self.election.retry, released).await {
            tracing::warn!(%fault, lease = LEASE, "cannot release the Lease; the next leader waits for its end");
        }
    }

    /// The Lease as it stands; where it says no duration, ours counts.
    fn promised(&self, lease: &Lease) -> Standing {
        let mut standing = standing(lease);
        if standing.lease_ms == 0 {
            standing.lease_ms = ms(self.election.lease);
        }
        standing
    }

    fn lost(&self) -> Lost {
        self.mandate.end();
        Lost
    }

    async fn renew(&mut self) -> Result<(), Renewal> {
        let transitions = self
            .lease
            .as_ref()
            .map_or(0, |lease| standing(lease).transitions);
        match self.write(transitions).await {
            Ok(()) => Ok(()),
            Err(CallFault::NotFound) => {
                // Somebody deleted it. Making it anew is the test whether another was faster.
                self.lease = None;
                self.write(transitions).await.map_err(Renewal::Failed)
            }
            Err(CallFault::Conflict(_)) => {
                self.read().await.map_err(Renewal::Failed)?;
                let holder = self.lease.as_ref().map(|lease| standing(lease).holder);
                if holder != Some(self.me.holder()) {
                    return Err(Renewal::Foreign);
                }
                self.write(transitions).await.map_err(Renewal::Failed)
            }
            Err(
                fault
                @ (CallFault::Unsure(_) | CallFault::Refused(_) | CallFault::Unprocessable(_)),
            ) => Err(Renewal::Failed(fault)),
        }
    }

    async fn read(&mut self) -> Result<(), CallFault> {
        let found = call_within(self.election.retry, self.api.get_opt(LEASE)).await?;
        let version = |lease: &Option<Lease>| {
            lease
                .as_ref()
                .and_then(|lease| lease.metadata.resource_version.clone())
        };
        if version(&found) != version(&self.lease) || found.is_none() {
            self.unchanged_since_ms = clock::boot_ms();
        }
        self.lease = found;
        Ok(())
    }

    /// Writes ourselves into the Lease as last read.
    async fn write(&mut self, transitions: u32) -> Result<(), CallFault> {
        let sent_ms = clock::boot_ms();
        let lease = self.filled(transitions);
        self.metrics.api_write(ApiWrite::Lease);
        let parameters = PostParams::default();
        let written = if self.lease.is_some() {
            call_within(
                self.election.retry,
                self.api.replace(LEASE, &parameters, &lease),
            )
            .await?
        } else {
            call_within(self.election.retry, self.api.create(&parameters, &lease)).await?
        };
        self.lease = Some(written);
        self.unchanged_since_ms = clock::boot_ms();
        self.mandate
            .extend(sent_ms.saturating_add(ms(self.election.renew)));
        Ok(())
    }

    fn filled(&self, transitions: u32) -> Lease {
        let now = MicroTime(from_unix_ms(clock::now().wall_ms).0);
        let mut lease = self.lease.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.to_owned()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let before = lease.spec.take().unwrap_or_default();
        let ours = before.holder_identity.as_deref() == Some(self.me.holder().as_str());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.holder()),
            lease_duration_seconds: i32::try_from(self.election.lease.as_secs().max(1)).ok(),
            lease_transitions: i32::try_from(transitions).ok(),
            acquire_time: if ours {
                before.acquire_time
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            ..before
        });
        lease
    }
}

/// Why a renewal failed.
enum Renewal {
    /// Another process leads.
    Foreign,
    /// It did not get through.
    Failed(CallFault),
}

fn standing(lease: &Lease) -> Standing {
    let spec = lease.spec.clone().unwrap_or_default();
    Standing {
        holder: spec.holder_identity.unwrap_or_default(),
        transitions: positive(spec.lease_transitions),
        lease_ms: u64::from(positive(spec.lease_duration_seconds)) * 1000,
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

fn positive(number: Option<i32>) -> u32 {
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
