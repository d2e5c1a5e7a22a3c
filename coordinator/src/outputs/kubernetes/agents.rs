//! What agents are known by, and what they must know: keys and the coordinator's own seed.
//!
//! Holds: the seed is made once; whoever is later reads it.
//! Not here: passwords of the broker; the people who install it set them.

use std::collections::BTreeMap;

use coordinator_core::AgentId;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use serde_json::json;
use thiserror::Error;

use super::writer::Writer;
use crate::{
    inputs::kubernetes::{AGENT_KEY, AGENTS, CallFault, Cluster, call},
    metrics::{ApiWrite, Metrics},
};

/// Field of the Secret that holds the seed.
const SEED: &str = "seed";
/// Length of an Ed25519 seed.
const SEED_BYTES: usize = 32;
/// Field of the ConfigMap that tells agents whose commands to obey.
const COORDINATOR_KEY: &str = "coordinatorKey";

/// Why there is no signing key.
#[derive(Debug, Error)]
pub enum KeyFault {
    /// The API server did not give or take it.
    #[error("{operation} Secret {secret}: {detail}")]
    Api {
        /// What was tried.
        operation: &'static str,
        /// Which Secret.
        secret: String,
        /// What came of it.
        detail: String,
        /// Whether another attempt can help.
        lasting: bool,
    },
    /// Somebody put something else into it.
    #[error(
        "Secret {secret}: field {SEED} must hold exactly {SEED_BYTES} bytes; restore it, or delete the Secret and enrol every agent again"
    )]
    Malformed {
        /// Which Secret.
        secret: String,
    },
    /// The system gives no randomness.
    #[error("make a key: the system gives no random bytes")]
    Random,
}

impl KeyFault {
    /// Whether another attempt can help.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Api { lasting, .. } => *lasting,
            Self::Malformed { .. } | Self::Random => true,
        }
    }
}

/// The coordinator's Ed25519 seed: read from its Secret, or made and stored there.
///
/// # Errors
/// The API server does not answer or has no right for us, or the Secret holds something else.
pub async fn signing_seed(
    cluster: &Cluster,
    metrics: &Metrics,
    secret: &str,
) -> Result<[u8; SEED_BYTES], KeyFault> {
    let api: Api<Secret> = cluster.namespaced(cluster.own_namespace());
    let fault = |operation| {
        move |fault: CallFault| KeyFault::Api {
            operation,
            secret: secret.to_owned(),
            lasting: matches!(fault, CallFault::Refused(_) | CallFault::Unprocessable(_)),
            detail: fault.to_string(),
        }
    };
    if let Some(found) = call(api.get_opt(secret)).await.map_err(fault("read"))? {
        return seed_of(&found, secret);
    }
    let mut seed = [0; SEED_BYTES];
    getrandom::fill(&mut seed).map_err(|_| KeyFault::Random)?;
    let made = Secret {
        metadata: ObjectMeta {
            name: Some(secret.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            SEED.to_owned(),
            ByteString(seed.to_vec()),
        )])),
        immutable: Some(true),
        ..Secret::default()
    };
    metrics.api_write(ApiWrite::Secret);
    match call(api.create(&PostParams::default(), &made)).await {
        // Somebody was faster, or the answer got lost: what is there counts.
        Ok(_) | Err(CallFault::Conflict(_) | CallFault::Unsure(_)) => {
            let stored = call(api.get(secret)).await.map_err(fault("read"))?;
            seed_of(&stored, secret)
        }
        Err(refused) => Err(fault("create")(refused)),
    }
}

fn seed_of(secret: &Secret, name: &str) -> Result<[u8; SEED_BYTES], KeyFault> {
    let stored = secret.data.as_ref().and_then(|data| data.get(SEED));
    stored
        .and_then(|seed| seed.0.as_slice().try_into().ok())
        .ok_or_else(|| KeyFault::Malformed {
            secret: name.to_owned(),
        })
}

/// Publishes the coordinator's public key (`ed25519:…`) for `homelabctl agent config`.
pub(super) async fn announce(writer: &Writer, key: &str) -> Result<(), CallFault> {
    entry(writer, COORDINATOR_KEY, key).await
}

/// Pins the key of an agent: with the next write of its machine, or for a mere relay in the ConfigMap.
pub(super) async fn pin(writer: &Writer, agent: &AgentId, key: &str) -> Result<(), CallFault> {
    match writer.shared.mirror.machine_of(agent) {
        Some(machine) => {
            writer.pins.add(machine, key.to_owned());
            Ok(())
        }
        None => entry(writer, &format!("{AGENT_KEY}{agent}"), key).await,
    }
}

/// One entry of the ConfigMap, which is made if absent.
async fn entry(writer: &Writer, name: &str, value: &str) -> Result<(), CallFault> {
    let cluster = &writer.shared.cluster;
    let api: Api<ConfigMap> = cluster.namespaced(cluster.own_namespace());
    let found = call(api.get_opt(AGENTS)).await?;
    let data = BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let Some(found) = found else {
        let made = ConfigMap {
            metadata: ObjectMeta {
                name: Some(AGENTS.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        };
        writer.may_write(ApiWrite::Secret)?;
        return call(api.create(&PostParams::default(), &made))
            .await
            .map(drop);
    };
    let stored = found.data.as_ref().and_then(|data| data.get(name));
    if stored.is_some_and(|stored| stored == value) {
        return Ok(());
    }
    writer.may_write(ApiWrite::Secret)?;
    let patch = Patch::Merge(json!({"data": data}));
    call(api.patch(AGENTS, &PatchParams::default(), &patch))
        .await
        .map(drop)
}
