//! What leaves for an agent: opened again with the coordinator's public key, field by field.

use coordinator_core::{MachineId, Token as CoreToken};
use proto_mqtt::key::{COORDINATOR_KID, TrustedKeys};
use proto_mqtt::{Mac, Payload};

use super::*;

const TOPIC: &str = "hla/v1/a/pi/cmd";

fn key() -> CoordinatorKey {
    CoordinatorKey::from_bytes(&[7; 32]).unwrap()
}

fn command(verb: Verb) -> Command {
    Command {
        id: "01JD0000000000000000000000".into(),
        operation: "01JD0000000000000000000001".into(),
        agent: AgentId::new("pi"),
        target: MachineId::new("nuc1"),
        token: CoreToken { epoch: 3, seq: 42 },
        challenge: "AAECAwQFBgcICQoLDA0ODw".into(),
        boot_id: None,
        verb,
        actor: "cluster-autoscaler IncreaseSize(1)".into(),
        reason: "a pod waits".into(),
    }
}

fn wake() -> WakeOnLan {
    WakeOnLan {
        mac: "1c:69:7a:0b:11:02".into(),
        segment: "default".into(),
        ports: vec![9, 7],
        broadcast: Some("192.168.1.255".into()),
        secure_on: Some("01:02:03:04:05:06".into()),
    }
}

fn redfish() -> Redfish {
    Redfish {
        address: "https://10.0.9.20".into(),
        credentials: "r720".into(),
        system: Some("1".into()),
        fingerprint: Some("sha256:9f2c".into()),
        ca: None,
    }
}

fn opened(command: &Command) -> (Message, CommandBody) {
    let key = key();
    let message = message(command, &key, Duration::from_secs(3600)).unwrap();
    let envelope = Envelope::decode(&message.payload).unwrap();
    let trusted = TrustedKeys::only(COORDINATOR_KID, key.public());
    let body = envelope.open(Purpose::Command, TOPIC, &trusted).unwrap();
    let body = CommandBody::decode(body.as_bytes()).unwrap();
    (message, body)
}

#[test]
fn a_command_is_signed_for_its_topic_expires_and_is_never_retained() {
    let (message, body) = opened(&command(Verb::Wake(wake())));
    assert_eq!(message.topic, TOPIC);
    assert_eq!((message.qos, message.retain), (Qos::AtLeastOnce, false));
    assert_eq!(message.expiry, Some(Duration::from_secs(30)));
    assert_eq!(body.id.to_string(), "01JD0000000000000000000000");
    assert_eq!(body.op.to_string(), "01JD0000000000000000000001");
    assert_eq!((body.aud.as_str(), body.target.as_str()), ("pi", "nuc1"));
    assert_eq!(body.token, Token { epoch: 3, seq: 42 });
    assert_eq!(body.chal.to_string(), "AAECAwQFBgcICQoLDA0ODw");
    assert_eq!((body.ttl_ms, body.delay_ms), (30_000, 0));
    assert_eq!(
        (body.actor, body.reason.as_str()),
        (Actor::Autoscaler, "a pod waits")
    );
    assert_eq!(
        body.order,
        Order::Wake(WakeOrder {
            mac: Mac([0x1c, 0x69, 0x7a, 0x0b, 0x11, 0x02]),
            segment: "default".into(),
            ports: vec![9, 7],
            broadcast: Some([192, 168, 1, 255].into()),
            secureon: Some("01:02:03:04:05:06".into()),
            repeat: 3,
            spacing_ms: 100,
        })
    );
}

#[test]
fn every_verb_has_its_order_and_its_word() {
    let bmc = BmcOrder {
        address: "https://10.0.9.20".into(),
        system: Some("1".into()),
        credentials: "r720".into(),
        fingerprint: Some("sha256:9f2c".into()),
        ca: None,
    };
    let off = |mode| Order::RedfishOff {
        bmc: bmc.clone(),
        mode,
    };
    for (verb, order, name) in [
        (Verb::PowerOff, Order::PowerOff, "power.off"),
        (
            Verb::RedfishOn(redfish()),
            Order::RedfishOn(bmc.clone()),
            "redfish.on",
        ),
        (
            Verb::RedfishStop(redfish()),
            off(OffMode::Graceful),
            "redfish.off",
        ),
        (
            Verb::RedfishForceOff(redfish()),
            off(OffMode::Force),
            "redfish.off",
        ),
        (
            Verb::RedfishStatus(redfish()),
            Order::RedfishStatus(bmc.clone()),
            "redfish.status",
        ),
    ] {
        assert_eq!(word(&verb), name);
        let (_, body) = opened(&command(verb));
        assert_eq!(body.order, order);
        assert_eq!(body.order.word(), name);
    }
}

#[test]
fn an_agent_is_told_to_stop_its_own_host_by_its_own_id() {
    let (_, body) = opened(&command(Verb::PowerOff));
    assert_eq!((body.aud.as_str(), body.target.as_str()), ("pi", "pi"));
    for verb in [Verb::Wake(wake()), Verb::RedfishStop(redfish())] {
        let (_, body) = opened(&command(verb));
        assert_eq!((body.aud.as_str(), body.target.as_str()), ("pi", "nuc1"));
    }
}

#[test]
fn the_longest_declaration_fits_into_a_command() {
    let long = |length: usize| "x".repeat(length);
    let bmc = Redfish {
        address: long(255),
        credentials: long(63),
        system: Some(long(128)),
        fingerprint: Some(long(102)),
        ca: Some(long(63)),
    };
    let train = WakeOnLan {
        segment: long(63),
        ports: vec![1, 2, 3, 65_535],
        ..wake()
    };
    for verb in [Verb::RedfishStop(bmc), Verb::Wake(train)] {
        let (message, _) = opened(&Command {
            actor: format!("user {}", long(63)),
            reason: long(300),
            target: MachineId::new(&long(63)),
            ..command(verb)
        });
        assert!(message.payload.len() <= proto_mqtt::MAX_PAYLOAD_BYTES / 2);
    }
}

#[test]
fn a_password_is_not_shown_whatever_is_logged() {
    let command = command(Verb::Wake(wake()));
    let (_, body) = opened(&command);
    for shown in [format!("{command:?}"), format!("{body:?}")] {
        assert!(!shown.contains("01:02:03"), "{shown}");
    }
}

#[test]
fn a_stop_names_the_boot_it_is_meant_for() {
    let stop = Command {
        boot_id: Some("7bbd3f2e-6f0e-4a1a-8d3e-3a1f7f6f4a11".into()),
        ..command(Verb::PowerOff)
    };
    let (_, body) = opened(&stop);
    assert_eq!(body.boot.map(|boot| boot.to_string()), stop.boot_id);
}

#[test]
fn whoever_asked_is_told_in_the_protocols_words() {
    for (by, wire) in [
        ("cluster-autoscaler IncreaseSize(3)", Actor::Autoscaler),
        ("user ann", Actor::User("ann".into())),
        ("user:bob", Actor::User("bob".into())),
        ("minSize", Actor::System),
        ("", Actor::System),
    ] {
        assert_eq!(actor(by), wire, "{by}");
    }
}

#[test]
fn what_cannot_be_said_is_refused_by_its_field_and_never_shortened() {
    let long = "x".repeat(300);
    let bad_mac = WakeOnLan {
        mac: "1c:69".into(),
        ..wake()
    };
    let bad_broadcast = WakeOnLan {
        broadcast: Some("everywhere".into()),
        ..wake()
    };
    let bad_password = WakeOnLan {
        secure_on: Some("secret-that-is-too-long".into()),
        ..wake()
    };
    let bad_address = Redfish {
        address: long,
        ..redfish()
    };
    for (command, field) in [
        (command(Verb::Wake(bad_mac)), "mac"),
        (command(Verb::Wake(bad_broadcast)), "broadcast"),
        (command(Verb::Wake(bad_password)), "secureOn"),
        (command(Verb::RedfishOn(bad_address)), "address"),
        (
            Command {
                challenge: "old".into(),
                ..command(Verb::PowerOff)
            },
            "challenge",
        ),
        (
            Command {
                id: "1".into(),
                ..command(Verb::PowerOff)
            },
            "id",
        ),
        (
            Command {
                agent: AgentId::new("a/b"),
                ..command(Verb::PowerOff)
            },
            "agent",
        ),
    ] {
        let fault = message(&command, &key(), Duration::from_secs(9)).unwrap_err();
        assert_eq!(fault.field, field);
        assert!(!fault.to_string().contains("secret"), "{fault}");
    }
}

#[test]
fn a_ping_is_small_short_lived_and_unacknowledged() {
    let message = ping(&AgentId::new("pi")).unwrap();
    assert_eq!(message.topic, "hla/v1/a/pi/ping");
    assert_eq!(&message.payload[..], b"{}");
    assert_eq!((message.qos, message.retain), (Qos::AtMostOnce, false));
    assert_eq!(message.expiry, Some(Duration::from_secs(5)));
}

#[test]
fn a_command_expires_with_the_mandate_of_its_sender() {
    let expiry = |left| {
        let left = Duration::from_secs(left);
        let message = message(&command(Verb::PowerOff), &key(), left).unwrap();
        message.expiry.unwrap().as_secs()
    };
    assert_eq!([expiry(4), expiry(3600)], [4, 30]);
}
