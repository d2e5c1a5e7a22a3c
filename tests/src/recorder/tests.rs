use std::net::Ipv4Addr;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);
const ANY_PORT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), 0);
const NUC: Mac = Mac([0x1c, 0x69, 0x7a, 0x0b, 0x11, 0x02]);

fn packet(mac: Mac) -> Vec<u8> {
    [vec![0xff; 6], mac.0.repeat(16)].concat()
}

fn sender() -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_broadcast(true).unwrap();
    socket
}

fn packets_seen(records: &[Record]) -> Option<u32> {
    let Effect::MagicPacketTrain { packets, .. } = records.first()?.effect else {
        return None;
    };
    Some(packets)
}

#[tokio::test]
async fn broadcast_packets_become_one_train_for_their_machine() {
    let recorder = Recorder::in_memory();
    let keys = Keys {
        mac: Some(NUC),
        ..Keys::default()
    };
    recorder.add_machine("nuc1", keys);
    let address = recorder.sniff(ANY_PORT).unwrap();
    let socket = sender();
    for _ in 0..3 {
        socket.send_to(&packet(NUC), address).unwrap();
    }
    let three = |records: &[Record]| packets_seen(records).filter(|&packets| packets == 3);
    recorder.until(LIMIT, "three packets", three).await.unwrap();
    assert_eq!(recorder.trains("nuc1"), 1);
    assert_eq!(recorder.unasked_effects(Duration::ZERO).len(), 1);
}

#[tokio::test]
async fn every_listener_of_one_broadcast_address_hears_the_packet() {
    let (first, second) = (Recorder::in_memory(), Recorder::in_memory());
    let address = first.sniff(ANY_PORT).unwrap();
    second.sniff(address).unwrap();
    sender().send_to(&packet(NUC), address).unwrap();
    for recorder in [first, second] {
        recorder
            .until(LIMIT, "the packet", packets_seen)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn port_that_the_system_chooses_is_nobody_elses() {
    // Of so many, two had one port nearly each time, if ports that are shared already were given out again.
    let sockets: Vec<_> = (0..400).map(|_| shared_socket(ANY_PORT).unwrap()).collect();
    let ports: std::collections::BTreeSet<u16> =
        sockets.iter().map(|(_, bound)| bound.port()).collect();
    assert_eq!(ports.len(), sockets.len());
}

#[tokio::test]
async fn datagram_that_wakes_nobody_is_told_apart() {
    let recorder = Recorder::in_memory();
    let address = recorder.sniff(ANY_PORT).unwrap();
    sender().send_to(b"hello", address).unwrap();
    let stray = |records: &[Record]| {
        let Effect::StrayDatagram { bytes, .. } = records.first()?.effect else {
            return None;
        };
        Some(bytes)
    };
    let bytes = recorder.until(LIMIT, "the datagram", stray).await.unwrap();
    assert_eq!(bytes, 5);
    assert!(recorder.unasked_effects(Duration::ZERO).is_empty());
}

fn on(machine: &str, cause: OnCause) -> Effect {
    Effect::PowerOn {
        machine: machine.into(),
        cause,
    }
}

fn off(machine: &str, how: OffHow) -> Effect {
    Effect::PowerOff {
        machine: machine.into(),
        how,
    }
}

#[test]
fn only_told_changes_count_as_wakes_and_stops() {
    let recorder = Recorder::in_memory();
    let effects = [
        on("a", OnCause::Button),
        off("a", OffHow::SelfMade),
        on("a", OnCause::MagicPacket),
        on("b", OnCause::Bmc),
        off("a", OffHow::Graceful),
        off("b", OffHow::Hard),
        on("b", OnCause::Reboot),
    ];
    for effect in effects {
        recorder.record(effect);
    }
    assert_eq!((recorder.wakes("a"), recorder.wakes("b")), (1, 1));
    assert_eq!((recorder.stops("a"), recorder.stops("b")), (1, 1));
    let totals = recorder.totals();
    assert_eq!((totals.wakes, totals.stops), (2, 2));
    assert_eq!(totals.first_wake_ms, Some(recorder.records()[2].at_ms));
}

#[test]
fn resets_are_counted_by_machine_and_kind() {
    let recorder = Recorder::in_memory();
    let keys = Keys {
        bmc_system: Some("437XR1138R2".into()),
        ..Keys::default()
    };
    recorder.add_machine("r720", keys);
    for (system, reset) in [
        ("437XR1138R2", "On"),
        ("437XR1138R2", "ForceOff"),
        ("other", "On"),
    ] {
        recorder.record(Effect::BmcReset {
            system: system.into(),
            reset: reset.into(),
            status: 204,
        });
    }
    assert_eq!(recorder.resets("r720", "On"), 1);
    assert_eq!(recorder.resets("r720", "ForceOff"), 1);
    assert_eq!(recorder.resets("unknown", "On"), 0);
}

#[test]
fn file_holds_one_line_for_each_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("effects.jsonl");
    let recorder = Recorder::to_file(&path).unwrap();
    recorder.record(on("a", OnCause::Bmc));
    recorder.record(off("a", OffHow::Hard));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Record> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, recorder.records());
}
