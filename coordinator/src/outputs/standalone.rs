//! The outputs without Kubernetes: a database in the state folder, events in the log.
//!
//! In: actions. Out: facts, told by the store's thread once they are durable.
//! Holds: there are no core Nodes here, so whatever is asked of one fails and says so; a Node has no pods either.
//! Not here: commands to agents (`commands`), the lab's files and the local socket (`inputs::standalone`).

mod events;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod store;
mod stored;
mod writer;

use std::{
    io,
    path::Path,
    sync::mpsc::{self, Sender},
    thread,
};

use coordinator_core::{Action, Eviction, EvictionOutcome, Fact, PodRef};

pub use events::{KEPT, Memory, Shown};
pub use store::{OpenStore, Replay, Store};
pub use stored::ReadValue;

use crate::outputs::Outputs;
use store::Write;
use writer::{Task, Writer};

/// What is said where a core Node would be needed.
const NO_NODES: &str = "there are no Node objects in standalone mode";

/// Opens the state in `dir`; its facts must reach the engine before anything is performed.
///
/// # Errors
///
/// See [`OpenStore`].
pub fn open(dir: &Path) -> Result<(Store, Replay), OpenStore> {
    Store::open(dir)
}

/// Carries out actions without Kubernetes.
#[derive(Debug)]
pub struct Standalone {
    // Unbounded, but the core has one write of each object under way, so the lab's size bounds it.
    tasks: Sender<Task>,
    memory: Memory,
}

impl Standalone {
    /// Starts the store's thread. `tell` may block; it is called from that thread only.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(
        store: Store,
        replay: &Replay,
        tell: impl Fn(Fact) + Send + 'static,
    ) -> Result<Self, io::Error> {
        let memory = Memory::default();
        for (machine, record) in &replay.machines {
            memory.stored(machine, record);
        }
        for (group, record) in &replay.groups {
            memory.stored_wish(group, record);
        }
        let mut writer = Writer::new(store, memory.clone(), tell);
        let (tasks, queue) = mpsc::channel();
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(&queue))?;
        Ok(Self { tasks, memory })
    }

    /// What is stored and what happened, for the local socket.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.memory.clone()
    }

    fn write(&self, write: Write) {
        self.queue(Task::Write(write));
    }

    /// Through the store's thread, because this one must not wait for the engine.
    fn tell(&self, fact: Fact) {
        self.queue(Task::Tell(Box::new(fact)));
    }

    fn queue(&self, task: Task) {
        if self.tasks.send(task).is_err() {
            // Only a panic ends that thread before this output; without a store nothing may go on.
            tracing::error!("the store's thread has ended; nothing is stored any more");
        }
    }
}

impl Outputs for Standalone {
    fn perform(&mut self, action: Action) {
        let no_nodes = || Err(NO_NODES.to_owned());
        match action {
            Action::Commit {
                group,
                expected,
                record,
                deadline_ms,
            } => self.write(Write::Group {
                group,
                expected,
                record,
                deadline_ms,
            }),
            Action::Record {
                machine,
                version,
                record,
            } => self.write(Write::Machine {
                machine,
                version,
                record,
            }),
            Action::RecordAgent { agent, key } => self.write(Write::Agent { agent, key }),
            Action::Fence { machine, .. } => self.tell(Fact::Fenced {
                machine,
                outcome: no_nodes(),
            }),
            Action::ListPods { machine, .. } => self.tell(Fact::PodsListed {
                machine,
                outcome: Ok(Vec::new()),
            }),
            // Nobody lists a pod here.
            Action::Evict { machine, pods } => self.tell(Fact::Evicted {
                machine,
                pods: pods.into_iter().map(gone).collect(),
            }),
            Action::PatchNode { machine, .. } | Action::RetireNode { machine, .. } => {
                self.tell(Fact::NodeDone {
                    machine,
                    outcome: no_nodes(),
                })
            }
            Action::Event(event) => self.memory.tell(event),
            // Routed elsewhere: answers stay in the engine, commands go to `outputs::commands`.
            Action::Answer { .. } | Action::Send(_) | Action::Ping { .. } => {}
        }
    }
}

fn gone(pod: PodRef) -> Eviction {
    let outcome = EvictionOutcome::Gone;
    Eviction { pod, outcome }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coordinator_core::{GroupId, GroupRecord, StoreFault};

    use super::*;
    use crate::clock;

    /// Longer than any test takes.
    const LATER_MS: u64 = 3_600_000;

    #[test]
    fn a_commit_that_comes_to_the_store_after_its_callers_deadline_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let (store, replay) = open(dir.path()).unwrap();
        let (sender, told) = mpsc::channel();
        let mut outputs = Standalone::start(store, &replay, move |fact| {
            sender.send(fact).unwrap();
        })
        .unwrap();
        let group = GroupId::new("default/workers");
        let now_ms = clock::boot_ms();
        for (deadline_ms, sequence) in [(Some(now_ms), 1), (Some(now_ms + LATER_MS), 1), (None, 2)]
        {
            outputs.perform(Action::Commit {
                group: group.clone(),
                expected: sequence - 1,
                record: GroupRecord {
                    sequence,
                    ..GroupRecord::default()
                },
                deadline_ms,
            });
        }
        let next = || told.recv_timeout(Duration::from_secs(30)).unwrap();
        let fault = StoreFault::TooLate;
        assert_eq!(
            next(),
            Fact::CommitFailed {
                group: group.clone(),
                fault
            }
        );
        for sequence in [1, 2] {
            assert_eq!(
                next(),
                Fact::Committed {
                    group: group.clone(),
                    sequence
                }
            );
        }
    }
}
