//! What callers have looked at: for each group, the sequence that an answer has shown last.
//! Holds: a view is taken and noted in one turn, so nobody notes an older view after a newer one.
//! Holds: a number is noted before the answer that shows it leaves.
//! Holds: the sequence of a declared group only rises, so one below what was shown belongs to a group made anew.
//! Not here: what follows for a repeated size increase (`coordinator-core`).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coordinator_core::{GroupId, GroupView, View};

/// The sequence shown last, by group. Empty after a start: nobody has looked yet.
#[derive(Debug, Default)]
pub(super) struct Looked {
    shown: Mutex<HashMap<GroupId, u64>>,
}

impl Looked {
    /// Waits for those who look at this moment. The view is to be taken within the turn.
    pub(super) fn turn(&self) -> Turn<'_> {
        // A panic elsewhere cannot leave the map half changed.
        Turn(self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to take the latest view, and to note what of it is shown.
pub(super) struct Turn<'a>(MutexGuard<'a, HashMap<GroupId, u64>>);

impl Turn<'_> {
    /// Somebody is about to be shown this group.
    pub(super) fn at(&mut self, group: &GroupView) {
        self.0.insert(group.id.clone(), group.sequence);
    }

    /// Somebody is about to be shown every group. What was shown of others is of no use any more.
    pub(super) fn at_all(&mut self, view: &View) {
        let groups = view.groups.values();
        *self.0 = groups
            .map(|group| (group.id.clone(), group.sequence))
            .collect();
    }

    /// The sequence that was shown last of the group as it is declared now; 0 if nobody has looked at it.
    pub(super) fn latest(&mut self, view: &View, group: &GroupId) -> u64 {
        let Some(shown) = self.0.get(group).copied() else {
            return 0;
        };
        let present = view.groups.get(group);
        if present.is_some_and(|present| shown <= present.sequence) {
            return shown;
        }
        // Kept, it would count again once the new sequence has passed it.
        self.0.remove(group);
        0
    }
}
