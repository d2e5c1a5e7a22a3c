//! The rounds of the cluster-autoscaler's loop, told apart by its Refresh calls.
//! In: the moment of each Refresh. Out: the moment after which the Nodes that it asks about were listed.
//! Holds: it lists Nodes at the start of a round and refreshes after that (`RunOnce` in `core/static_autoscaler.go`, 1.30 to 1.36), so
//! the Nodes of this round were listed after the Refresh of the round before, and not surely after this round's own.
//! Holds: no round takes longer than ten minutes. So a coordinator that takes over in its midst does not take long known Nodes
//! for such as have just come back, and whoever asks without a Refresh sees them all some time.

use std::sync::atomic::{AtomicU64, Ordering};

/// A round of 15,000 Nodes takes half a minute.
const LONGEST_MS: u64 = 10 * 60 * 1_000;

/// When the latest two rounds refreshed, boot clock, milliseconds; 0 where they did not.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    latest_ms: AtomicU64,
    before_ms: AtomicU64,
}

impl Rounds {
    /// A Refresh is about to be answered.
    pub(super) fn begin(&self, now_ms: u64) {
        let before_ms = self.latest_ms.swap(now_ms, Ordering::SeqCst);
        self.before_ms.store(before_ms, Ordering::SeqCst);
    }

    /// Nodes that are asked about now were listed after this moment; both on the boot clock, milliseconds.
    pub(super) fn listed_after(&self, now_ms: u64) -> u64 {
        let before_ms = self.before_ms.load(Ordering::SeqCst);
        before_ms.max(now_ms.saturating_sub(LONGEST_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_were_listed_after_the_refresh_before_the_latest() {
        let rounds = Rounds::default();
        assert_eq!(rounds.listed_after(5), 0);
        rounds.begin(10);
        assert_eq!(rounds.listed_after(15), 0);
        rounds.begin(20);
        assert_eq!(rounds.listed_after(25), 10);
        rounds.begin(30);
        assert_eq!(rounds.listed_after(35), 20);
    }

    #[test]
    fn nodes_were_listed_within_the_longest_round_whatever_was_seen_of_it() {
        let rounds = Rounds::default();
        let now_ms = 2 * LONGEST_MS;
        assert_eq!(rounds.listed_after(now_ms), LONGEST_MS);
        rounds.begin(1);
        rounds.begin(now_ms);
        assert_eq!(rounds.listed_after(now_ms), LONGEST_MS);
        rounds.begin(now_ms + 1);
        assert_eq!(rounds.listed_after(now_ms + 1), now_ms);
    }
}
