//! What people, BMCs and kernels write: documents, configuration, amounts, addresses, locks, requests, answers.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use coordinator::documents::{self, Place};
use coordinator::inputs::{kubernetes, standalone};
use coordinator_core::amount;
use coordinator_crds::lab::{self, Lab};
use coordinator_crds::{Quantity, Threshold, duration};
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
    let Some(text) = super::text(bytes) else {
        return;
    };
    match lab::read([("lab.yaml", text)]) {
        Ok(lab) => declared(&lab),
        Err(findings) => {
            assert!(!findings.is_empty(), "a refusal says why");
            for finding in findings {
                let line = finding.to_string();
                assert!(!line.is_empty());
            }
        }
    }
}

/// What a valid lab means to the core.
fn declared(lab: &Lab) {
    let judged = documents::judge(&lab.groups, &lab.nodes);
    for node in &lab.nodes {
        for place in [Place::Cluster, Place::Standalone] {
            let spec = documents::machine_spec(node, place, judged.values().next());
            assert_eq!(spec.id, documents::machine_id(node));
        }
    }
    for group in &lab.groups {
        let spec = documents::group_spec(group);
        let most = spec.max_size.unwrap_or(u32::MAX);
        assert!(spec.min_size <= most, "{} of at most {most}", spec.min_size);
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

pub(crate) fn netlink_replies(bytes: &[u8]) {
    let _ = hardware::nic::fuzz::reply(bytes);
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
    if serde_json::from_str::<Quantity>(text).is_ok() {
        // It stands in JSON, so as a text or as a number.
        quantity(text.trim().trim_matches('"'));
    }
    quantity(text);
}

/// Zeros that mean nothing change nothing, and a plain number counts as itself.
fn quantity(text: &str) {
    let billionths = amount(text);
    if let Ok(number) = text.parse::<u64>() {
        assert_eq!(billionths, u128::from(number) * 1_000_000_000, "{text:?}");
    }
    if billionths == 0 || text.starts_with('+') {
        return;
    }
    assert_eq!(amount(&format!("+{text}")), billionths, "{text:?}");
    assert_eq!(amount(&format!("0{text}")), billionths, "{text:?}");
    let suffix = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at(suffix.unwrap_or(text.len()));
    let point = if number.contains('.') { "" } else { "." };
    for zeros in ["0", "00000000000000000000000000000000000000000"] {
        let longer = format!("{number}{point}{zeros}{suffix}");
        assert_eq!(amount(&longer), billionths, "{text:?} as {longer:?}");
    }
}

/// Annotations as JSON, text by name.
pub(crate) fn lock_annotations(bytes: &[u8]) {
    let Ok(annotations) = serde_json::from_slice::<BTreeMap<String, String>>(bytes) else {
        return;
    };
    let now_ms = 1_000;
    if let Some(lock) = kubernetes::fuzz::lock(&annotations, now_ms) {
        assert!(lock.ends_ms > now_ms);
        // It becomes a condition's message, which the API server takes up to this length.
        assert!(lock.said.len() <= 32_768, "{}", lock.said.len());
    }
}

pub(crate) fn local_requests(bytes: &[u8]) {
    if let Some((node, wish)) = standalone::fuzz::ask(bytes) {
        assert!(wish.is_some(), "what is asked of {node:?} is never lost");
    }
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
