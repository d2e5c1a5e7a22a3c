//! Decoders of this module for the fuzzer.

use std::{collections::BTreeMap, sync::Arc};

use coordinator_core::{LocalVolumes, NodeSeen};
use k8s_openapi::api::core::v1::{Node, PersistentVolume};

use super::{
    locks::Locks,
    nodes::node_seen,
    volumes::{Volumes, volume_seen},
    watches::Watched,
};

/// A lock in the annotations of a Node.
#[derive(Debug)]
pub struct Lock {
    /// What is said of the machine while it stands.
    pub said: String,
    /// When it ends by itself, milliseconds on the boot clock.
    pub ends_ms: u64,
}

/// The lock of a Node that is first seen so late, in milliseconds on the boot clock; `None` where it has none that counts.
///
/// # Panics
/// Annotations that have not changed count as a renewal, or a lock does not end when it says.
#[must_use]
pub fn lock(annotations: &BTreeMap<String, String>, now_ms: u64) -> Option<Lock> {
    let node = ("lab".to_owned(), "nuc1".to_owned());
    let mut locks = Locks::default();
    locks.at(now_ms);
    locks.see(&node, annotations);
    assert!(!locks.see(&node, annotations), "they are the same");
    let held = locks.fault_of(&node);
    let end = locks.next_end_ms();
    assert_eq!(
        held.is_some(),
        end.is_some(),
        "a lock that counts has an end"
    );
    let lock = Lock {
        said: held?.to_string(),
        ends_ms: end?,
    };
    locks.at(lock.ends_ms);
    assert!(locks.fault_of(&node).is_none(), "it has ended");
    Some(lock)
}

/// A core Node as the API server sends it.
///
/// # Panics
/// A Node that is written as it was read is cut down otherwise.
#[must_use]
pub fn node(json: &[u8]) -> Option<NodeSeen> {
    let node: Node = serde_json::from_slice(json).ok()?;
    let again = serde_json::to_vec(&node).ok()?;
    let again = serde_json::from_slice(&again).ok().map(node_seen);
    let seen = node_seen(node);
    assert_eq!(again.as_ref(), Some(&seen), "it is the same Node");
    Some(seen)
}

/// What is known once a list of this volume alone is whole.
///
/// # Panics
/// It is known before that, told twice, or outlives the volume.
#[must_use]
pub fn volume(json: &[u8]) -> Option<Arc<LocalVolumes>> {
    let volume: PersistentVolume = serde_json::from_slice(json).ok()?;
    let seen = volume_seen(volume);
    let is = || Watched::Is(Box::new(seen.clone()));
    let mut volumes = Volumes::default();
    let early = [volumes.take(Watched::Begin), volumes.take(is())];
    assert_eq!(early, [None, None], "the list is not whole yet");
    let known = volumes.take(Watched::Complete);
    assert_eq!(volumes.take(is()), None, "that is no news");
    volumes.take(Watched::Gone {
        key: (String::new(), seen.name.clone()),
        uid: String::new(),
    });
    assert_eq!(volumes.known().as_deref(), Some(&LocalVolumes::new()));
    known
}
