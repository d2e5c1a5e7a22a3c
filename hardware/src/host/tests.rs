//! A fake logind at the other end of a socket, and real small programs.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::Notify;
use zbus::connection::Builder;

use super::*;
use crate::fault::Effect;

/// What the fake answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Obedient,
    Old,
    GoingDown,
    Locked,
    Forbidding,
    Silent,
}

#[derive(zbus::DBusError, Debug)]
#[zbus(prefix = "org.freedesktop")]
enum LoginError {
    #[zbus(error)]
    ZBus(zbus::Error),
    #[zbus(name = "DBus.Error.UnknownMethod")]
    UnknownMethod(String),
    #[zbus(name = "DBus.Error.InteractiveAuthorizationRequired")]
    Forbidden(String),
    #[zbus(name = "login1.OperationInProgress")]
    InProgress(String),
    #[zbus(name = "login1.BlockedByInhibitorLock")]
    Blocked(String),
}

type Rows = Vec<(String, String, String, String, u32, u32)>;

struct Fake {
    mood: Mood,
    can: &'static str,
    locks: Rows,
    calls: Arc<Mutex<Vec<String>>>,
    called: Arc<Notify>,
}

impl Fake {
    fn log(&self, call: impl Into<String>) {
        self.calls
            .lock()
            .expect("no panic inside")
            .push(call.into());
    }

    async fn flagged(&self, call: String) -> Result<(), LoginError> {
        self.log(call);
        match self.mood {
            Mood::Obedient => Ok(()),
            Mood::Old => Err(LoginError::UnknownMethod("no such method".to_owned())),
            Mood::GoingDown => Err(LoginError::InProgress("already".to_owned())),
            Mood::Locked => Err(LoginError::Blocked("backup".to_owned())),
            Mood::Forbidding => Err(LoginError::Forbidden("no".to_owned())),
            Mood::Silent => {
                self.called.notify_one();
                std::future::pending().await
            }
        }
    }
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Fake {
    #[zbus(name = "CanPowerOff")]
    fn can_power_off(&self) -> String {
        self.log("CanPowerOff");
        self.can.to_owned()
    }

    #[zbus(name = "CanReboot")]
    fn can_reboot(&self) -> String {
        self.log("CanReboot");
        self.can.to_owned()
    }

    #[zbus(name = "ListInhibitors")]
    fn list_inhibitors(&self) -> Rows {
        self.log("ListInhibitors");
        self.locks.clone()
    }

    #[zbus(name = "PowerOffWithFlags")]
    async fn power_off_with_flags(&self, flags: u64) -> Result<(), LoginError> {
        self.flagged(format!("PowerOffWithFlags {flags}")).await
    }

    #[zbus(name = "RebootWithFlags")]
    async fn reboot_with_flags(&self, flags: u64) -> Result<(), LoginError> {
        self.flagged(format!("RebootWithFlags {flags}")).await
    }

    #[zbus(name = "PowerOff")]
    fn power_off(&self, interactive: bool) {
        self.log(format!("PowerOff {interactive}"));
    }
}

/// The fake's end of the socket, and what it was asked.
struct Peer {
    connection: zbus::Connection,
    calls: Arc<Mutex<Vec<String>>>,
    called: Arc<Notify>,
}

impl Peer {
    fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("no panic inside").clone()
    }
}

async fn logind(mood: Mood, can: &'static str, locks: &[(&str, &str, &str)]) -> (Logind, Peer) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let (calls, called) = (Arc::default(), Arc::new(Notify::new()));
    let row = |(what, who, mode): &(&str, &str, &str)| {
        let why = "a reason".to_owned();
        (
            (*what).to_owned(),
            (*who).to_owned(),
            why,
            (*mode).to_owned(),
            0,
            1,
        )
    };
    let fake = Fake {
        mood,
        can,
        locks: locks.iter().map(row).collect(),
        calls: Arc::clone(&calls),
        called: Arc::clone(&called),
    };
    let server = Builder::unix_stream(theirs)
        .server(zbus::Guid::generate())
        .p2p()
        .serve_at("/org/freedesktop/login1", fake)
        .build();
    let client = Builder::unix_stream(ours).p2p().build();
    let (server, client) = tokio::join!(server, client);
    let peer = Peer {
        connection: server.expect("the fake's end"),
        calls,
        called,
    };
    (Logind::over(client.expect("our end")), peer)
}

#[tokio::test]
async fn logind_is_asked_first_and_then_told_without_flags() {
    for (verb, asked, told) in [
        (Verb::PowerOff, "CanPowerOff", "PowerOffWithFlags 0"),
        (Verb::Reboot, "CanReboot", "RebootWithFlags 0"),
    ] {
        let (logind, peer) =
            logind(Mood::Obedient, "yes", &[("shutdown", "kubelet", "delay")]).await;
        let applied = logind.act(verb).await.expect("accepted");
        assert!(matches!(applied, Applied::Sent { .. }));
        assert_eq!(peer.calls(), [asked, "ListInhibitors", told]);
    }
}

#[tokio::test]
async fn an_old_logind_gets_the_old_call_not_interactive() {
    let (logind, peer) = logind(Mood::Old, "yes", &[]).await;
    logind.act(Verb::PowerOff).await.expect("accepted");
    assert_eq!(peer.calls()[2..], ["PowerOffWithFlags 0", "PowerOff false"]);
}

#[tokio::test]
async fn a_blocking_lock_is_busy_with_its_holder_and_nothing_is_called() {
    let locks = [
        ("sleep", "x", "block"),
        ("shutdown", "kubelet", "delay"),
        ("idle:shutdown", "backup", "block"),
    ];
    let (logind, peer) = logind(Mood::Obedient, "yes", &locks).await;
    let fault = logind.act(Verb::PowerOff).await.expect_err("blocked");
    assert_eq!((fault.kind, fault.effect), (FaultKind::Busy, Effect::None));
    assert_eq!(fault.detail, "PowerOff is blocked by backup (a reason)");
    assert_eq!(peer.calls(), ["CanPowerOff", "ListInhibitors"]);
}

#[tokio::test]
async fn what_logind_cannot_or_may_not_do_is_not_tried() {
    for (can, kind) in [
        ("na", FaultKind::NotSupported),
        ("no", FaultKind::Denied),
        ("challenge", FaultKind::Denied),
    ] {
        let (logind, peer) = logind(Mood::Obedient, can, &[]).await;
        let fault = logind.act(Verb::PowerOff).await.expect_err(can);
        assert_eq!((fault.kind, fault.effect), (kind, Effect::None), "{can}");
        assert_eq!(peer.calls(), ["CanPowerOff"]);
    }
}

#[tokio::test]
async fn a_host_that_goes_down_already_is_a_success_and_refusals_are_sorted() {
    let (going, _peer) = logind(Mood::GoingDown, "yes", &[]).await;
    assert_eq!(going.act(Verb::PowerOff).await, Ok(Applied::NoChange));
    for (mood, kind) in [
        (Mood::Locked, FaultKind::Busy),
        (Mood::Forbidding, FaultKind::Denied),
    ] {
        let (logind, _peer) = logind(mood, "yes", &[]).await;
        let fault = logind.act(Verb::PowerOff).await.expect_err("refused");
        assert_eq!((fault.kind, fault.effect), (kind, Effect::None), "{mood:?}");
    }
}

#[tokio::test]
async fn a_bus_that_closes_during_the_call_may_have_had_an_effect() {
    let (logind, peer) = logind(Mood::Silent, "yes", &[]).await;
    let acting = tokio::spawn(async move { logind.act(Verb::PowerOff).await });
    peer.called.notified().await;
    peer.connection.close().await.expect("closed");
    let fault = acting.await.expect("no panic").expect_err("no answer");
    assert_eq!(
        (fault.kind, fault.effect),
        (FaultKind::Transient, Effect::Possible)
    );
}

fn command(script: &str, timeout: Duration) -> Host {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    Host::new(HostMethod::Command(HostCommands {
        shutdown: argv,
        reboot: Vec::new(),
        timeout,
    }))
}

/// Long enough for any machine; nothing waits for it unless it is about to fail.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn exit_codes_tell_what_went_wrong() {
    let done = command("exit 0", LONG).apply(Step::ShutdownGraceful).await;
    assert!(matches!(done, Ok(Applied::Sent { .. })));
    for (code, kind) in [
        (64, FaultKind::InvalidConfig),
        (69, FaultKind::Unreachable),
        (75, FaultKind::Transient),
        (77, FaultKind::Auth),
        (1, FaultKind::Denied),
    ] {
        let host = command(
            &format!("echo quiet; echo 'no\tway' >&2; exit {code}"),
            LONG,
        );
        let fault = host
            .apply(Step::ShutdownGraceful)
            .await
            .expect_err("it failed");
        assert_eq!((fault.kind, fault.effect), (kind, Effect::Possible));
        assert!(fault.detail.ends_with("no way"), "{fault}");
    }
}

#[tokio::test]
async fn the_environment_is_clean_and_there_is_no_shell() {
    let fault = command("env >&2; exit 1", LONG)
        .apply(Step::ShutdownGraceful)
        .await
        .expect_err("it failed");
    assert!(
        fault.detail.contains("LC_ALL=C") && !fault.detail.contains("CARGO"),
        "{fault}"
    );
    let host = Host::new(HostMethod::Command(HostCommands {
        shutdown: ["printf", "%s", "$(exit 1)"].map(str::to_owned).to_vec(),
        reboot: Vec::new(),
        timeout: LONG,
    }));
    host.apply(Step::ShutdownGraceful)
        .await
        .expect("printed as it is");
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    let host = command(&script, Duration::from_millis(500));
    let begun = Instant::now();
    let fault = host
        .apply(Step::ShutdownGraceful)
        .await
        .expect_err("killed");
    assert_eq!(
        (fault.kind, fault.effect),
        (FaultKind::Timeout, Effect::Possible)
    );
    // The script may have been killed before it wrote the number; then there is no child either.
    let Ok(pid) = std::fs::read_to_string(&file) else {
        return;
    };
    let stat = format!("/proc/{}/stat", pid.trim());
    loop {
        let state = std::fs::read_to_string(&stat).unwrap_or_default();
        // Gone, or dead and waiting for its parent.
        if state.is_empty() || state.contains(") Z ") {
            return;
        }
        assert!(begun.elapsed() < LONG, "the child survived: {state}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_flood_of_output_and_bytes_that_are_no_text_do_no_harm() {
    let script = "head -c 10000000 /dev/zero >&2; printf '\\377\\376' >&2; exit 75";
    let fault = command(script, LONG)
        .apply(Step::ShutdownGraceful)
        .await
        .expect_err("it failed");
    assert_eq!(fault.kind, FaultKind::Transient);
    assert!(fault.detail.len() < 1000);
}

#[tokio::test]
async fn a_child_left_in_the_background_does_not_hold_up_the_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("end");
    // The child keeps the output open until the test lets it go.
    let script = format!("mkfifo {0}; (read line < {0}) & exit 0", fifo.display());
    command(&script, LONG)
        .apply(Step::ShutdownGraceful)
        .await
        .expect("it ended");
    std::fs::write(&fifo, "go\n").expect("the child reads");
}

#[tokio::test]
async fn a_missing_program_and_a_missing_step_are_told_without_effect() {
    let host = Host::new(HostMethod::Command(HostCommands {
        shutdown: vec!["/no/such/program".to_owned()],
        reboot: Vec::new(),
        timeout: LONG,
    }));
    for (step, kind) in [
        (Step::ShutdownGraceful, FaultKind::InvalidConfig),
        (Step::Reboot, FaultKind::NotSupported),
        (Step::On, FaultKind::NotSupported),
        (Step::OffHard, FaultKind::NotSupported),
    ] {
        let fault = host.apply(step).await.expect_err("not possible");
        assert_eq!((fault.kind, fault.effect), (kind, Effect::None), "{step}");
    }
}

#[test]
fn systemctl_is_called_without_a_password_prompt() {
    assert_eq!(
        systemctl_argv(Verb::PowerOff),
        ["systemctl", "--no-ask-password", "poweroff"]
    );
    assert_eq!(
        systemctl_argv(Verb::Reboot),
        ["systemctl", "--no-ask-password", "reboot"]
    );
}
