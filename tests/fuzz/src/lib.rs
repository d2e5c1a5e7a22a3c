//! Every decoder of what comes from outside, as a function that takes any bytes.
//! In: bytes. Out: nothing, or a panic where a decoder fails to hold what it promises.
//! Holds: none of them panics, hangs, or reads a value that it would write differently.
//! Not here: the fuzzer itself (`main.rs`, started by `cargo xtask fuzz`).

mod agents;
mod calls;
mod cluster;
mod stored;
mod texts;

/// A decoder and its name, which is also that of the folder with its inputs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 23] = [
    ("addresses", texts::addresses),
    ("agent-journal", stored::journal),
    ("agent-toml", texts::agent_toml),
    ("amounts", texts::amounts),
    ("autoscaler-flags", cluster::flags),
    ("autoscaler-messages", calls::messages),
    ("certificate", calls::certificate),
    ("certificate-pairs", stored::pairs),
    ("cluster-objects", cluster::objects),
    ("eviction-replies", cluster::evictions),
    ("grpc-timeout", calls::grpc_timeout),
    ("lab-yaml", texts::lab_yaml),
    ("local-requests", texts::local_requests),
    ("lock-annotations", texts::lock_annotations),
    ("mqtt-commands", agents::commands),
    ("mqtt-envelope", agents::envelope),
    ("mqtt-reports", agents::reports),
    ("mqtt-topics", agents::topics),
    ("netlink-replies", texts::netlink_replies),
    ("redfish-replies", texts::redfish_replies),
    ("resource-statuses", stored::statuses),
    ("stored-values", stored::values),
    ("user-agent", calls::user_agent),
];

/// The decoder of this name.
#[must_use]
pub fn target(name: &str) -> Option<fn(&[u8])> {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, run)| *run)
}

/// The text, if it is one: most decoders are only ever given text.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
