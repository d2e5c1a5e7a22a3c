//! What is sent, and what each answer of an API server comes to.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use super::{
    super::fake_api::{Reply, asked_with_body, refusal, writer},
    *,
};
use crate::mandate::Mandate;

fn pod(name: &str) -> PodRef {
    PodRef {
        namespace: "lab".into(),
        name: name.into(),
        uid: "u-1".into(),
    }
}

async fn asked(reply: impl Fn() -> Reply + Send + Sync + 'static) -> EvictionOutcome {
    let (writer, _) = writer(move |_: &Method| reply());
    let mut told = evict(&writer, vec![pod("web")]).await;
    told.pop().unwrap().outcome
}

fn failure(code: u16, message: &str, reason: &str, details: Value) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code, "details": details})
}

#[tokio::test]
async fn an_eviction_names_the_pod_and_the_uid_that_it_must_have() {
    let bodies: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let notes = Arc::clone(&bodies);
    let writer = asked_with_body(move |path, body| {
        notes.lock().unwrap().push((path.to_owned(), body));
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Reply::With(201, done)
    });
    let told = evict(&writer, vec![pod("web"), pod("db")]).await;
    assert!(
        told.iter()
            .all(|told| told.outcome == EvictionOutcome::Accepted)
    );
    let mut bodies = bodies.lock().unwrap().clone();
    bodies.sort_by(|a, b| a.0.cmp(&b.0));
    let body = |name: &str| {
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": "lab", "name": name},
            "deleteOptions": {"preconditions": {"uid": "u-1"}}})
    };
    let path = |name: &str| format!("/api/v1/namespaces/lab/pods/{name}/eviction");
    assert_eq!(
        bodies,
        [(path("db"), body("db")), (path("web"), body("web"))]
    );
}

#[tokio::test]
async fn a_budget_is_named_and_its_pause_is_heeded() {
    let says = "The disruption budget web needs 1 healthy pods and has 1 currently";
    for (seconds, retry_after_ms) in [(0, None), (10, Some(10_000))] {
        let details =
            json!({"causes": [{"reason": BUDGET, "message": says}], "retryAfterSeconds": seconds});
        let told = asked(move || {
            let words = "Cannot evict pod as it would violate the pod's disruption budget.";
            let status = failure(429, words, "TooManyRequests", details.clone());
            Reply::With(429, status)
        })
        .await;
        let budget = says.to_owned();
        assert_eq!(
            told,
            EvictionOutcome::Withheld {
                budget,
                retry_after_ms
            }
        );
    }
}

#[tokio::test]
async fn each_refusal_has_its_own_outcome() {
    use EvictionOutcome::{Forbidden, Gone, Misconfigured};
    let uid = "the UID in the precondition (u-1) does not match the UID in record (u-2)";
    let right = "pods \"web\" is forbidden: cannot create resource \"pods/eviction\"";
    let several = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    let selector = "\"Iff\" is not a valid label selector operator";
    let denied = "admission webhook \"keep.example\" denied the request";
    for (http, code, words, reason, expected) in [
        (404, 404, "pods \"web\" not found", "NotFound", Gone),
        (409, 409, uid, "Conflict", Gone),
        (403, 403, right, "Forbidden", Forbidden(right.into())),
        (500, 500, several, "", Misconfigured(several.into())),
        // The API server answers such as if it had made something.
        (201, 500, several, "", Misconfigured(several.into())),
        (201, 500, selector, "", Misconfigured(selector.into())),
        // A webhook denies it, say: it is no right of ours that is missing.
        (400, 400, denied, "", Misconfigured(denied.into())),
        (422, 422, denied, "Invalid", Misconfigured(denied.into())),
    ] {
        let told = asked(move || Reply::With(http, failure(code, words, reason, json!({})))).await;
        assert_eq!(told, expected, "{http} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_leaves_it_open_is_tried_again_by_whoever_asked() {
    let unanswered = |told: &EvictionOutcome| matches!(told, EvictionOutcome::Unanswered { .. });
    let conflicts = || {
        let details = json!({"retryAfterSeconds": 10});
        Reply::With(
            504,
            failure(
                504,
                "couldn't update PodDisruptionBudget",
                "Timeout",
                details,
            ),
        )
    };
    let told = asked(conflicts).await;
    assert!(
        matches!(
            told,
            EvictionOutcome::Unanswered {
                retry_after_ms: Some(10_000),
                ..
            }
        ),
        "{told:?}"
    );
    let busy = asked(|| refusal(429, "too many requests, please try again later")).await;
    assert!(unanswered(&busy), "no budget: the server is busy: {busy:?}");
    let ending = || {
        let causes = json!([{"reason": "NamespaceTerminating", "message": "namespace lab is being terminated"}]);
        let details = json!({"causes": causes});
        Reply::With(403, failure(403, "forbidden", "Forbidden", details))
    };
    assert!(unanswered(&asked(ending).await), "its namespace goes");
    for (code, words, reason) in [
        (500, "etcdserver: leader changed", ""),
        (500, "etcdserver: leader changed", "InternalError"),
        (401, "the token has expired", "Unauthorized"),
    ] {
        let told = asked(move || Reply::With(code, failure(code, words, reason, json!({})))).await;
        assert!(unanswered(&told), "{code} {reason}: {told:?}");
    }
    for body in [json!({"error": "no healthy upstream"}), json!({})] {
        let proxy = move || Reply::With(503, body.clone());
        let told = asked(proxy).await;
        assert!(unanswered(&told), "a proxy on the way: {told:?}");
    }
    assert!(unanswered(&asked(|| Reply::Silence).await), "silence ends");
}

#[tokio::test]
async fn who_does_not_lead_evicts_nobody() {
    let (mut writer, asked) = writer(|_: &Method| refusal(500, "it was asked"));
    writer.shared.mandate = Mandate::default();
    let told = evict(&writer, vec![pod("web")]).await;
    assert!(matches!(
        told[0].outcome,
        EvictionOutcome::Unanswered { .. }
    ));
    assert_eq!(asked.lock().unwrap().len(), 0);
}
