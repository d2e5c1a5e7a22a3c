//! The socket in front of a real core and a real store.

use std::{fs, os::unix::fs::FileTypeExt as _};

use coordinator_core::{AgentId, AgentInfo, Fact, Lab, Policy};
use tempfile::TempDir;

use super::*;
use crate::{
    engine,
    inputs::standalone::LabFolder,
    outputs::standalone::{self, Standalone},
};

const LAB: &str = r#"
{apiVersion: homelab-autoscaler.dev/v1alpha1, kind: Group, metadata: {name: workers}, spec: {}}
---
apiVersion: homelab-autoscaler.dev/v1alpha1
kind: Node
metadata: {name: nuc1}
spec: {group: workers, wakeOnLAN: {mac: "1c:69:7a:0b:11:02"}}
"#;

fn patience() -> Duration {
    Duration::from_secs(20)
}

/// A coordinator without broker and gRPC on the state in `dir`; it ends with its runtime.
async fn coordinator(dir: &TempDir) -> PathBuf {
    coordinator_that_heard(dir, Vec::new()).await
}

/// The same, after agents were heard.
async fn coordinator_that_heard(dir: &TempDir, heard: Vec<Fact>) -> PathBuf {
    let (lab, state) = (dir.path().join("lab"), dir.path().join("state"));
    fs::create_dir_all(&lab).unwrap();
    fs::write(lab.join("lab.yaml"), LAB).unwrap();
    let lab = LabFolder::open(&lab).unwrap();
    let (store, replay) = standalone::open(&state).unwrap();
    let (handle, seat) = engine::open(crate::mandate::Mandate::standing());
    let facts = handle.facts.clone();
    let outputs = Standalone::start(store, &replay, move |fact| facts.tell_blocking(fact)).unwrap();
    let memory = outputs.memory();
    let core = Lab::new(replay.seed, Policy::default());
    tokio::spawn(seat.take(core, outputs).run());
    let board = Arc::new(Board::new(lab.declared(), memory.clone()));
    let told = heard.len();
    let first = lab.facts().into_iter().chain(replay.into_facts());
    let first: Vec<Fact> = first.chain(heard).collect();
    for fact in first {
        handle.facts.tell(fact).await;
    }
    let path = state.join("coordinator.sock");
    let lab = ServedLab {
        engine: handle.clone(),
        board,
        memory,
        agents: AgentAccess {
            broker: "mqtt://127.0.0.1:1883".to_owned(),
            coordinator_key: "ed25519:k".to_owned(),
            needs_password: false,
        },
        readings: Readings::default(),
    };
    tokio::spawn(Socket::bind(&path).unwrap().serve(lab));
    let mut view = handle.view.clone();
    let serving = view
        .wait_for(|view| view.serving && !view.machines.is_empty() && view.agents.len() == told);
    time::timeout(patience(), serving).await.unwrap().unwrap();
    path
}

async fn exchange(path: &Path, request: &str) -> Value {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(b"\n").await.unwrap();
    let mut line = String::new();
    let read = time::timeout(patience(), BufReader::new(stream).read_line(&mut line)).await;
    read.expect("an answer in time").unwrap();
    serde_json::from_str(&line).unwrap()
}

/// Runs one life of the coordinator; with the runtime every task of it ends, as with its process.
fn life<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(patience());
    outcome
}

/// What `homelabctl` reads. Add, never rename.
#[test]
fn of_an_agent_its_segments_and_the_names_of_its_credentials_are_shown() {
    let heard = Fact::AgentInfo(Arc::new(AgentInfo {
        agent: AgentId::new("pi"),
        key: Some("ed25519:k".into()),
        segments: vec!["default".to_owned()],
        credentials: Some(vec!["r720".to_owned()]),
        wake_armed: None,
        arch: None,
        macs: vec!["1c:69:7a:0b:11:02".to_owned()],
        high_water: Vec::new(),
    }));
    let dir = tempfile::tempdir().unwrap();
    life(async {
        let path = coordinator_that_heard(&dir, vec![heard]).await;
        let status = exchange(&path, r#"{"verb":"status"}"#).await;
        let shown = json!([{"name": "pi", "live": false, "segments": ["default"], "credentials": ["r720"],
            "macs": ["1c:69:7a:0b:11:02"], "publicKey": "ed25519:k", "clockAheadS": null}]);
        assert_eq!(status["agents"], shown);
    });
}

#[test]
fn a_persons_override_is_taken_shown_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ask =
        r#"{"verb":"ask","node":"nuc1","ask":{"id":"ask-1","verb":"PowerOn","by":"user ann"}}"#;
    life(async {
        let path = coordinator(&dir).await;
        let answer = exchange(&path, ask).await;
        assert_eq!(answer, json!({ "v": 1, "ok": true }));
        let status = exchange(&path, r#"{"verb":"status"}"#).await;
        assert_eq!(status["ok"], true);
        // The names that homelabctl reads. Add, never rename.
        let names: Vec<&String> = status.as_object().unwrap().keys().collect();
        let known = [
            "agents",
            "brokerUp",
            "events",
            "groups",
            "nodes",
            "nowMs",
            "ok",
            "serving",
            "v",
            "waitingFor",
        ];
        assert_eq!(names, known);
        assert_eq!(
            (&status["v"], &status["serving"]),
            (&json!(1), &json!(true))
        );
        assert_eq!(status["groups"][0]["metadata"]["name"], "workers");
        let node = &status["nodes"][0];
        assert_eq!(node["kind"], "Node");
        assert_eq!(node["spec"]["wakeOnLAN"]["mac"], "1c:69:7a:0b:11:02");
        assert_eq!(node["status"]["override"]["by"], "user ann");
        assert_eq!(node["status"]["lastAskID"], "ask-1");
        let conditions = node["status"]["conditions"].as_array().unwrap();
        assert!(
            conditions
                .iter()
                .any(|condition| condition["type"] == "Ready"),
            "{conditions:?}"
        );
    });
    // The store's thread ends after the engine has; until then the state is in use.
    let deadline = std::time::Instant::now() + patience();
    while matches!(
        standalone::open(&dir.path().join("state")),
        Err(standalone::OpenStore::InUse { .. })
    ) {
        assert!(
            std::time::Instant::now() < deadline,
            "the store is released"
        );
        std::thread::yield_now();
    }
    life(async {
        let path = coordinator(&dir).await;
        let status = exchange(&path, r#"{"verb":"status"}"#).await;
        assert_eq!(status["nodes"][0]["status"]["override"]["by"], "user ann");
    });
}

#[test]
fn what_cannot_be_done_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    life(async {
        let path = coordinator(&dir).await;
        let unknown =
            r#"{"verb":"ask","node":"nuc9","ask":{"id":"a","verb":"PowerOn","by":"user ann"}}"#;
        let answer = exchange(&path, unknown).await;
        assert_eq!(
            (&answer["ok"], &answer["reason"]),
            (&json!(false), &json!("NotFound"))
        );
        assert!(
            answer["message"].as_str().unwrap().contains("nuc9"),
            "{answer}"
        );
        for nonsense in ["", "status", "{}", r#"{"verb":"reboot"}"#] {
            let answer = exchange(&path, nonsense).await;
            assert_eq!(answer["reason"], "InvalidArgument", "{nonsense}: {answer}");
        }
        let long = format!("{{\"verb\":\"{}\"}}", "x".repeat(1 << 16));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        // The coordinator may hang up before it has read everything.
        let _ = stream.write_all(long.as_bytes()).await;
        let mut line = String::new();
        let read = time::timeout(patience(), BufReader::new(stream).read_line(&mut line))
            .await
            .unwrap();
        assert!(read.is_err() || line.contains("longer than"), "{line}");
        let access = exchange(&path, r#"{"verb":"agentConfig"}"#).await;
        let expected = json!({ "broker": "mqtt://127.0.0.1:1883", "coordinatorKey": "ed25519:k", "needsPassword": false });
        assert_eq!(access["access"], expected);
    });
}

#[tokio::test]
async fn the_socket_is_private_and_a_stale_one_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/coordinator.sock");
    let first = Socket::bind(&path).unwrap();
    let mode = fs::metadata(&path).unwrap();
    assert!(mode.file_type().is_socket());
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    assert!(matches!(Socket::bind(&path), Err(BindSocket::InUse { .. })));
    // As after kill -9: the file is there, and nobody behind it.
    let stale = dir.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let second = Socket::bind(&stale).unwrap();
    drop(second);
    assert!(!stale.exists());
    drop(first);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_path_that_is_too_long_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x".repeat(120));
    let refused = Socket::bind(&path).unwrap_err().to_string();
    assert!(refused.contains("at most 100 bytes"), "{refused}");
}
