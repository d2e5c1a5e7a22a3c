//! The program as a process: how it refuses a configuration, how it starts on free ports, how it stops.

#![allow(
    clippy::unwrap_used,
    reason = "a step of a test that fails ends the test"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use proto_autoscaler::NodeGroupsRequest;
use proto_autoscaler::cloud_provider_client::CloudProviderClient;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tonic::Code;
use tonic::transport::Channel;

#[path = "program/calls.rs"]
mod calls;

const IN_TIME: Duration = Duration::from_secs(60);

const LAB: &str = r#"
{apiVersion: homelab-autoscaler.dev/v1alpha1, kind: Group, metadata: {name: workers}, spec: {minSize: 0}}
---
{apiVersion: homelab-autoscaler.dev/v1alpha1, kind: Node, metadata: {name: nuc1}, spec: {group: workers, wakeOnLAN: {mac: "1c:69:7a:0b:11:02"}}}
"#;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homelab-coordinator"));
    // The developer's own settings must not reach the test.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOMELAB_")) {
        command.env_remove(name);
    }
    command
}

/// Waits for a condition; the only clock in these tests is how long they are willing to wait.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < IN_TIME, "waited too long for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A running coordinator; killed when dropped.
struct Running {
    child: Child,
    ports: Value,
}

impl Running {
    fn start(folder: &Path) -> Self {
        let lab = folder.join("lab");
        fs::create_dir_all(&lab).unwrap();
        fs::write(lab.join("lab.yaml"), LAB).unwrap();
        let mut command = program();
        command.arg("run").arg("--lab").arg(&lab);
        command.arg("--state").arg(folder.join("state"));
        command.args(["--embedded-broker", "127.0.0.1:0", "--timing", "grace=0s"]);
        Self::spawn(command, folder)
    }

    /// Starts it on free ports and waits until it tells them.
    fn spawn(mut command: Command, folder: &Path) -> Self {
        let ports_file = folder.join("ports.json");
        // A file of an earlier run would tell the wrong ports.
        let _ = fs::remove_file(&ports_file);
        let child = command
            .arg("--ports-file")
            .arg(&ports_file)
            .args(["--grpc-address", "127.0.0.1:0"])
            .args(["--admin-address", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut running = Self {
            child,
            ports: Value::Null,
        };
        running.ports = wait_for("the ports file", || {
            assert!(
                running.child.try_wait().unwrap().is_none(),
                "it ended: {}",
                running.log()
            );
            fs::read_to_string(&ports_file).ok()
        })
        .parse()
        .unwrap();
        running
    }

    fn port(&self, name: &str) -> &str {
        self.ports[name].as_str().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        wait_for("its end", || self.child.try_wait().unwrap())
    }

    /// What it logged; only once it has ended.
    fn log(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text).unwrap();
        }
        text
    }

    async fn group_is_served(&self) {
        let url = format!("http://{}", self.port("grpc"));
        let started = Instant::now();
        loop {
            let listed = async {
                let channel = Channel::from_shared(url.clone())
                    .ok()?
                    .connect()
                    .await
                    .ok()?;
                let mut client = CloudProviderClient::new(channel);
                let groups = client
                    .node_groups(NodeGroupsRequest {})
                    .await
                    .ok()?
                    .into_inner()
                    .node_groups;
                groups.first().map(|group| group.id.clone())
            };
            match listed.await {
                Some(id) => return assert_eq!(id, "default/workers"),
                None => assert!(started.elapsed() < IN_TIME, "waited too long for the group"),
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_unusable_configuration_ends_with_64_and_one_line() {
    // DIR stands for a folder with a good lab, a faulty one and an empty file.
    const REFUSED: [(&str, &str); 13] = [
        ("--frobnicate", "--frobnicate"),
        ("--lab DIR/good --grpc-address localhost", "--grpc-address"),
        ("--lab DIR/good --timing wake_repat=2s", "wake_repat"),
        ("--lab DIR/good --grpc-address 0.0.0.0:0", "--grpc-insecure"),
        ("--lab DIR/good --embedded-broker 0.0.0.0:0", "loopback"),
        ("--lab DIR/nowhere --embedded-broker 127.0.0.1:0", "nowhere"),
        ("--lab DIR/faulty --embedded-broker 127.0.0.1:0", "minsize"),
        (
            "--lab DIR/good --broker mqtt://u@b --broker-password-file DIR/empty",
            "empty",
        ),
        (
            "--lab DIR/good --broker mqtts://b --broker-ca-file DIR/nowhere",
            "nowhere",
        ),
        (
            "--lab DIR/good --broker mqtts://b --broker-ca-file DIR/empty",
            "--broker-ca-file: cannot read the broker's CA certificates",
        ),
        (
            "--lab DIR/good --broker mqtt://b --broker-ca-file DIR/empty",
            "--broker-ca-file: a CA certificate is set but",
        ),
        (
            "--lab DIR/good --broker http://b",
            "mqtts://192.168.1.10:8883",
        ),
        ("--broker mqtt://b --kubeconfig DIR/nowhere", "nowhere"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    for (name, text) in [
        ("good", LAB.to_owned()),
        ("faulty", LAB.replace("minSize", "minsize")),
    ] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("lab.yaml"), text).unwrap();
    }
    fs::write(folder.path().join("empty"), "\n").unwrap();
    for (line, words) in REFUSED {
        let flags: Vec<_> = line
            .split_whitespace()
            .map(|flag| flag.replace("DIR", dir))
            .collect();
        let mut command = program();
        command.arg("run").args(&flags);
        if flags.iter().any(|flag| flag == "--lab") {
            command.arg("--state").arg(folder.path().join("state"));
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
        assert!(
            said.starts_with("homelab-coordinator: ") && said.contains(words),
            "{line}: {said}"
        );
    }
}

#[test]
fn help_and_version_are_no_faults() {
    for flag in ["--help", "--version"] {
        let output = program().arg(flag).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(
            String::from_utf8(output.stdout)
                .unwrap()
                .contains("homelab-coordinator")
        );
    }
}

#[test]
fn a_taken_port_is_named_and_is_no_fault_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lab.yaml"), LAB).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let lab = folder.path().to_str().unwrap();
    let state = folder.path().join("state");
    let output = program()
        .arg("run")
        .args([
            "--lab",
            lab,
            "--state",
            state.to_str().unwrap(),
            "--embedded-broker",
            "127.0.0.1:0",
            "--grpc-address",
            &address,
        ])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&address) && said.contains("--grpc-address"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_the_lab_on_the_ports_it_tells_and_stops_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(folder.path());
    running.group_is_served().await;
    assert!(running.port("broker").starts_with("mqtt://127.0.0.1:"));
    let socket = folder.path().join("state/coordinator.sock");
    assert!(socket.exists());
    let state = page(running.port("admin"), "/state").unwrap();
    let state: Value = state.split("\r\n\r\n").nth(1).unwrap().parse().unwrap();
    assert!(state["lab"]["events"].is_array(), "{state}");
    assert_eq!(state["lab"]["nodes"][0]["metadata"]["name"], "nuc1");
    running.signal(Signal::TERM);
    let status = running.end();
    let log = running.log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(
        log.contains("listening") && log.contains(running.port("grpc")),
        "{log}"
    );
    assert!(!log.contains(" ERROR "), "{log}");
    assert!(!socket.exists(), "the socket's file goes with it");
}

/// The answer of an admin page; `None` where nobody answers.
fn page(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(IN_TIME)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n"
    )
    .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_api_server_it_waits_is_alive_and_not_ready_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    // Port 1 is reserved, nobody listens there.
    let nobody = "{apiVersion: v1, kind: Config, current-context: c, \
        clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}], \
        contexts: [{name: c, context: {cluster: c, user: u}}]}";
    fs::write(&kubeconfig, nobody).unwrap();
    let mut command = program();
    command.arg("run").arg("--kubeconfig").arg(&kubeconfig);
    command.args(["--broker", "mqtt://coordinator@127.0.0.1:1"]);
    let mut running = Running::spawn(command, folder.path());
    let admin = running.port("admin").to_owned();
    let ready = page(&admin, "/readyz?verbose").unwrap();
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("[-] cluster: not connected"), "{ready}");
    assert!(
        page(&admin, "/healthz")
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
    let channel = Channel::from_shared(format!("http://{}", running.port("grpc"))).unwrap();
    let mut client = CloudProviderClient::new(channel.connect().await.unwrap());
    let status = client.node_groups(NodeGroupsRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    running.signal(Signal::TERM);
    let status = running.end();
    assert_eq!(status.code(), Some(0), "{}", running.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_coordinator_starts_again_on_its_state_with_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("state/coordinator.key");
    let mut first = Running::start(folder.path());
    first.group_is_served().await;
    let before = fs::read(&key).unwrap();
    first.signal(Signal::KILL);
    assert_eq!(first.end().signal(), Some(Signal::KILL.as_raw()));
    let mut second = Running::start(folder.path());
    second.group_is_served().await;
    assert_eq!(fs::read(&key).unwrap(), before);
    second.signal(Signal::INT);
    assert_eq!(second.end().code(), Some(0));
}
