//! Asking pods to leave, through the Eviction API, so that their disruption budgets hold.
//!
//! In: pods. Out: what became of each.
//! Holds: only the pod that was listed is evicted: one of the same name that took its place has another uid.
//! Holds: as many at once as are handed over, each for [`CALL`] at most.

use coordinator_core::{Eviction, EvictionOutcome, PodRef};
use futures::future::join_all;
use k8s_openapi::{
    api::{core::v1::Pod, policy::v1 as policy},
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions},
};
use kube::{
    api::PostParams,
    core::{Status, response::StatusSummary},
};

use super::writer::Writer;
use crate::{inputs::kubernetes::CALL, metrics::ApiWrite};

/// What the API server calls the cause of a refusal that comes from a budget.
const BUDGET: &str = "DisruptionBudget";
/// What it calls the cause of a refusal that ends by itself: the pod goes with its namespace.
const NAMESPACE_ENDS: &str = "NamespaceTerminating";
/// What it says of a pod whose budgets it cannot tell apart.
const SEVERAL: &str = "more than one PodDisruptionBudget";

/// What is told of a failure that does not say why.
const UNSAID: &str = "a failure without a word why";

/// The HTTP code that an answer came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Http {
    Success,
    Failure,
}

/// What becomes of pods whose machine is not drained any more when their turn comes: nobody asks them.
pub(super) fn spare(pods: Vec<PodRef>) -> Vec<Eviction> {
    let spared = |pod| Eviction {
        pod,
        outcome: EvictionOutcome::Unanswered {
            fault: String::from("its machine is not drained any more"),
            retry_after_ms: None,
        },
    };
    pods.into_iter().map(spared).collect()
}

/// Asks each of these pods to leave.
pub(super) async fn evict(writer: &Writer, pods: Vec<PodRef>) -> Vec<Eviction> {
    let asked = pods.into_iter().map(|pod| async move {
        let outcome = ask(writer, &pod).await;
        tracing::debug!(%pod, ?outcome, "asked a pod to leave");
        Eviction { pod, outcome }
    });
    join_all(asked).await
}

async fn ask(writer: &Writer, pod: &PodRef) -> EvictionOutcome {
    let unanswered = |fault: String| EvictionOutcome::Unanswered {
        fault,
        retry_after_ms: None,
    };
    if let Err(fault) = writer.may_write(ApiWrite::Eviction) {
        return unanswered(fault.to_string());
    }
    let api = writer.shared.cluster.namespaced::<Pod>(&pod.namespace);
    let parameters = PostParams::default();
    // Not the client's own method for this: it sends the precondition under a name that the API server does not know.
    let body = eviction(pod);
    let call = api.create_subresource::<_, Status>("eviction", &pod.name, &parameters, &body);
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(status)) => outcome(&status, Http::Success),
        Ok(Err(kube::Error::Api(status))) => outcome(&status, Http::Failure),
        Ok(Err(fault)) => unanswered(fault.to_string()),
        Err(_) => unanswered(format!("nothing within {CALL:?}")),
    }
}

fn eviction(pod: &PodRef) -> policy::Eviction {
    policy::Eviction {
        metadata: ObjectMeta {
            namespace: Some(pod.namespace.clone()),
            name: Some(pod.name.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: None,
            }),
            ..DeleteOptions::default()
        }),
    }
}

/// What an answer means. The API server tells what it finds wrong about a pod's budgets as a failure with the HTTP code of a success;
/// what comes as an HTTP failure of its own is a fault of the server or its storage, which may be over the next time.
pub(super) fn outcome(status: &Status, http: Http) -> EvictionOutcome {
    let is_failure = status.status == Some(StatusSummary::Failure) || status.code >= 300;
    // What a proxy on the way says of itself reads as a status in which nothing is told.
    if http == Http::Success && !is_failure {
        return EvictionOutcome::Accepted;
    }
    let told = || match status.message.as_str() {
        "" => UNSAID.to_owned(),
        words => words.to_owned(),
    };
    let details = status.details.as_ref();
    let seconds = details.map_or(0, |details| details.retry_after_seconds);
    let retry_after_ms = (seconds > 0).then(|| u64::from(seconds) * 1000);
    let unanswered = || EvictionOutcome::Unanswered {
        fault: told(),
        retry_after_ms,
    };
    let cause = |reason: &str| {
        let mut causes = details.iter().flat_map(|details| &details.causes);
        causes.find(|cause| cause.reason == reason)
    };
    match (status.code, cause(BUDGET)) {
        (404 | 409, _) => EvictionOutcome::Gone,
        (429, Some(cause)) => EvictionOutcome::Withheld {
            budget: cause.message.clone(),
            retry_after_ms,
        },
        (500, _) if http == Http::Success || status.message.contains(SEVERAL) => {
            EvictionOutcome::Misconfigured(told())
        }
        (403, _) if cause(NAMESPACE_ENDS).is_none() => EvictionOutcome::Forbidden(told()),
        // A token is renewed by itself.
        (401 | 403 | 408 | 429, _) => unanswered(),
        (400..=499, _) => EvictionOutcome::Misconfigured(told()),
        _ => unanswered(),
    }
}

#[cfg(test)]
mod tests;
