//! The last events, and wishes and records as stored, for whoever asks through the local socket.
//!
//! In: the core's [`Event`]s and what the store took. Out: copies.
//! Holds: at most [`KEPT`] events; an event that repeats the newest one is counted, not added.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use coordinator_core::{Event, GroupId, GroupRecord, MachineId, MachineRecord, Severity, Subject};
use serde::Serialize;
use tokio::sync::watch;

use super::stored;
use crate::clock;

/// How many events are kept: a busy day of a small lab, and some 60 KiB.
pub const KEPT: usize = 200;

/// An event as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// When it was last told, milliseconds since 1970.
    pub at_ms: i64,
    /// `Node` or `Group`.
    pub kind: &'static str,
    /// Which one.
    pub name: String,
    /// `Normal` or `Warning`.
    pub severity: &'static str,
    /// Stable word.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
    /// How often it was told in a row.
    pub count: u32,
}

/// What happened and what is stored; clones share one content.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
    /// Moves with every record that is stored.
    stores: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Shown>,
    /// In their stored form, which takes half the room of a record: each is read only to show its machine.
    records: BTreeMap<MachineId, Box<str>>,
    wishes: BTreeMap<GroupId, GroupRecord>,
}

impl Memory {
    /// The kept events, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Shown> {
        self.lock().events.iter().cloned().collect()
    }

    /// What is stored of a machine; the default where nothing is.
    #[must_use]
    pub fn record(&self, machine: &MachineId) -> MachineRecord {
        let inner = self.lock();
        let record = inner.records.get(machine);
        record.map_or_else(MachineRecord::default, |text| {
            stored::machine(text).expect("it was written by this process")
        })
    }

    /// What is stored of a group; the default where nothing is.
    #[must_use]
    pub fn wish(&self, group: &GroupId) -> GroupRecord {
        self.lock().wishes.get(group).cloned().unwrap_or_default()
    }

    pub(super) fn stored_wish(&self, group: &GroupId, record: &GroupRecord) {
        self.lock().wishes.insert(group.clone(), record.clone());
    }

    pub(super) fn stored(&self, machine: &MachineId, record: &MachineRecord) {
        let text = stored::machine_text(record).into();
        self.lock().records.insert(machine.clone(), text);
        self.stores
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Waits until a person's request is stored with the machine it is about.
    pub async fn until_ask_is_stored(&self, machine: &MachineId, ask: &str) {
        let mut stores = self.stores.subscribe();
        while self.record(machine).last_ask.as_deref() != Some(ask) {
            // The sender lives as long as this value, so there is always a next one to wait for.
            if stores.changed().await.is_err() {
                return;
            }
        }
    }

    /// Keeps the event.
    pub(super) fn tell(&self, event: Event) {
        let (kind, name) = match event.about {
            Subject::Machine(machine) => ("Node", machine.to_string()),
            Subject::Group(group) => ("Group", group.to_string()),
        };
        self.keep(Shown {
            at_ms: clock::now().wall_ms,
            kind,
            name,
            severity: match event.severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            },
            reason: event.reason,
            message: event.message,
            count: 1,
        });
    }

    fn keep(&self, shown: Shown) {
        let mut inner = self.lock();
        if let Some(last) = inner.events.back_mut()
            && (last.kind, &last.name, last.reason, &last.message)
                == (shown.kind, &shown.name, shown.reason, &shown.message)
        {
            last.count = last.count.saturating_add(1);
            last.at_ms = shown.at_ms;
            return;
        }
        if inner.events.len() == KEPT {
            inner.events.pop_front();
        }
        inner.events.push_back(shown);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here can be left half changed, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(machine: &str, message: &str) -> Event {
        Event {
            about: Subject::Machine(MachineId::new(machine)),
            severity: Severity::Normal,
            reason: "WakeSent",
            message: message.to_owned(),
            operation: None,
        }
    }

    #[test]
    fn a_repeated_event_is_counted_and_the_oldest_make_room() {
        let memory = Memory::default();
        memory.tell(event("a", "x"));
        memory.tell(event("a", "x"));
        assert_eq!(memory.events().len(), 1);
        assert_eq!(memory.events()[0].count, 2);
        for n in 0..KEPT {
            memory.tell(event("b", &n.to_string()));
        }
        let kept = memory.events();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[0].name, "b");
        assert_eq!(kept[KEPT - 1].message, (KEPT - 1).to_string());
    }
}
