//! The real program: what it tells people and systemd, how it ends on SIGTERM, and what it does after it was killed.

mod agent;
mod broker;
mod door;
mod lab;
#[expect(dead_code, reason = "only the link's own tests stop a broker")]
#[path = "../../../proto/link/tests/broker/mosquitto.rs"]
mod mosquitto;
mod soak;

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use agent::{Agent, Folder, until};
use lab::Lab;
use proto_mqtt::report::{AgentState, ResultState, StatusReason};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;

const BOOT: &str = "0d8e0d2c-51a8-4b57-9f6f-3f1f4c5b6a70";

#[test]
fn a_stop_while_files_are_read_is_clean() {
    let folder = Folder::new("mqtt://127.0.0.1:1");
    let boot = folder.path("boot_id");
    std::fs::remove_file(&boot).expect("it was there");
    mknodat(CWD, &boot, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let mut agent = Agent::start(&folder);
    // Without a reader at the other end the pipe cannot be opened: once it can, the agent reads.
    let mut pipe = until("the agent reads its boot id", || {
        let mut options = OpenOptions::new();
        options.write(true);
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        options.open(&boot).ok()
    });
    agent.signal(Signal::TERM);
    writeln!(pipe, "{BOOT}").expect("the agent is still there");
    drop(pipe);
    assert_eq!(agent.end().code(), Some(0));
    assert!(agent.told_systemd().contains(&"STOPPING=1".to_owned()));
}

#[test]
fn a_stop_during_the_connection_is_clean_and_leaves_nothing_behind() {
    for scheme in ["mqtt", "mqtts"] {
        let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = silent.local_addr().expect("its address").port();
        let folder = Folder::new(&format!("{scheme}://127.0.0.1:{port}"));
        if scheme == "mqtts" {
            folder.write("ca.pem", &lab::authority());
        }
        silent.set_nonblocking(true).expect("settable");
        let mut agent = Agent::start(&folder);
        let accepted = until("the agent connects", || silent.accept().ok());
        agent.signal(Signal::TERM);
        assert_eq!(agent.end().code(), Some(0), "{scheme}");
        drop(accepted);
        let left: Vec<_> = std::fs::read_dir(folder.path("tmp"))
            .expect("its temporary folder")
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn systemd_hears_that_it_is_ready_alive_and_stopping() {
    let folder = Folder::new("mqtt://127.0.0.1:1");
    let mut agent = Agent::start(&folder);
    let mut told = vec![agent.hear(), agent.hear()];
    agent.signal(Signal::TERM);
    assert_eq!(agent.end().code(), Some(0));
    told.extend(agent.told_systemd());
    told.dedup();
    assert_eq!(told, ["READY=1", "WATCHDOG=1", "STOPPING=1"]);
}

#[test]
fn a_configuration_that_is_wrong_is_never_ready() {
    let folder = Folder::new("mqtt://127.0.0.1:1");
    folder.write("ca.pem", "an authority without TLS");
    let mut agent = Agent::start(&folder);
    assert_eq!(agent.end().code(), Some(64));
    assert!(agent.told_systemd().is_empty());
}

#[test]
fn a_check_names_the_network_card_that_is_not_there_and_what_is_away_is_another_exit_code() {
    let check = |relay: &str| {
        let folder = Folder::new("mqtt://127.0.0.1:1");
        let config = std::fs::read_to_string(folder.path("agent.toml")).expect("it was written");
        folder.write("agent.toml", &(config + relay));
        let output = Command::new(env!("CARGO_BIN_EXE_homelab-agent"))
            .arg("check")
            .arg("--config")
            .arg(folder.path("agent.toml"))
            .output()
            .expect("the agent starts");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        (output.status.code(), said)
    };
    let (code, said) = check("");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("FAIL broker      cannot reach broker mqtt://127.0.0.1:1"),
        "{said}"
    );
    let (code, said) = check("[relay]\ninterfaces = { home = \"no-such-card\" }\n");
    assert_eq!(code, Some(64), "{said}");
    let told = "FAIL segment     relay.interfaces.home = \"no-such-card\": must be a network card of this host; there are ";
    assert!(said.contains(told), "{said}");
}

/// The order is begun once and never again, whichever way the agent ended in the middle of it.
#[tokio::test]
async fn an_order_that_the_end_of_the_agent_interrupts_is_told_and_not_repeated() {
    for (signal, code, last_words) in [
        (Signal::TERM, Some(0), StatusReason::Op),
        (Signal::KILL, None, StatusReason::Lwt),
    ] {
        let mut lab = Lab::start().await;
        let mut agent = Agent::start(&lab.folder);
        let order = lab.order_power_off().await;
        assert_eq!(lab.result_of(&order).await.state, ResultState::Accepted);
        assert_eq!(lab.result_of(&order).await.state, ResultState::Running);
        until("the order begins", || lab.begun().first().cloned());
        agent.signal(signal);
        assert_eq!(agent.end().code(), code);
        assert_eq!(lab.status(AgentState::Offline).await.reason, last_words);

        let _agent = Agent::start(&lab.folder);
        assert_eq!(lab.status(AgentState::Online).await.hwm, order.token);
        assert_eq!(lab.result_of(&order).await.state, ResultState::Interrupted);
        // The coordinator did not hear it and asks once more, with a challenge of this process.
        lab.repeat(&order).await;
        assert_eq!(lab.result_of(&order).await.state, ResultState::Interrupted);
        assert_eq!(lab.begun().len(), 1);
    }
}
