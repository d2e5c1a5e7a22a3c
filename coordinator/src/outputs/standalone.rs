//! The outputs without Kubernetes: a database in the state folder, events in the log.
//!
//! In: actions. Out: facts, told by the store's thread once they are durable.
//! Holds: there are no core Nodes here, so whatever is asked of one fails and says so; a Node has no pods either.
//! Not here: commands to agents (`commands`), the lab's files and the local socket (`inputs::standalone`).

mod events;
mod store;
mod stored;
mod writer;

use std::{
    io,
    path::Path,
    sync::mpsc::{self, Sender},
    thread,
};

use coordinator_core::{Action, Fact};

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
            memory.stored(machine, Box::new(record.clone()));
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
                // Its own disk answers at once, or not at all.
                deadline_ms: _,
            } => self.write(Write::Group {
                group,
                expected,
                record,
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
