//! The lists that the watches begin with, and begin again with after a gap.
//!
//! In: their begin, what they show, their end. Out: what is known and was not in them; whether every first one is complete.
//! Holds: a list of one namespace says nothing about objects of another.

use std::collections::{BTreeMap, BTreeSet};

use super::declared::Key;

/// What a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Listed {
    Groups,
    Machines,
    CoreNodes,
}

/// A list of one watch: what it is of, and the watch's number.
pub(super) type Source = (Listed, usize);

/// All of them.
pub(super) struct Lists {
    /// The namespace of each numbered watch; `None` stands for all.
    scopes: Vec<Option<String>>,
    /// First lists that are not complete yet.
    awaited: BTreeSet<Source>,
    /// What the lists under way have shown so far.
    shown: BTreeMap<Source, BTreeSet<Key>>,
}

impl Lists {
    pub(super) fn new(scopes: Vec<Option<String>>) -> Self {
        let mut awaited = BTreeSet::from([(Listed::CoreNodes, 0)]);
        for number in 0..scopes.len() {
            awaited.extend([(Listed::Groups, number), (Listed::Machines, number)]);
        }
        Self {
            scopes,
            awaited,
            shown: BTreeMap::new(),
        }
    }

    /// True once each watch has had one whole list.
    pub(super) fn all_complete(&self) -> bool {
        self.awaited.is_empty()
    }

    pub(super) fn begin(&mut self, source: Source) {
        self.shown.insert(source, BTreeSet::new());
    }

    /// A list of this has begun and not ended.
    pub(super) fn is_under_way(&self, source: Source) -> bool {
        self.shown.contains_key(&source)
    }

    /// An object was seen, in a list or after it.
    pub(super) fn show(&mut self, source: Source, key: Key) {
        if let Some(shown) = self.shown.get_mut(&source) {
            shown.insert(key);
        }
    }

    /// A list has ended. Of what is known in its watch's namespace: what it did not show.
    pub(super) fn complete(&mut self, source: Source, known: Vec<Key>) -> Vec<Key> {
        self.awaited.remove(&source);
        let Some(shown) = self.shown.remove(&source) else {
            return Vec::new();
        };
        let scope = self.scopes.get(source.1).and_then(Option::as_ref);
        // Core Nodes are in no namespace.
        let in_scope =
            |key: &Key| key.0.is_empty() || scope.is_none_or(|namespace| *namespace == key.0);
        known
            .into_iter()
            .filter(|key| in_scope(key) && !shown.contains(key))
            .collect()
    }
}
