//! What callers have looked at: for each group, the highest sequence that an answer has shown.
//! Holds: numbers only rise; a number is noted before the answer that shows it leaves.
//! Not here: what follows for a repeated size increase (`coordinator-core`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use coordinator_core::GroupId;

/// The highest sequence shown, by group. Empty after a start: nobody has looked yet.
#[derive(Debug, Default)]
pub(super) struct Looked {
    highest: RwLock<HashMap<GroupId, AtomicU64>>,
}

impl Looked {
    /// Somebody is about to be shown this sequence.
    pub(super) fn at(&self, group: &GroupId, sequence: u64) {
        {
            let highest = self.highest.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(seen) = highest.get(group) {
                seen.fetch_max(sequence, Ordering::SeqCst);
                return;
            }
        }
        // Another caller may have added the group between the two locks.
        let mut highest = self.highest.write().unwrap_or_else(PoisonError::into_inner);
        highest
            .entry(group.clone())
            .or_default()
            .fetch_max(sequence, Ordering::SeqCst);
    }

    /// The highest sequence that anybody was shown; 0 if nobody looked.
    pub(super) fn highest(&self, group: &GroupId) -> u64 {
        let highest = self.highest.read().unwrap_or_else(PoisonError::into_inner);
        highest
            .get(group)
            .map_or(0, |seen| seen.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_stays_and_groups_are_apart() {
        let looked = Looked::default();
        let (a, b) = (GroupId::new("lab/a"), GroupId::new("lab/b"));
        assert_eq!(looked.highest(&a), 0);
        looked.at(&a, 3);
        looked.at(&a, 2);
        assert_eq!((looked.highest(&a), looked.highest(&b)), (3, 0));
    }
}
