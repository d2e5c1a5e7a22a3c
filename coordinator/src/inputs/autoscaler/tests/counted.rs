//! Every call is counted once, with the code that its caller got, wherever that came from.

use prometheus_client::registry::Registry;
use proto_autoscaler::{DESCRIPTORS, SERVICE_NAME};
use tower::{Layer as _, Service as _};

use super::admission::{Admission, CALLS};
use super::raw::{Raw, code_of};
use super::*;

/// Metrics that can be scraped.
pub(super) fn scraped() -> (Metrics, Registry) {
    let (_, view) = tokio::sync::watch::channel(Arc::new(View::default()));
    let mut registry = Registry::default();
    (Metrics::register(&mut registry, view), registry)
}

/// How many calls of a method ended with a code.
pub(super) fn counted(registry: &Registry, method: &str, code: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let labels = format!("{{method=\"{method}\",code=\"{code}\"}} ");
    let line = text.lines().find_map(|line| {
        line.strip_prefix("homelab_autoscaler_grpc_requests_total")?
            .strip_prefix(&labels)
    });
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn calls_are_counted_with_their_code_whether_or_not_they_reach_a_handler() {
    let script = Script::showing(lab([group("default/workers")]), Answer::Done).await;
    let (metrics, registry) = scraped();
    let service = Autoscaler::new(script.engine.clone(), metrics, Callers::default());
    let listening = listen(&plain(), service).await.unwrap();
    let mut raw = Raw::connect(listening.address()).await;
    tokio::spawn(listening.serve(std::future::pending()));
    let garbage = b"\xff\xff\xff\xff";
    for (method, message, code, word) in [
        ("Refresh", &b""[..], Code::Ok, "OK"),
        (
            "NodeGroupTargetSize",
            b"",
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
        ),
        // Its handler never sees it.
        ("NodeGroupNodes", garbage, Code::Internal, "INTERNAL"),
    ] {
        assert_eq!(raw.call(method, message).await, code, "{method}");
        assert_eq!(counted(&registry, method, word), 1, "{method}");
    }
    assert_eq!(raw.call("Teleport", b"").await, Code::Unimplemented);
    assert_eq!(counted(&registry, "other", "UNIMPLEMENTED"), 1);
    let (answer, _body) = raw.open("Refresh", &[("grpc-timeout", "20m")]).await;
    assert_eq!(code_of(answer).await, Code::DeadlineExceeded);
    assert_eq!(counted(&registry, "Refresh", "DEADLINE_EXCEEDED"), 1);
}

#[tokio::test]
async fn a_call_that_is_turned_away_is_counted() {
    let (metrics, registry) = scraped();
    let never = tower::service_fn(|_: http::Request<tonic::body::Body>| {
        std::future::pending::<Result<http::Response<tonic::body::Body>, Status>>()
    });
    let mut admitted = Admission::new(metrics).layer(never);
    let mut call = || {
        let request = http::Request::post(format!("/{SERVICE_NAME}/Refresh"));
        admitted.call(request.body(tonic::body::Body::empty()).unwrap())
    };
    let under_way: Vec<_> = (0..CALLS).map(|_| call()).collect();
    call().await.unwrap();
    assert_eq!(counted(&registry, "Refresh", "UNAVAILABLE"), 1);
    drop(under_way);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_names_an_endless_time_keeps_its_place_for_a_minute() {
    let (metrics, registry) = scraped();
    let never = tower::service_fn(|_: http::Request<tonic::body::Body>| {
        std::future::pending::<Result<http::Response<tonic::body::Body>, Status>>()
    });
    let mut admitted = Admission::new(metrics).layer(never);
    let mut call = || {
        let request = http::Request::post(format!("/{SERVICE_NAME}/NodeGroupIncreaseSize"))
            .header("grpc-timeout", "99999999H");
        admitted.call(request.body(tonic::body::Body::empty()).unwrap())
    };
    for _ in 0..2 {
        let calls: Vec<_> = (0..CALLS).map(|_| call()).collect();
        let ended = tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(calls));
        for answer in ended.await.unwrap() {
            assert_eq!(answer.unwrap().headers()["grpc-status"], "4");
        }
    }
    let late = counted(&registry, "NodeGroupIncreaseSize", "DEADLINE_EXCEEDED");
    assert_eq!(late, 2 * CALLS as u64, "nobody was turned away");
}

#[test]
fn every_call_of_the_service_is_counted_under_its_name() {
    let described =
        <prost_types::FileDescriptorSet as prost::Message>::decode(DESCRIPTORS).unwrap();
    let services = described.file.iter().flat_map(|file| &file.service);
    let methods: Vec<&str> = services
        .flat_map(|service| &service.method)
        .map(|method| method.name())
        .collect();
    assert_eq!(methods.len(), 15);
    for name in methods {
        assert_eq!(
            admission::method(&format!("/{SERVICE_NAME}/{name}")),
            Some(name)
        );
    }
    assert_eq!(admission::method("/grpc.health.v1.Health/Check"), None);
}
