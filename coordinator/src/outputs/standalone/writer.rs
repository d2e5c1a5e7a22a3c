//! The thread that owns the store: takes what waits, stores it in one transaction, then tells the facts.
//!
//! In: [`Write`]s in the engine's order. Out: `Committed`, `CommitLost`, `CommitFailed`, `Recorded`, `RecordFailed`.
//! Holds: a fact is told after its write is on the disk, and in the order of the writes.
//! Holds: what a failed commit left behind is read again before anything else is stored.

use std::{collections::BTreeSet, error::Error, sync::mpsc::Receiver};

use coordinator_core::{Fact, GroupId, StoreFault};

use super::{
    events::Memory,
    store::{Outcome, Store, Write, WriteStore},
};

/// Writes in one transaction at most. It bounds how long the first of them waits for the last.
const BATCH: usize = 512;

/// One message to the thread.
#[derive(Debug)]
pub(super) enum Task {
    /// Store this and tell what became of it.
    Write(Write),
    /// Tell this, after everything before it.
    Tell(Box<Fact>),
}

/// What the thread owns.
pub(super) struct Writer<T> {
    store: Store,
    memory: Memory,
    tell: T,
    /// Groups whose last commit ended without our learning how.
    doubtful: BTreeSet<GroupId>,
    /// Keys that could not be stored yet. No fact answers them, so the core cannot ask again.
    unsaved: Vec<Write>,
    working: bool,
}

impl<T: Fn(Fact)> Writer<T> {
    pub(super) fn new(store: Store, memory: Memory, tell: T) -> Self {
        Self {
            store,
            memory,
            tell,
            doubtful: BTreeSet::new(),
            unsaved: Vec::new(),
            working: true,
        }
    }

    /// Works until nobody can send any more.
    pub(super) fn run(&mut self, tasks: &Receiver<Task>) {
        while let Ok(first) = tasks.recv() {
            let mut batch = std::mem::take(&mut self.unsaved);
            let mut tell = Vec::new();
            let mut next = Some(first);
            while let Some(task) = next {
                match task {
                    Task::Write(write) => batch.push(write),
                    Task::Tell(fact) => tell.push(fact),
                }
                let room = batch.len() + tell.len() < BATCH;
                next = room.then(|| tasks.try_recv().ok()).flatten();
            }
            if !batch.is_empty() {
                self.store(batch);
            }
            tell.into_iter().for_each(|fact| (self.tell)(*fact));
        }
    }

    fn store(&mut self, batch: Vec<Write>) {
        let stored = self.settle().and_then(|()| self.store.write(&batch));
        self.say_change(stored.as_ref().err());
        match stored {
            Ok(outcomes) => {
                for (write, outcome) in batch.into_iter().zip(outcomes) {
                    self.done(write, outcome);
                }
            }
            Err(_) => batch.into_iter().for_each(|write| self.failed(write)),
        }
    }

    /// Tells what a commit with an unknown end left behind, so that the core goes on from what is stored.
    fn settle(&mut self) -> Result<(), WriteStore> {
        while let Some(group) = self.doubtful.first().cloned() {
            let record = self.store.group(&group)?.unwrap_or_default();
            self.doubtful.remove(&group);
            self.memory.stored_wish(&group, &record);
            (self.tell)(Fact::GroupStored { group, record });
        }
        Ok(())
    }

    fn done(&self, write: Write, outcome: Outcome) {
        match write {
            Write::Group { group, record, .. } => (self.tell)(match outcome {
                Outcome::Stored => {
                    self.memory.stored_wish(&group, &record);
                    Fact::Committed {
                        group,
                        sequence: record.sequence,
                    }
                }
                Outcome::Moved(record) => Fact::CommitLost { group, record },
                Outcome::TooLate => Fact::CommitFailed {
                    group,
                    fault: StoreFault::TooLate,
                },
                Outcome::Unreadable => Fact::CommitFailed {
                    group,
                    fault: StoreFault::Refused,
                },
            }),
            Write::Machine {
                machine,
                version,
                record,
            } => {
                self.memory.stored(&machine, &record);
                (self.tell)(Fact::Recorded { machine, version });
            }
            Write::Agent { .. } => {}
        }
    }

    fn failed(&mut self, write: Write) {
        let fault = StoreFault::Unavailable;
        match write {
            Write::Group { group, .. } => {
                self.doubtful.insert(group.clone());
                (self.tell)(Fact::CommitFailed { group, fault });
            }
            Write::Machine { machine, .. } => (self.tell)(Fact::RecordFailed { machine, fault }),
            Write::Agent { .. } => self.unsaved.push(write),
        }
    }

    /// Says once that the store stopped working, and once that it works again.
    fn say_change(&mut self, fault: Option<&WriteStore>) {
        match (fault, self.working) {
            (Some(fault), true) => {
                let cause = fault.source().map(ToString::to_string);
                tracing::error!(%fault, cause, "the state cannot be stored; nothing new is started until it can");
            }
            (None, false) => tracing::info!("the state is stored again"),
            (None, true) | (Some(_), false) => {}
        }
        self.working = fault.is_none();
    }
}

#[cfg(test)]
mod tests;
