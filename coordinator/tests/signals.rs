//! Signals that come at the wrong moment.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Far longer than a start or a stop takes.
const LIMIT: Duration = Duration::from_secs(60);
/// The bit of SIGTERM in the masks of `/proc/<pid>/status`.
const SIGTERM_BIT: u64 = 1 << 14;

/// A coordinator of a cluster whose API server does not answer: it waits at its start until it is told to stop.
fn waiting(folder: &Path) -> Child {
    let kubeconfig = folder.join("kubeconfig");
    let text = "{apiVersion: v1, kind: Config, current-context: x,\
        clusters: [{name: x, cluster: {server: 'http://127.0.0.1:1'}}],\
        contexts: [{name: x, context: {cluster: x, user: x}}], users: [{name: x, user: {}}]}";
    std::fs::write(&kubeconfig, text).expect("a file of our own folder");
    Command::new(env!("CARGO_BIN_EXE_homelab-coordinator"))
        .arg("run")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--broker", "mqtt://127.0.0.1:1"])
        .args(["--grpc-address", "127.0.0.1:0"])
        .args(["--admin-address", "127.0.0.1:0"])
        .stderr(Stdio::null())
        .spawn()
        .expect("it was built with this test")
}

/// Whether the process has a handler for SIGTERM.
fn catches(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.expect("our child, not waited for yet");
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .map(|mask| u64::from_str_radix(mask.trim(), 16).expect("a mask"));
    mask.is_some_and(|mask| mask & SIGTERM_BIT != 0)
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_stop_in_the_first_moment_is_a_stop_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = waiting(folder.path());
    until("a handler", || catches(&child).then_some(()));
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    let status = until("its end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status}");
}
