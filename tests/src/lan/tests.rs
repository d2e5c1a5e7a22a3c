//! Namespaces, cables, listeners and doors against the kernel.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;

use anyhow::bail;

use super::*;

#[test]
fn program_runs_among_the_cards_of_its_host_only() {
    if !may_run("program_runs_among_the_cards_of_its_host_only") {
        return;
    }
    let host = Host::new("alone").unwrap();
    let output = host.command("ls").arg("/sys/class/net").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "lo");
}

#[tokio::test]
async fn cable_joins_and_parts_a_card_and_its_segment() {
    if !may_run("cable_joins_and_parts_a_card_and_its_segment") {
        return;
    }
    let segment = Segment::new("segment").unwrap();
    let host = Host::new("host").unwrap();
    let mac = Mac([0x52, 0x54, 0, 0, 0, 9]);
    let card = Card {
        name: "eth0",
        address: "10.77.0.9/24",
        mac: Some(mac),
    };
    let cable = host.plug(card, &segment).await.unwrap();
    let shown = host.ip(&["addr", "show", "eth0"]).unwrap();
    for part in [&mac.to_string(), "10.77.0.9/24 brd 10.77.0.255", "LOWER_UP"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    cable.pull().unwrap();
    let shown = host.ip(&["link", "show", "eth0"]).unwrap();
    assert!(shown.contains("NO-CARRIER"), "{shown}");
    cable.replug().await.unwrap();
    let shown = host.ip(&["link", "show", "eth0"]).unwrap();
    assert!(!shown.contains("NO-CARRIER"), "{shown}");
}

#[test]
fn listener_refuses_a_card_that_is_not_alone() {
    // Whatever this process has, it has no card of this name.
    let error = listen::listen("no-such-card", &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("no-such-card"), "{error}");
}

#[test]
fn what_enters_a_door_comes_out_at_the_port_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("door");
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: SocketAddr = port.local_addr().unwrap();
    std::thread::spawn({
        let path = path.clone();
        move || door::forward(&path, address)
    });
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = port.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        stream.write_all(text.to_uppercase().as_bytes()).unwrap();
    });
    let mut near = connect(&path).unwrap();
    near.write_all(b"hello").unwrap();
    near.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    near.read_to_string(&mut answer).unwrap();
    echo.join().unwrap();
    assert_eq!(answer, "HELLO");
}

/// The thread behind the door may not listen yet.
fn connect(path: &std::path::Path) -> Result<UnixStream> {
    let deadline = std::time::Instant::now() + LINK;
    while std::time::Instant::now() < deadline {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(_) => std::thread::yield_now(),
        }
    }
    bail!("{} does not open", path.display())
}
