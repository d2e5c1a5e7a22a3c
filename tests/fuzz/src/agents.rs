//! What comes over MQTT: topics, envelopes, commands, reports.

use std::fmt::Debug;

use coordinator::inputs::reports::parse;
use proto_mqtt::envelope::{Envelope, Purpose};
use proto_mqtt::key::{COORDINATOR_KID, Signer, TrustedKeys};
use proto_mqtt::report::{
    CoordinatorStatus, Health, Heartbeat, Inventory, LastResults, ResultBody, Status,
};
use proto_mqtt::{CommandBody, Payload, Topic};

/// Reads a payload; what was read is written and read alike.
fn decoded<P: Payload + Debug>(bytes: &[u8]) -> Option<P> {
    let payload = P::decode(bytes).ok()?;
    let again = payload.encode();
    let reread = P::decode(&again).expect("what is written can be read");
    assert_eq!(again, reread.encode(), "{payload:?}");
    Some(payload)
}

pub(crate) fn topics(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else {
        return;
    };
    if let Ok(topic) = text.parse::<Topic>() {
        assert_eq!(topic.to_string(), text);
    }
}

pub(crate) fn envelope(bytes: &[u8]) {
    let Some(envelope) = decoded::<Envelope>(bytes) else {
        return;
    };
    let key = Signer::from_seed(COORDINATOR_KID, &[7; 32]).public_key();
    let keys = TrustedKeys::only(COORDINATOR_KID, key);
    let opened = envelope.open(Purpose::Command, "hla/v1/a/nuc1/cmd", &keys);
    assert!(opened.is_err(), "nobody has signed this");
    let _ = proto_mqtt::command::CommandHead::of(envelope.unverified_body());
}

pub(crate) fn commands(bytes: &[u8]) {
    if let Some(body) = decoded::<CommandBody>(bytes) {
        let _ = body.unknown_crit();
    }
    if let Some(text) = super::text(bytes) {
        let _ = proto_mqtt::command::CommandHead::of(text);
    }
}

/// The first byte chooses the kind, as the topic does.
pub(crate) fn reports(bytes: &[u8]) {
    let Some((kind, payload)) = bytes.split_first() else {
        return;
    };
    let agent = coordinator_core::AgentId::new("nuc1");
    let agent = &agent;
    match kind {
        b'b' => {
            if let Some(heartbeat) = decoded::<Heartbeat>(payload) {
                let _ = parse::beat(agent, &heartbeat);
            }
        }
        b's' => {
            if let Some(status) = decoded::<Status>(payload) {
                let _ = parse::state(agent, &status);
                let _ = parse::high_water(agent, &status);
            }
        }
        b'i' => {
            if let Some(inventory) = decoded::<Inventory>(payload) {
                let _ = parse::info(agent, &inventory);
            }
        }
        b'r' => {
            if let Some(result) = decoded::<ResultBody>(payload) {
                let _ = parse::report(agent, &result, true);
                let _ = parse::report(agent, &result, false);
            }
        }
        b'h' => drop(decoded::<Health>(payload)),
        b'l' => drop(decoded::<LastResults>(payload)),
        _ => drop(decoded::<CoordinatorStatus>(payload)),
    }
}
