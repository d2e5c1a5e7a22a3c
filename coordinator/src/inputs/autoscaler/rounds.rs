//! The rounds of the cluster-autoscaler's loop, told apart by its Refresh calls.
//! In: the moment of each Refresh. Out: the moment after which the Nodes that it asks about were listed.
//! Holds: it lists Nodes at the start of a round and refreshes after that (`RunOnce` in `core/static_autoscaler.go`, 1.30 to 1.36), so
//! the Nodes of this round were listed after the Refresh of the round before, and not surely after this round's own.

use std::sync::atomic::{AtomicU64, Ordering};

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

    /// Nodes that are asked about were listed after this moment, boot clock, milliseconds; 0 until a second round.
    pub(super) fn listed_after(&self) -> u64 {
        self.before_ms.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_were_listed_after_the_refresh_before_the_latest() {
        let rounds = Rounds::default();
        assert_eq!(rounds.listed_after(), 0);
        rounds.begin(10);
        assert_eq!(rounds.listed_after(), 0);
        rounds.begin(20);
        assert_eq!(rounds.listed_after(), 10);
        rounds.begin(30);
        assert_eq!(rounds.listed_after(), 20);
    }
}
