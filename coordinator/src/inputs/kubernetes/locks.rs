//! Locks that others have put on our Nodes (not on core's): annotations, honoured until they go or stand unchanged for their own timeout.
//!
//! In: the annotations of a Node, the boot clock. Out: the fault because of which its machine is left alone, and until when.
//! Holds: no time in an annotation is compared with a clock: a lock counts as left behind once it has stood unchanged for its
//! timeout since this process first saw it so.
//! Not here: a lock of our own. What excludes two coordinators is the Lease, and what orders commands is the token.

use std::{collections::BTreeMap, time::Duration};

use super::declared::Key;
use crate::documents::Fault;

/// What is done under the lock; without it there is none.
const OPERATION: &str = "homelab-autoscaler.dev/operation-lock";
/// Who holds it.
const OWNER: &str = "homelab-autoscaler.dev/lock-owner";
/// Since when, for people.
const TIMESTAMP: &str = "homelab-autoscaler.dev/lock-timestamp";
/// For how long it counts if nobody renews it, whole seconds.
const TIMEOUT: &str = "homelab-autoscaler.dev/lock-timeout";
/// Marks that a holder may add; a change of any of them is a renewal.
const MORE: [&str; 3] = [
    "homelab-autoscaler.dev/lock-holder",
    "homelab-autoscaler.dev/lock-token",
    "homelab-autoscaler.dev/lock-op-id",
];
/// The timeout of a lock that says none, or none that can be read.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest text that is repeated from an annotation.
const LONGEST: usize = 128;

/// The locks on all Nodes.
#[derive(Debug, Default)]
pub(super) struct Locks {
    seen: BTreeMap<Key, Lock>,
    now_ms: u64,
}

#[derive(Debug)]
struct Lock {
    /// Everything that a holder may change.
    marks: BTreeMap<String, String>,
    first_seen_ms: u64,
}

impl Locks {
    /// It is so late now, milliseconds on the boot clock.
    pub(super) fn at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// A Node has these annotations. True where its lock is another than before.
    pub(super) fn see(&mut self, key: &Key, annotations: &BTreeMap<String, String>) -> bool {
        let is_lock = annotations.get(OPERATION).is_some_and(|op| !op.is_empty());
        if !is_lock {
            return self.forget(key);
        }
        let names = [OPERATION, OWNER, TIMESTAMP, TIMEOUT]
            .into_iter()
            .chain(MORE);
        let marks: BTreeMap<String, String> = names
            .filter_map(|name| Some((name.to_owned(), annotations.get(name)?.clone())))
            .collect();
        if self.seen.get(key).is_some_and(|lock| lock.marks == marks) {
            return false;
        }
        let lock = Lock {
            marks,
            first_seen_ms: self.now_ms,
        };
        self.seen.insert(key.clone(), lock);
        true
    }

    /// A Node is gone, or its lock. True where there was one.
    pub(super) fn forget(&mut self, key: &Key) -> bool {
        self.seen.remove(key).is_some()
    }

    /// Why a machine must be left alone now, if somebody holds it.
    pub(super) fn fault_of(&self, key: &Key) -> Option<Fault> {
        let lock = self.seen.get(key)?;
        (self.now_ms < lock.ends_ms()).then(|| lock.fault())
    }

    /// When the next lock that still counts ends by itself, milliseconds on the boot clock.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        let ends = self.seen.values().map(Lock::ends_ms);
        ends.filter(|end| *end > self.now_ms).min()
    }
}

impl Lock {
    fn timeout(&self) -> Duration {
        let said = self.marks.get(TIMEOUT);
        let seconds = said.and_then(|text| text.trim().parse().ok());
        seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs)
    }

    fn ends_ms(&self) -> u64 {
        let timeout_ms = u64::try_from(self.timeout().as_millis()).unwrap_or(u64::MAX);
        self.first_seen_ms.saturating_add(timeout_ms)
    }

    fn fault(&self) -> Fault {
        let told = |name: &str, otherwise: &str| {
            let text = self.marks.get(name).filter(|text| !text.is_empty());
            text.map_or(otherwise, String::as_str)
                .chars()
                .take(LONGEST)
                .collect::<String>()
        };
        Fault {
            reason: Fault::LOCKED,
            message: format!(
                "{} holds it for {} since {}; nothing is begun before the annotation {OPERATION} goes, or stands unchanged for {} s",
                told(OWNER, "somebody"),
                told(OPERATION, ""),
                told(TIMESTAMP, "some time"),
                self.timeout().as_secs(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("lab".to_owned(), "nuc1".to_owned())
    }

    fn annotations(more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let held = [
            (OPERATION, "power-state-change"),
            (OWNER, "backup-job"),
            (TIMESTAMP, "2026-11-21T10:00:00Z"),
            (TIMEOUT, "60"),
        ];
        let all = held.iter().chain(more);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_lock_says_who_holds_it_and_since_when() {
        let mut locks = Locks::default();
        assert!(locks.see(&key(), &annotations(&[])));
        let fault = locks.fault_of(&key()).expect("held").to_string();
        for word in [
            "Locked: ",
            "backup-job",
            "power-state-change",
            "2026-11-21T10:00:00Z",
        ] {
            assert!(fault.contains(word), "{fault}");
        }
        assert!(locks.see(&key(), &BTreeMap::new()));
        assert!(locks.fault_of(&key()).is_none());
    }

    #[test]
    fn it_ends_after_its_timeout_unchanged_on_our_own_clock_however_old_it_says_it_is() {
        let mut locks = Locks::default();
        locks.at(500_000);
        locks.see(&key(), &annotations(&[]));
        assert_eq!(locks.next_end_ms(), Some(560_000));
        locks.at(559_999);
        assert!(locks.fault_of(&key()).is_some());
        assert!(!locks.see(&key(), &annotations(&[])), "no renewal");
        locks.at(560_000);
        assert!(locks.fault_of(&key()).is_none());
        assert_eq!(locks.next_end_ms(), None);
        locks.see(
            &key(),
            &annotations(&[("homelab-autoscaler.dev/lock-token", "1.2")]),
        );
        assert_eq!(locks.next_end_ms(), Some(620_000), "renewed");
    }

    #[test]
    fn a_timeout_that_cannot_be_read_is_five_minutes() {
        for (text, expected) in [
            ("5", 5_000),
            ("5m", 300_000),
            ("-1", 300_000),
            ("", 300_000),
        ] {
            let mut locks = Locks::default();
            locks.see(&key(), &annotations(&[(TIMEOUT, text)]));
            assert_eq!(locks.next_end_ms(), Some(expected), "{text}");
        }
    }
}
