//! The bytes of every payload of version 1.
//! Holds: a released pin is never edited; new fields get a new pin beside the old one, and the old one still decodes.
#![cfg(test)]

#[path = "pins/samples.rs"]
mod samples;

use proto_mqtt::report::{
    CoordinatorStatus, Health, Heartbeat, HeartbeatState, Inventory, LastResults, MAX_CREDENTIALS,
    MAX_MARKS, Outcome, ResultBody, Status,
};
use proto_mqtt::{CommandBody, DecodeError, Order, Payload, Text, Token};
use std::fmt::Debug;

/// Compares a sample with its pin; with `UPDATE` set a missing pin is written, an existing one never is.
fn pin<T: Payload + PartialEq + Debug>(name: &str, sample: &T) {
    let path = format!("{}/tests/pins/v1/{name}.json", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() && !std::path::Path::new(&path).exists() {
        std::fs::write(&path, sample.encode_text() + "\n").expect("the folder of pins is writable");
    }
    let pin = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(sample.encode_text(), pin.trim_end(), "{name}");
    assert_eq!(T::decode(pin.as_bytes()).as_ref(), Ok(sample), "{name}");
}

#[test]
fn commands_are_their_pinned_bytes() {
    pin("cmd-power-off", &samples::power_off());
    pin("cmd-power-reboot", &samples::command(Order::PowerReboot));
    pin("cmd-wol", &samples::command(samples::wake()));
    pin("cmd-wol-least", &samples::command(samples::least_wake()));
    pin(
        "cmd-redfish-on",
        &samples::command(Order::RedfishOn(samples::bmc())),
    );
    pin("cmd-redfish-off", &samples::command(samples::force_off()));
    pin(
        "cmd-redfish-status",
        &samples::command(Order::RedfishStatus(samples::least_bmc())),
    );
    pin(
        "cmd-cancel",
        &samples::command(Order::Cancel { id: samples::id(1) }),
    );
    pin("cmd-barrier", &samples::command(Order::Barrier));
    pin("cmd-refresh", &samples::command(Order::Refresh));
}

#[test]
fn reports_are_their_pinned_bytes() {
    pin("status", &samples::status());
    pin("status-relay", &samples::relay_status());
    pin("hb", &samples::heartbeat());
    pin("health", &samples::health());
    pin("health-clock", &samples::health_with_clock());
    pin("inv", &samples::inventory());
    pin("inv-relay", &samples::relay_inventory());
    pin("res-accepted", &samples::accepted());
    pin("res-wol", &samples::woken());
    pin("res-redfish", &samples::bmc_read());
    pin("res-host", &samples::host_stopping());
    pin("res-refused", &samples::refused());
    pin(
        "last",
        &LastResults {
            v: proto_mqtt::version::V1,
            results: vec![samples::accepted(), samples::woken()],
        },
    );
    pin("c-status", &samples::coordinator_status());
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let heartbeat =
        samples::heartbeat()
            .encode_text()
            .replacen('{', r#"{"later":{"deep":[1]},"#, 1);
    assert_eq!(
        Heartbeat::decode(heartbeat.as_bytes()),
        Ok(samples::heartbeat())
    );
    let command = samples::power_off()
        .encode_text()
        .replacen('{', r#"{"later":1,"#, 1);
    assert_eq!(
        CommandBody::decode(command.as_bytes()),
        Ok(samples::power_off())
    );
}

#[test]
fn words_of_a_later_version_become_unknown() {
    let heartbeat = samples::heartbeat()
        .encode_text()
        .replace("\"busy\"", "\"dreaming\"");
    assert_eq!(
        Heartbeat::decode(heartbeat.as_bytes()).map(|hb| hb.st),
        Ok(HeartbeatState::Unknown)
    );
    let result = samples::woken()
        .encode_text()
        .replace("\"kind\":\"wol\"", "\"kind\":\"smoke\"");
    assert_eq!(
        ResultBody::decode(result.as_bytes()).map(|result| result.out),
        Ok(Some(Outcome::Unknown))
    );
    let command = samples::power_off()
        .encode_text()
        .replace("power.off", "power.nap");
    let order = Order::Unknown {
        verb: Text::from("power.nap"),
    };
    assert_eq!(
        CommandBody::decode(command.as_bytes()).map(|body| body.order),
        Ok(order)
    );
}

#[test]
fn a_critical_field_that_is_not_known_is_named() {
    let mut body = samples::power_off();
    assert_eq!(body.unknown_crit(), None);
    body.crit = vec![Text::from("token"), Text::from("moon_phase")];
    let body = CommandBody::decode(&body.encode()).expect("crit does not stop decoding");
    assert_eq!(body.unknown_crit(), Some("moon_phase"));
}

#[test]
fn another_major_version_is_named() {
    let heartbeat = samples::heartbeat()
        .encode_text()
        .replace("\"v\":1", "\"v\":2");
    assert_eq!(
        Heartbeat::decode(heartbeat.as_bytes()),
        Err(DecodeError::Version { version: 2 })
    );
}

#[test]
fn values_out_of_bounds_are_refused() {
    let off = samples::power_off().encode_text();
    let wake = samples::command(samples::wake()).encode_text();
    let cases = [
        (&off, "\"ttl_ms\":30000", "\"ttl_ms\":30001"),
        (&off, "\"ttl_ms\":30000", "\"ttl_ms\":0"),
        (&off, "\"ttl_ms\":30000", "\"ttl_ms\":-1"),
        (&off, "\"delay_ms\":5000", "\"delay_ms\":120001"),
        (&off, "\"aud\":\"nas-01\"", "\"aud\":\"nas/01\""),
        (&off, "\"chal\":\"AAEC", "\"chal\":\"AAE"),
        (&off, "\"id\":\"01", "\"id\":\"91"),
        (&wake, "\"ports\":[9,7]", "\"ports\":[]"),
        (&wake, "\"ports\":[9,7]", "\"ports\":[1,2,3,4,5]"),
        (&wake, "\"ports\":[9,7]", "\"ports\":[0]"),
        (&wake, "\"ports\":[9,7]", "\"ports\":[65536]"),
        (&wake, "\"repeat\":3", "\"repeat\":0"),
        (&wake, "\"repeat\":3", "\"repeat\":11"),
        (&wake, "\"spacing_ms\":100", "\"spacing_ms\":1001"),
        (&wake, "1c:69:7a:0b:11:02", "1c:69:7a:0b:11:0g"),
    ];
    for (text, from, to) in cases {
        assert!(text.contains(from), "{from} stands in {text}");
        let broken = text.replacen(from, to, 1);
        assert!(CommandBody::decode(broken.as_bytes()).is_err(), "{to}");
    }
    let long = samples::power_off()
        .encode_text()
        .replace("scale down", &"x".repeat(257));
    assert!(CommandBody::decode(long.as_bytes()).is_err());
}

#[test]
fn the_fullest_reports_of_a_relay_stay_within_the_limit() {
    let highest = Token {
        epoch: u32::MAX,
        seq: u64::MAX,
    };
    let name = |index: usize| format!("{index:063}");
    let status = Status {
        marks: (0..MAX_MARKS)
            .map(|index| (name(index).parse().expect("a name"), highest))
            .collect(),
        hwm: highest,
        ..samples::status()
    };
    let status = status.encode().len();
    assert!(status <= proto_mqtt::MAX_PAYLOAD_BYTES, "{status}");
    let mut inventory = Inventory {
        credentials: Some(
            (0..MAX_CREDENTIALS)
                .map(|index| Text::from(name(index).as_str()))
                .collect(),
        ),
        ..samples::inventory()
    };
    let card = inventory.nics[0].clone();
    inventory.nics = vec![card; 32];
    let inventory = inventory.encode().len();
    assert!(inventory <= proto_mqtt::MAX_PAYLOAD_BYTES, "{inventory}");
}

#[test]
fn payloads_beyond_the_limit_are_refused_unread() {
    let bytes = vec![b' '; proto_mqtt::MAX_PAYLOAD_BYTES + 1];
    assert_eq!(
        Status::decode(&bytes),
        Err(DecodeError::TooLarge { bytes: bytes.len() })
    );
}

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(bytes: &[u8]) {
        let _ = CommandBody::decode(bytes);
        let _ = Status::decode(bytes);
        let _ = Heartbeat::decode(bytes);
        let _ = Health::decode(bytes);
        let _ = Inventory::decode(bytes);
        let _ = ResultBody::decode(bytes);
        let _ = LastResults::decode(bytes);
        let _ = CoordinatorStatus::decode(bytes);
    }

    proptest! {
        #[test]
        fn no_decoder_panics_on_any_bytes(bytes: Vec<u8>) {
            decode_all(&bytes);
        }

        #[test]
        fn no_decoder_panics_on_damaged_payloads(which in 0usize..5, at: prop::sample::Index, byte: u8) {
            let mut bytes = match which {
                0 => samples::power_off().encode(),
                1 => samples::command(samples::wake()).encode(),
                2 => samples::inventory().encode(),
                3 => samples::health().encode(),
                _ => samples::woken().encode(),
            };
            let at = at.index(bytes.len());
            bytes[at] = byte;
            decode_all(&bytes);
            decode_all(&bytes[..at]);
        }

        #[test]
        fn nesting_does_not_exhaust_the_stack(depth in 0usize..4000) {
            decode_all(format!("{{\"v\":1,\"args\":{}", "[".repeat(depth)).as_bytes());
        }

        #[test]
        fn any_text_of_an_actor_survives(text in "(user:)?[ -~]{0,63}") {
            let body = CommandBody { actor: text.parse().expect("short"), ..samples::power_off() };
            let read = CommandBody::decode(&body.encode()).expect("its own bytes");
            prop_assert_eq!(read.actor.to_string(), text);
        }
    }
}
