//! Decoders of this module for the fuzzer.

use std::collections::BTreeMap;

use super::locks::Locks;

/// A lock in the annotations of a Node.
#[derive(Debug)]
pub struct Lock {
    /// What is said of the machine while it stands.
    pub said: String,
    /// When it ends by itself, milliseconds on the boot clock.
    pub ends_ms: u64,
}

/// The lock of a Node that is first seen so late, in milliseconds on the boot clock; `None` where it has none that counts.
///
/// # Panics
/// Annotations that have not changed count as a renewal, or a lock does not end when it says.
#[must_use]
pub fn lock(annotations: &BTreeMap<String, String>, now_ms: u64) -> Option<Lock> {
    let node = ("lab".to_owned(), "nuc1".to_owned());
    let mut locks = Locks::default();
    locks.at(now_ms);
    locks.see(&node, annotations);
    assert!(!locks.see(&node, annotations), "they are the same");
    let held = locks.fault_of(&node);
    let end = locks.next_end_ms();
    assert_eq!(
        held.is_some(),
        end.is_some(),
        "a lock that counts has an end"
    );
    let lock = Lock {
        said: held?.to_string(),
        ends_ms: end?,
    };
    locks.at(lock.ends_ms);
    assert!(locks.fault_of(&node).is_none(), "it has ended");
    Some(lock)
}
