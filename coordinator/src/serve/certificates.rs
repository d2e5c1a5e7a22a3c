//! Certificates of the gRPC service that this process issues itself: made or read beside everything else, renewed while it runs.
//! In: names of the server, the Secrets. Out: what the listener serves with; the cluster-autoscaler's cloud config.
//! Holds: what cannot be used withholds handshakes and readiness alone; once there are good certificates they stay in force, and
//! the client's Secret holds nothing up.

use std::error::Error;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::Instant;

use super::{RunFault, Wiring};
use crate::certificates::{cloud_config, server_names};
use crate::inputs::autoscaler::Issued;
use crate::inputs::kubernetes::Cluster;
use crate::mandate::Mandate;
use crate::metrics::Metrics;
use crate::outputs::kubernetes::{CLIENT, Making, Origin, SecretFault, Shelf};
use crate::supervise::BoxError;

/// Between looks at the Secrets, and between words about certificates that end soon. One is due months before its end.
const LOOK: Duration = Duration::from_secs(12 * 3_600);
/// After a look that failed while certificates are in force.
const AGAIN: Duration = Duration::from_secs(60);
/// Between attempts when nothing can be served, and a person must mend something first.
const MENDING: Duration = Duration::from_secs(30);
/// The same where the API server is what is waited for.
const ANSWER: Duration = Duration::from_secs(1);
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
    /// Begins to look for the certificates, and follows them. The cloud config that goes with them.
    ///
    /// # Errors
    /// The namespace makes no name of a server.
    pub(super) fn start(self, cluster: &Cluster, wiring: &mut Wiring) -> Result<String, RunFault> {
        let namespace = cluster.own_namespace();
        let text = cloud_config(namespace, self.port);
        let keeper = Keeper {
            names: server_names(namespace, &self.names).map_err(RunFault::configuration)?,
            cluster: cluster.clone(),
            metrics: wiring.metrics.clone(),
            mandate: wiring.engine.mandate.clone(),
            tls: self.tls,
            cloud_config: text.clone(),
            said: String::new(),
            reminded: None,
        };
        wiring.tasks.spawn_endless("certificates", keeper.follow());
        Ok(text)
    }
}

struct Keeper {
    cluster: Cluster,
    names: Vec<ServerName<'static>>,
    metrics: Metrics,
    mandate: Mandate,
    tls: Issued,
    cloud_config: String,
    /// What was told last, so that it is told once.
    said: String,
    reminded: Option<Instant>,
}

impl Keeper {
    /// Looks again and again, and as soon as this process leads.
    async fn follow(mut self) {
        loop {
            let led = self.mandate.holds();
            let pause = match self.look().await {
                Ok(()) => {
                    self.said.clear();
                    LOOK
                }
                Err(fault) => self.told(&*fault),
            };
            self.remind();
            self.rest(led, pause).await;
        }
    }

    /// Serves with what there is, whatever is wrong with the client's Secret; whoever finds this process ready finds that one made.
    async fn look(&self) -> Result<(), BoxError> {
        let making = if self.tls.is_served() {
            Making::Leader
        } else {
            Making::Anybody
        };
        let shelf = Shelf::new(&self.cluster, &self.metrics, &self.mandate, making);
        let authority = shelf.authority().await?;
        let server = shelf.server(&authority, &self.names).await?;
        let client = shelf.client(&authority).await;
        match &client {
            Ok(Origin::Made) => tracing::info!(
                secret = CLIENT,
                cloud_config = %format_args!("\n{}", self.cloud_config),
                "certificate for the cluster-autoscaler issued; this is its cloud config"
            ),
            Ok(Origin::Found) | Err(_) => {}
        }
        self.tls.serve_with(&server, authority.cert())?;
        client?;
        Ok(())
    }

    /// Says what is wrong, once; how long to wait.
    fn told(&mut self, fault: &(dyn Error + Send + Sync + 'static)) -> Duration {
        let served = self.tls.is_served();
        let text = crate::chain(fault);
        if text != self.said {
            let fault = &text;
            if served {
                tracing::warn!(
                    fault,
                    "certificates of the gRPC service not all in order; the last good ones are in force"
                );
            } else {
                tracing::warn!(fault, "waiting for the certificates of the gRPC service");
            }
            self.said = text;
        }
        let secret = fault.downcast_ref::<SecretFault>();
        match (served, secret.is_some_and(SecretFault::is_passing)) {
            (true, _) => AGAIN,
            (false, true) => ANSWER,
            (false, false) => MENDING,
        }
    }

    fn remind(&mut self) {
        if self.reminded.is_none_or(|last| last.elapsed() >= LOOK) {
            self.tls.remind();
            self.reminded = self.tls.is_served().then(Instant::now);
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
}
