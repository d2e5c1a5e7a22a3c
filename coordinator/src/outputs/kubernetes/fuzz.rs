//! Decoders of this module for the fuzzer.

use coordinator_core::{EvictionOutcome, PodSeen};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{Status, response::StatusSummary};

use super::{
    evictions::{Http, outcome},
    pods::seen,
};

/// A pod as the API server sends it; `None` where it stands in nobody's way.
///
/// # Panics
/// A pod that is written as it was read stands otherwise.
#[must_use]
pub fn pod(json: &[u8]) -> Option<PodSeen> {
    let pod: Pod = serde_json::from_slice(json).ok()?;
    let again = serde_json::to_vec(&pod).ok()?;
    let again: Option<Pod> = serde_json::from_slice(&again).ok();
    let seen_at_first = seen(&pod);
    assert_eq!(again.and_then(|pod| seen(&pod)), seen_at_first);
    seen_at_first
}

/// What an answer to an eviction means, by an HTTP code of success and by one of failure.
///
/// # Panics
/// What says that it is a failure, or comes as one, is taken for a pod that leaves.
#[must_use]
pub fn eviction(json: &[u8]) -> Option<[EvictionOutcome; 2]> {
    let status: Status = serde_json::from_slice(json).ok()?;
    let outcomes = [Http::Success, Http::Failure].map(|http| outcome(&status, http));
    let [by_success, by_failure] = outcomes.each_ref();
    let is_failure = status.status == Some(StatusSummary::Failure);
    assert!(
        !is_failure || *by_success != EvictionOutcome::Accepted,
        "{status:?}"
    );
    assert_ne!(*by_failure, EvictionOutcome::Accepted, "{status:?}");
    Some(outcomes)
}
