//! What people and BMCs write: documents, configuration, amounts, addresses, answers.

use std::fmt::Display;
use std::str::FromStr;

use coordinator_crds::{Quantity, Threshold, duration, lab};
use hardware::MacAddress;
use hardware::redfish::{BmcAddress, Fingerprint};
use hardware::wake_on_lan::SecureOn;
use proto_link::BrokerUrl;
use proto_mqtt::key::PublicKey;
use proto_mqtt::{Challenge, Mac, Ulid};

/// Reads a text; what was read is written and read alike.
fn reread<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        let Ok(again) = written.parse::<T>() else {
            panic!("{text:?} is read, and its own form {written:?} is not");
        };
        assert_eq!(again.to_string(), written, "{text:?}");
    }
}

pub(crate) fn lab_yaml(bytes: &[u8]) {
    if let Some(text) = super::text(bytes)
        && let Err(findings) = lab::read([("lab.yaml", text)])
    {
        assert!(!findings.is_empty(), "a refusal says why");
        for finding in findings {
            let line = finding.to_string();
            assert!(!line.is_empty());
        }
    }
}

pub(crate) fn agent_toml(bytes: &[u8]) {
    if let Some(text) = super::text(bytes)
        && let Err(said) = agent::fuzz::configuration(text)
    {
        assert!(!said.is_empty(), "a refusal says why");
    }
}

pub(crate) fn redfish_replies(bytes: &[u8]) {
    hardware::redfish::fuzz::reply(bytes);
    if let Some(text) = super::text(bytes) {
        hardware::redfish::fuzz::retry_after(text);
    }
}

pub(crate) fn amounts(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else {
        return;
    };
    if let Ok(time) = duration::parse(text) {
        let written = duration::text(time);
        assert_eq!(
            duration::parse(&written),
            Ok(time),
            "{text:?} as {written:?}"
        );
    }
    if let Ok(threshold) = Threshold::parse(text) {
        let fraction = threshold.fraction();
        assert!((0.0..=1.0).contains(&fraction), "{text:?} is {fraction}");
    }
    let _ = serde_json::from_str::<Quantity>(text);
}

pub(crate) fn addresses(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else {
        return;
    };
    reread::<BrokerUrl>(text);
    reread::<BmcAddress>(text);
    reread::<Fingerprint>(text);
    reread::<MacAddress>(text);
    reread::<Mac>(text);
    reread::<Ulid>(text);
    reread::<PublicKey>(text);
    let _ = text.parse::<Challenge>();
    let _ = text.parse::<SecureOn>();
}
