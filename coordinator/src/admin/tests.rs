//! The pages over a real socket: what probes and scrapers see.

use std::time::Duration;

use coordinator_core::{Action, AgentId, AgentInfo, AgentView, Fact, Now, View};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::certificates::{Authority, Role, server_names};
use crate::engine::{self, Core};
use crate::mandate::Mandate;
use crate::metrics::Metrics;
use crate::outputs::Outputs;

struct Fixed(Arc<View>);

impl Core for Fixed {
    fn observe(&mut self, _fact: Fact, _now: Now) {}
    fn decide(&mut self, _now: Now) -> Vec<Action> {
        Vec::new()
    }
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn view(&mut self, _now: Now) -> Arc<View> {
        Arc::clone(&self.0)
    }
}

struct Nowhere;

impl Outputs for Nowhere {
    fn perform(&mut self, _action: Action) {}
}

async fn served(view: View) -> SocketAddr {
    served_under(Mandate::standing(), view).await
}

async fn served_under(mandate: Mandate, view: View) -> SocketAddr {
    served_with(None, mandate, view).await
}

async fn served_with(issued: Option<Issued>, mandate: Mandate, view: View) -> SocketAddr {
    let (engine, seat) = engine::open(mandate);
    tokio::spawn(seat.take(Fixed(Arc::new(view.clone())), Nowhere).run());
    engine
        .view
        .clone()
        .wait_for(|shown| **shown == view)
        .await
        .unwrap();
    let mut registry = Registry::default();
    let _counters = Metrics::register(&mut registry, engine.view.clone());
    let pages = Pages {
        engine,
        registry: Arc::new(registry),
        callers: Callers::default(),
        readings: Readings::default(),
        in_cluster: true,
        known: Arc::new(OnceLock::from(Known {
            coordinator_key: "ed25519:key".to_owned(),
            cloud_config: None,
            lab: Some(Arc::new(|| serde_json::json!({"nodes": []}))),
        })),
        issued,
    };
    let listening = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listening.address();
    tokio::spawn(listening.serve(pages, std::future::pending()));
    address
}

async fn get(address: SocketAddr, path: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(Duration::from_secs(10), exchange)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_process_that_does_not_serve_is_alive_and_not_ready_and_says_why() {
    let view = View {
        waiting_for: "the lease",
        ..View::default()
    };
    let address = served(view).await;
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(
        ready.ends_with("not ready: waiting for the lease\n"),
        "{ready}"
    );
    let verbose = get(address, "/readyz?verbose").await;
    assert!(verbose.contains("[-] broker: not connected\n"), "{verbose}");
    assert!(
        verbose.contains("[-] cluster: not connected\n"),
        "{verbose}"
    );
}

#[tokio::test]
async fn a_leader_whose_mandate_has_ended_is_not_ready_from_that_moment_on() {
    let mandate = Mandate::standing();
    let serving = View {
        serving: true,
        ..View::default()
    };
    let address = served_under(mandate.clone(), serving).await;
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    mandate.end();
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let words = "not ready: waiting for the leader's Lease\n";
    assert!(ready.ends_with(words), "{ready}");
    let verbose = get(address, "/readyz?verbose").await;
    let line = "[-] serving: waiting for the leader's Lease\n";
    assert!(verbose.contains(line), "{verbose}");
    let state = get(address, "/state").await;
    assert!(state.contains("\"serving\":false"), "{state}");
}

#[tokio::test]
async fn a_leader_is_not_ready_until_it_has_its_certificates() {
    let tls = Issued::new(Metrics::unregistered());
    let serving = View {
        serving: true,
        ..View::default()
    };
    let address = served_with(Some(tls.clone()), Mandate::standing(), serving).await;
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let words = "waiting for the certificates of the gRPC service\n";
    assert!(ready.ends_with(words), "{ready}");
    let now = crate::clock::now().wall_ms / 1_000;
    let authority = Authority::load(&Authority::make(now).unwrap(), now).unwrap();
    let names = server_names("own", &[]).unwrap();
    let server = authority.issue(Role::Server(&names), now).unwrap();
    tls.serve_with(&server, authority.cert()).unwrap();
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_lost_broker_is_told_and_does_not_end_readiness() {
    let view = View {
        serving: true,
        cluster_up: true,
        ..View::default()
    };
    let address = served(view).await;
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    let verbose = get(address, "/readyz?verbose=1").await;
    assert!(
        verbose.contains("[+] serving: leading, loaded\n"),
        "{verbose}"
    );
    assert!(verbose.contains("[-] broker: not connected\n"), "{verbose}");
}

/// What `homelabctl` reads. Add, never rename.
#[tokio::test]
async fn of_an_agent_its_segments_and_the_names_of_its_credentials_are_shown() {
    let info = |credentials: Option<Vec<String>>| AgentInfo {
        agent: AgentId::new("pi"),
        key: None,
        segments: vec!["default".to_owned()],
        credentials,
        wake_armed: None,
        arch: None,
        macs: vec!["1c:69:7a:0b:11:02".to_owned()],
        high_water: Vec::new(),
    };
    let agent = |credentials: Option<Vec<String>>| AgentView {
        key: Some("ed25519:k".into()),
        live: true,
        info: Some(Arc::new(info(credentials))),
        boot_id: Some("b".into()),
    };
    let agents = [
        ("pi", agent(Some(vec!["r720".to_owned()]))),
        ("silent", agent(None)),
    ];
    let address = served(View {
        agents: agents
            .map(|(id, agent)| (AgentId::new(id), Arc::new(agent)))
            .into(),
        ..View::default()
    })
    .await;
    let state = get(address, "/state").await;
    let (_, body) = state.split_once("\r\n\r\n").unwrap();
    let body: Value = body.parse().unwrap();
    let shown = |credentials: Value| {
        serde_json::json!({"live": true, "publicKey": "ed25519:k", "segments": ["default"], "credentials": credentials,
            "macs": ["1c:69:7a:0b:11:02"], "bootID": "b", "clockAheadS": null, "sensors": null})
    };
    assert_eq!(body["agents"]["pi"], shown(serde_json::json!(["r720"])));
    assert_eq!(body["agents"]["silent"], shown(Value::Null));
}

#[tokio::test]
async fn metrics_and_state_are_served_in_their_formats() {
    let address = served(View {
        serving: true,
        ..View::default()
    })
    .await;
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains(OPENMETRICS), "{metrics}");
    assert!(
        metrics.contains("\nhomelab_autoscaler_serving 1\n"),
        "{metrics}"
    );
    let state = get(address, "/state").await;
    assert!(
        state.contains("\"coordinatorKey\":\"ed25519:key\""),
        "{state}"
    );
    assert!(state.contains("\"lab\":{\"nodes\":[]}"), "{state}");
    assert!(get(address, "/nothing").await.starts_with("HTTP/1.1 404"));
}
