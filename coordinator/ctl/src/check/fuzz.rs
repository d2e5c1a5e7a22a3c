//! Decoders of this module for the fuzzer.

use k8s_openapi::api::core::v1::PodSpec;

use super::flags::{Flags, Said};

/// Some that the checks read.
const NAMES: [&str; 3] = ["cloud-provider", "cloud-config", "max-node-provision-time"];

/// How many of a cluster-autoscaler's flags are said in the specification of a pod; `None` where it has none in it.
///
/// # Panics
/// A flag says a number or a time and no text, or one that cannot be read is not named.
#[must_use]
pub fn flags(json: &[u8]) -> Option<usize> {
    let pod: PodSpec = serde_json::from_slice(json).ok()?;
    let flags = Flags::of(&pod)?;
    let said = NAMES.into_iter().filter(|name| {
        let text = flags.text(name);
        let number = flags.number(name);
        let duration = flags.duration(name);
        if let Said::Value(number) = number {
            assert!(number.is_finite(), "{number}");
        }
        let is_read = matches!(number, Said::Value(_)) || matches!(duration, Said::Value(_));
        assert!(!is_read || matches!(text, Said::Value(_)), "{text:?}");
        for told in [
            unreadable(&text),
            unreadable(&number),
            unreadable(&duration),
        ] {
            assert!(told.is_none_or(|told| told.starts_with(&format!("--{name}="))));
        }
        text != Said::Nothing
    });
    Some(said.count())
}

fn unreadable<T>(said: &Said<T>) -> Option<&str> {
    match said {
        Said::Unreadable(told) => Some(told),
        Said::Value(_) | Said::Nothing => None,
    }
}
