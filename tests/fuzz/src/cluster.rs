//! What an API server answers: objects of the cluster, and refusals. Most of what is in them others have written.

use coordinator::{inputs, outputs};
use coordinator_core::{EvictionOutcome, amount};

/// The first byte chooses the kind, as the resource does.
pub(crate) fn objects(bytes: &[u8]) {
    let Some((kind, json)) = bytes.split_first() else {
        return;
    };
    match kind {
        b'n' => {
            if let Some(node) = inputs::kubernetes::fuzz::node(json) {
                let amounts = node.capacity.values().chain(node.allocatable.values());
                for text in amounts {
                    let _ = amount(text);
                }
                let longest = node.annotations.values().map(String::len).max();
                assert!(longest <= Some(8_192), "{longest:?}");
            }
        }
        b'v' => {
            if let Some(pinned) = inputs::kubernetes::fuzz::volume(json) {
                let claims = pinned.values().flatten().count();
                assert!(claims <= 1, "one volume is one claim's: {pinned:?}");
            }
        }
        _ => drop(outputs::kubernetes::fuzz::pod(json)),
    }
}

pub(crate) fn evictions(bytes: &[u8]) {
    let outcomes = outputs::kubernetes::fuzz::eviction(bytes);
    for outcome in outcomes.into_iter().flatten() {
        if let EvictionOutcome::Withheld { retry_after_ms, .. }
        | EvictionOutcome::Unanswered { retry_after_ms, .. } = outcome
        {
            assert_ne!(retry_after_ms, Some(0), "no pause is none");
        }
    }
}

pub(crate) fn flags(bytes: &[u8]) {
    let _ = homelabctl::fuzz::flags(bytes);
}
