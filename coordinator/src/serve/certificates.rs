//! Certificates of the gRPC service that this process issues itself: there before the engine starts, renewed while it runs.
//! In: names of the server, the Secrets. Out: what the listener serves with; the cluster-autoscaler's cloud config.
//! Holds: a Secret that cannot be used at start is waited for, not ready; later the last good certificates stay in force.

use std::time::Duration;

use rustls::pki_types::ServerName;

use super::{RunFault, Wiring};
use crate::certificates::{cloud_config, server_names};
use crate::inputs::autoscaler::Issued;
use crate::inputs::kubernetes::Cluster;
use crate::mandate::Mandate;
use crate::metrics::Metrics;
use crate::outputs::kubernetes::{CLIENT, Duty, Origin, certificates};
use crate::supervise::BoxError;

/// Between looks at the Secrets. A certificate is due months before its end.
const LOOK: Duration = Duration::from_secs(12 * 3_600);
/// After a look that failed while certificates are in force.
const AGAIN: Duration = Duration::from_secs(60);
/// Between attempts at start, when nothing can be served.
const AT_START: Duration = Duration::from_secs(1);
/// How soon a process that has begun to lead looks after what is due.
const NOTICE: Duration = Duration::from_secs(5);

/// What is to be issued, and for whom.
pub(super) struct Issuing {
    /// The listener's end.
    pub(super) tls: Issued,
    /// Names of the server beside those of its Service.
    pub(super) names: Vec<ServerName<'static>>,
    /// Where the service listens.
    pub(super) port: u16,
}

impl Issuing {
    /// Waits until there are certificates, and follows them from then on. The cloud config that goes with them.
    pub(super) async fn start(
        self,
        cluster: &Cluster,
        wiring: &mut Wiring,
    ) -> Result<String, RunFault> {
        let namespace = cluster.own_namespace();
        let text = cloud_config(namespace, self.port);
        let keeper = Keeper {
            names: server_names(namespace, &self.names).map_err(RunFault::configuration)?,
            cluster: cluster.clone(),
            metrics: wiring.metrics.clone(),
            mandate: wiring.engine.mandate.clone(),
            tls: self.tls,
        };
        match keeper.first().await {
            Origin::Made => tracing::info!(
                secret = CLIENT,
                cloud_config = %format_args!("\n{text}"),
                "certificate for the cluster-autoscaler issued; this is its cloud config"
            ),
            Origin::Found => {}
        }
        wiring
            .tasks
            .spawn_endless("certificates", async move { keeper.follow().await });
        Ok(text)
    }
}

struct Keeper {
    cluster: Cluster,
    names: Vec<ServerName<'static>>,
    metrics: Metrics,
    mandate: Mandate,
    tls: Issued,
}

impl Keeper {
    /// Takes the certificates as soon as they can be had.
    async fn first(&self) -> Origin {
        let mut said = String::new();
        loop {
            let fault = match self.look(Duty::Make).await {
                Ok(origin) => return origin,
                Err(fault) => crate::chain(&*fault),
            };
            if fault != said {
                tracing::warn!(fault, "waiting for the certificates of the gRPC service");
                said = fault;
            }
            tokio::time::sleep(AT_START).await;
        }
    }

    /// Looks again and again, and as soon as this process leads.
    async fn follow(self) {
        let (mut led, mut rest) = (false, LOOK);
        let mut said = String::new();
        loop {
            self.rest(led, rest).await;
            led = self.mandate.holds();
            let duty = if led { Duty::Renew } else { Duty::Make };
            match self.look(duty).await {
                Ok(_) => {
                    rest = LOOK;
                    said.clear();
                }
                Err(fault) => {
                    rest = AGAIN;
                    let fault = crate::chain(&*fault);
                    if fault != said {
                        tracing::warn!(
                            fault,
                            "certificates of the gRPC service not renewed; the last good ones stay in force"
                        );
                        said = fault;
                    }
                }
            }
        }
    }

    /// So long, but no longer than until this process leads if it did not before.
    async fn rest(&self, led: bool, longest: Duration) {
        let leading = async {
            while led || !self.mandate.holds() {
                tokio::time::sleep(NOTICE).await;
            }
        };
        // Both ends are the same to the caller, who looks at the mandate itself.
        let _ = tokio::time::timeout(longest, leading).await;
    }

    async fn look(&self, duty: Duty) -> Result<Origin, BoxError> {
        let stored = certificates(&self.cluster, &self.metrics, &self.names, duty).await?;
        self.tls.serve_with(&stored.server, &stored.authority)?;
        Ok(stored.client)
    }
}
