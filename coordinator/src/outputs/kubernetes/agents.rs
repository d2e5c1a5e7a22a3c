//! What agents are known by, and what they must know: keys and the coordinator's own seed.
//!
//! Holds: the seed is made once; whoever is later reads it. A pinned key is never replaced.
//! Not here: passwords of the broker; the people who install it set them.

use std::{collections::BTreeMap, fmt::Debug};

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
use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::{patch::Steps, writer::Writer};
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

/// Publishes the coordinator's public key (`ed25519:…`) for `homelabctl agent config`, in place of what stands there.
pub(super) async fn announce(writer: &Writer, key: &str) -> Result<(), CallFault> {
    let Some(found) = read(writer).await? else {
        return make(writer, COORDINATOR_KEY, key).await;
    };
    if entry(&found, COORDINATOR_KEY) == Some(key) {
        return Ok(());
    }
    let patch = Patch::Merge(json!({"data": {COORDINATOR_KEY: key}}));
    write(writer, &patch).await
}

/// What holds for an agent that has shown a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pinned {
    /// That key: it is stored, or goes with the next write of the agent's machine.
    Shown,
    /// Another one, which was pinned before.
    Earlier(String),
}

/// Pins the key of an agent: with the next write of its machine, or for a mere relay in the ConfigMap. What is pinned there is
/// never replaced, so whoever comes later, another coordinator too, learns what holds.
pub(super) async fn pin(writer: &Writer, agent: &AgentId, key: &str) -> Result<Pinned, CallFault> {
    if let Some(machine) = writer.shared.mirror.machine_of(agent) {
        writer.pins.add(machine, key.to_owned());
        return Ok(Pinned::Shown);
    }
    let name = format!("{AGENT_KEY}{agent}");
    let Some(found) = read(writer).await? else {
        make(writer, &name, key).await?;
        return Ok(Pinned::Shown);
    };
    match entry(&found, &name) {
        Some(stored) if stored == key => Ok(Pinned::Shown),
        Some(stored) => Ok(Pinned::Earlier(stored.to_owned())),
        None => {
            write::<Value>(writer, &adding(&found, &name, key).finish()).await?;
            Ok(Pinned::Shown)
        }
    }
}

/// Adds an entry to the ConfigMap as it was read: whatever anybody has written meanwhile refuses it.
fn adding(found: &ConfigMap, name: &str, value: &str) -> Steps {
    let metadata = &found.metadata;
    let steps = Steps::of(metadata.uid.as_deref().unwrap_or_default()).test(
        &["metadata", "resourceVersion"],
        metadata.resource_version.as_ref(),
    );
    match found.data {
        Some(_) => steps.add(&["data", name], value),
        None => steps.add(&["data"], json!({name: value})),
    }
}

fn entry<'a>(map: &'a ConfigMap, name: &str) -> Option<&'a str> {
    map.data.as_ref()?.get(name).map(String::as_str)
}

fn maps(writer: &Writer) -> Api<ConfigMap> {
    let cluster = &writer.shared.cluster;
    cluster.namespaced(cluster.own_namespace())
}

async fn read(writer: &Writer) -> Result<Option<ConfigMap>, CallFault> {
    call(maps(writer).get_opt(AGENTS)).await
}

/// Makes the ConfigMap with its first entry. A conflict where somebody was faster.
async fn make(writer: &Writer, name: &str, value: &str) -> Result<(), CallFault> {
    let made = ConfigMap {
        metadata: ObjectMeta {
            name: Some(AGENTS.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(name.to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    };
    writer.may_write(ApiWrite::Secret)?;
    let parameters = PostParams::default();
    call(maps(writer).create(&parameters, &made))
        .await
        .map(drop)
}

async fn write<P: Serialize + Debug>(writer: &Writer, patch: &Patch<P>) -> Result<(), CallFault> {
    writer.may_write(ApiWrite::Secret)?;
    let parameters = PatchParams::default();
    call(maps(writer).patch(AGENTS, &parameters, patch))
        .await
        .map(drop)
}

#[cfg(test)]
mod tests;
