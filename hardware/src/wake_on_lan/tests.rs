//! Packets byte by byte, where they go, and what really arrives on loopback.

use std::io::Write;
use std::net::UdpSocket;

use super::*;
use crate::fault::Effect;

const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

fn mac() -> MacAddress {
    "1c:69:7a:0b:11:02".parse().expect("an address")
}

/// A socket that hears broadcasts to the loopback network.
fn listener() -> UdpSocket {
    let socket = UdpSocket::bind((LOOPBACK_BROADCAST, 0)).expect("a loopback port");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    socket
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("bound").port()
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("a packet arrives");
    buffer[..length].to_vec()
}

fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).expect("settable");
    socket.recv(&mut [0; 256]).is_err()
}

#[test]
fn packets_have_these_bytes_and_no_others() {
    let plain = magic_packet(mac(), None);
    assert_eq!(plain.len(), 102);
    assert_eq!(plain[..6], [0xff; 6]);
    assert!(
        plain[6..]
            .chunks(6)
            .all(|chunk| chunk == [0x1c, 0x69, 0x7a, 0x0b, 0x11, 0x02])
    );

    let four = magic_packet(mac(), Some(&"192.168.1.7".parse().expect("four bytes")));
    assert_eq!(
        (four.len(), &four[..102], &four[102..]),
        (106, &plain[..], &[192, 168, 1, 7][..])
    );
    let six = magic_packet(
        mac(),
        Some(&"00-ff-00-01-02-03".parse().expect("six bytes")),
    );
    assert_eq!(
        (six.len(), &six[..102], &six[102..]),
        (108, &plain[..], &[0, 255, 0, 1, 2, 3][..])
    );
}

#[test]
fn a_password_of_another_length_is_refused_and_none_is_shown() {
    for text in [
        "",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "aa:bb:cc:dd:ee",
        "secret",
        "aa:bb-cc:dd:ee:ff",
    ] {
        assert_eq!(text.parse::<SecureOn>(), Err(SecureOnFault), "{text:?}");
    }
    for four in ["01:02:03:04", "01-02-03-04", "1.2.3.4"] {
        assert_eq!(four.parse(), "1.2.3.4".parse::<SecureOn>(), "{four}");
        assert!(four.parse::<SecureOn>().is_ok(), "{four}");
    }
    let password: SecureOn = "11:22:33:44:55:66".parse().expect("six bytes");
    assert_eq!(format!("{password:?}"), "SecureOn(6 bytes, redacted)");
}

#[tokio::test]
async fn a_train_reaches_each_port_the_given_number_of_times_and_says_so() {
    let (first, second) = (listener(), listener());
    let options = WakeOptions {
        broadcast: Some(LOOPBACK_BROADCAST),
        ports: vec![port(&first), port(&second)],
        secure_on: Some("1.2.3.4".parse().expect("four bytes")),
        spacing: Duration::from_millis(1),
        ..WakeOptions::default()
    };
    let wake = WakeOnLan::new(mac(), options.clone());
    let applied = wake.apply(Step::On).await.expect("sent");
    let expected = format!(
        "3 magic packets for 1c:69:7a:0b:11:02 left to 127.255.255.255, ports {},{}",
        port(&first),
        port(&second)
    );
    assert_eq!(applied, Applied::Sent { detail: expected });
    for socket in [&first, &second] {
        for _ in 0..3 {
            assert_eq!(
                receive(socket),
                magic_packet(mac(), options.secure_on.as_ref())
            );
        }
        assert!(is_silent(socket));
    }
}

#[tokio::test]
async fn a_card_can_be_named_and_is_told() {
    let heard = listener();
    let options = WakeOptions {
        interface: Some("lo".to_owned()),
        broadcast: Some(LOOPBACK_BROADCAST),
        ports: vec![port(&heard)],
        packets: 1,
        ..WakeOptions::default()
    };
    let sent = WakeOnLan::new(mac(), options).wake().await.expect("sent");
    assert_eq!(sent.sends.len(), 1);
    assert_eq!(sent.sends[0].interface.as_deref(), Some("lo"));
    assert_eq!((sent.sends[0].packets, &sent.sends[0].fault), (1, &None));
    assert_eq!(receive(&heard), magic_packet(mac(), None));
}

#[test]
fn a_given_broadcast_suppresses_the_limited_one() {
    let card = Card {
        name: "eth0".to_owned(),
        link: Link::Up,
        footing: Footing::Device,
        broadcasts: vec![
            Ipv4Addr::new(192, 168, 1, 255),
            Ipv4Addr::new(10, 0, 255, 255),
        ],
    };
    let to = |broadcast| -> Vec<String> {
        let routes = routes_of(&card, broadcast);
        assert!(
            routes
                .iter()
                .all(|route| route.interface.as_deref() == Some("eth0"))
        );
        routes
            .iter()
            .map(|route| route.destination.to_string())
            .collect()
    };
    assert_eq!(
        to(None),
        ["192.168.1.255", "10.0.255.255", "255.255.255.255"]
    );
    assert_eq!(to(Some(Ipv4Addr::new(192, 168, 1, 255))), ["192.168.1.255"]);
}

#[test]
fn the_report_names_card_destinations_ports_and_failures() {
    let send = |interface: &str, last, port, packets: u32| PacketsSent {
        interface: Some(interface.to_owned()),
        link: if interface == "eth0" {
            Link::Up
        } else {
            Link::NoCarrier
        },
        destination: Ipv4Addr::new(192, 168, 1, last),
        port,
        packets,
        fault: (packets == 0).then(|| io::Error::from_raw_os_error(101).into()),
    };
    let sent = WakeSent {
        target: mac(),
        sends: vec![
            send("eth0", 255, 9, 3),
            send("eth0", 255, 7, 3),
            send("eth0", 127, 9, 3),
            send("eth0", 127, 7, 3),
            send("eth1", 63, 9, 0),
        ],
    };
    assert_eq!(
        sent.to_string(),
        "3 magic packets for 1c:69:7a:0b:11:02 left eth0 to 192.168.1.255 and 192.168.1.127, ports 9,7; \
         eth1 (no carrier) to 192.168.1.63, ports 9 (failed to 192.168.1.63:9: Network is unreachable (os error 101))"
    );
}

#[test]
fn packets_that_go_nowhere_are_a_fault_that_tells_what_the_kernel_knows() {
    let sender = |name: &str, link| {
        let route = Route {
            interface: Some(name.to_owned()),
            link,
            destination: LOOPBACK_BROADCAST,
        };
        let mut sender = Sender::open(route, &[9]);
        sender.sends[0].packets = 3;
        sender.sends[0].fault = None;
        sender
    };
    let wake = WakeOnLan::new(mac(), WakeOptions::default());
    let dead = || vec![sender("eth0", Link::NoCarrier), sender("eth1", Link::Down)];
    let fault = wake.outcome(dead()).expect_err("nothing left");
    assert_eq!(
        (fault.kind, fault.effect),
        (FaultKind::Unreachable, Effect::None)
    );
    assert_eq!(
        fault.detail,
        "no magic packet for 1c:69:7a:0b:11:02 left: eth0 (no carrier) to 127.255.255.255, ports 9; \
         eth1 (down) to 127.255.255.255, ports 9"
    );
    let mut one_of_three = dead();
    one_of_three.push(sender("eth2", Link::Up));
    let sent = wake.outcome(one_of_three).expect("one card carried them");
    assert_eq!(sent.left(), 3);
}

#[test]
fn a_link_that_comes_up_during_the_train_counts() {
    let route = Route {
        interface: Some("lo".to_owned()),
        link: Link::NoCarrier,
        destination: LOOPBACK_BROADCAST,
    };
    let mut sender = Sender::open(route, &[9]);
    sender.look_again(Path::new(NETWORK_CARDS));
    assert_eq!(sender.sends[0].link, Link::Up);
}

#[tokio::test]
async fn what_cannot_be_sent_is_a_fault_without_effect() {
    let with = |change: fn(&mut WakeOptions)| {
        let mut options = WakeOptions::default();
        change(&mut options);
        WakeOnLan::new(mac(), options)
    };
    for wake in [
        with(|options| options.ports.clear()),
        with(|options| options.ports = vec![0]),
        with(|options| options.packets = 0),
        with(|options| options.interface = Some("no-such-card".to_owned())),
    ] {
        let fault = wake.wake().await.expect_err("not sendable");
        assert_eq!(
            (fault.kind, fault.effect),
            (FaultKind::InvalidConfig, Effect::None)
        );
    }
    for (errno, kind) in [(101, FaultKind::Unreachable), (13, FaultKind::Denied)] {
        let mut sender = Sender::open(
            Route::unbound(Path::new(NETWORK_CARDS), LOOPBACK_BROADCAST),
            &[9],
        );
        sender.sends[0].fault = Some(io::Error::from_raw_os_error(errno).into());
        let fault = with(|_| {})
            .outcome(vec![sender])
            .expect_err("no packet left");
        assert_eq!((fault.kind, fault.effect), (kind, Effect::None));
    }
}

#[tokio::test]
async fn other_steps_are_not_supported() {
    for step in [Step::ShutdownGraceful, Step::OffHard, Step::Reboot] {
        let fault = WakeOnLan::new(mac(), WakeOptions::default())
            .apply(step)
            .await
            .expect_err("Wake-on-LAN only wakes");
        assert_eq!(fault.kind, FaultKind::NotSupported);
    }
}

/// wol-rs, which shares no code with this driver, is the witness. It can only send to port 9.
#[test]
fn another_implementation_sends_the_same_bytes() {
    // An address of its own, so that no other process is disturbed.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 9, high, low.clamp(1, 254));
    let heard = match UdpSocket::bind((own, 9)) {
        Ok(socket) => socket,
        Err(fault) => {
            // Written past the test runner, which hides what a passing test prints.
            let _ = writeln!(
                io::stderr(),
                "not compared with wol-rs: port 9 cannot be opened here ({fault})"
            );
            return;
        }
    };
    heard
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    wol::send_wol(wol::MacAddr(mac().octets()), Some(own.into()), None).expect("sent");
    assert_eq!(receive(&heard), magic_packet(mac(), None));
}
