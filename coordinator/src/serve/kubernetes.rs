//! The wiring inside a cluster: watches, the leader's Lease, status of our objects.
//! Holds: an API server that is away at start is waited for; what a person must correct ends the start at once.

use std::sync::Arc;
use std::time::Duration;

use coordinator_core::{Policy, ProviderScheme};
use kube::api::ListParams;

use super::{RunFault, Started, Wiring, host_name, stopped};
use crate::args::KubernetesSettings;
use crate::inputs::kubernetes::{
    CallFault, Cluster, Inputs, Mirror, Shared, call, provider_scheme,
};
use crate::outputs::commands::CoordinatorKey;
use crate::outputs::kubernetes::{self, signing_seed};
use crate::supervise::Ends;

/// Between attempts while the API server does not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Nodes that are looked at for the scheme of provider ids; they all have the same.
const SAMPLE: u32 = 100;

/// A way into the cluster that was found and not yet used.
pub(super) struct Prepared {
    settings: KubernetesSettings,
    cluster: Cluster,
}

/// Finds the cluster; nothing is sent yet.
pub(super) async fn prepare(settings: KubernetesSettings) -> Result<Prepared, RunFault> {
    let cluster = Cluster::connect(&settings)
        .await
        .map_err(RunFault::configuration)?;
    Ok(Prepared { settings, cluster })
}

impl Prepared {
    /// Reads the coordinator's key, and starts the tasks of this mode.
    pub(super) async fn start(
        self,
        policy: Policy,
        wiring: &mut Wiring,
    ) -> Result<Started, RunFault> {
        let Self { settings, cluster } = self;
        let key = key(&cluster, &settings.key_secret, wiring).await?;
        let cloud_config = match wiring.issuing.take() {
            Some(issuing) => Some(issuing.start(&cluster, wiring)?),
            None => None,
        };
        let policy = Policy {
            provider_scheme: scheme(&cluster).await,
            ..policy
        };
        let shared = Shared {
            cluster,
            mirror: Arc::new(Mirror::default()),
            mandate: wiring.engine.mandate.clone(),
            metrics: wiring.metrics.clone(),
        };
        let mandate = shared.mandate.clone();
        let (inputs, notices) = Inputs::new(shared.clone(), &settings);
        let public_key = key.public().to_string();
        let (outputs, worker) = kubernetes::outputs(shared, &wiring.engine, notices, public_key);
        let running = inputs.run(wiring.engine.clone(), stopped(wiring.stop.clone()));
        wiring.tasks.spawn("cluster", Ends::AfterStop, running);
        wiring.tasks.spawn_endless("writer", worker.run());
        Ok(Started {
            seed: seed()?,
            policy,
            outputs: Box::new(outputs),
            key: Arc::new(key),
            mandate,
            leader: settings.identity.unwrap_or_else(host_name),
            cloud_config,
            lab: None,
        })
    }
}

/// The coordinator's key from its Secret, as soon as the API server answers.
async fn key(cluster: &Cluster, secret: &str, wiring: &Wiring) -> Result<CoordinatorKey, RunFault> {
    let mut said = String::new();
    loop {
        let fault = match signing_seed(cluster, &wiring.metrics, secret).await {
            Ok(seed) => return CoordinatorKey::from_bytes(&seed).map_err(RunFault::configuration),
            Err(fault) if fault.is_lasting() => return Err(RunFault::configuration(fault)),
            Err(fault) => fault.to_string(),
        };
        if fault != said {
            tracing::warn!(fault, "waiting for the coordinator's key");
            said = fault;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// How this cluster makes provider ids, as soon as the API server answers.
async fn scheme(cluster: &Cluster) -> ProviderScheme {
    let mut said = String::new();
    loop {
        let fault = match scheme_now(cluster).await {
            Ok(scheme) => return scheme,
            Err(fault) => fault.to_string(),
        };
        if fault != said {
            tracing::warn!(fault, "waiting for the cluster's Nodes");
            said = fault;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn scheme_now(cluster: &Cluster) -> Result<ProviderScheme, CallFault> {
    let nodes = call(cluster.nodes().list(&ListParams::default().limit(SAMPLE))).await?;
    let ids = nodes.iter().map(|node| {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let spec = node.spec.as_ref();
        let provider_id = spec.and_then(|spec| spec.provider_id.as_deref());
        (name, provider_id.unwrap_or_default())
    });
    Ok(provider_scheme(ids).unwrap_or(ProviderScheme::Homelab))
}

/// Ids are minted from seed and epoch; the epoch already differs from start to start.
fn seed() -> Result<u64, RunFault> {
    getrandom::u64().map_err(RunFault::start)
}
