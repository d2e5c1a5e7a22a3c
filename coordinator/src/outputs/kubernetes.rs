//! The outputs into a cluster: the status of our objects, core Nodes, Events.
//!
//! In: actions of the engine, notices of the watches, the view. Out: facts about what became of them.
//! Holds: nothing here waits in `perform`; what waits is bounded, and one object is written by one job at a time.
//! Holds: every call has a time limit and is made once; what it left open is settled by reading.
//! Not here: commands to agents (`commands`), the leader's Lease (`inputs::kubernetes`).

mod agents;
mod backlog;
mod certificates;
mod commits;
mod complaints;
mod described;
mod desk;
mod events;
mod evictions;
#[cfg(test)]
mod fake_api;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod nodes;
mod patch;
mod pins;
mod pods;
mod postponed;
mod records;
mod writer;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coordinator_core::Action;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};

pub use agents::{KeyFault, signing_seed};
use backlog::{Backlog, Job, Lane, OnNode};
pub(crate) use certificates::{CLIENT, Making, Origin, SecretFault, Shelf};
use commits::Swap;
use described::Described;
use desk::Desk;
use pins::Pins;
use postponed::Postponed;
use writer::Writer;

use super::Outputs;
use crate::{
    engine::Handle,
    inputs::kubernetes::{Notice, Notices, Shared},
};

/// Jobs at work at once: enough to hide the API server's delay, few enough not to crowd it.
const AT_WORK: usize = 16;
/// Shortest time between two looks at what people should read: at most one write per second and object.
const PACE: Duration = Duration::from_secs(1);
/// Pause before a job without an answer to the core is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Longest pause of a job that is tried until it is done.
const LONGEST: Duration = Duration::from_secs(60);

/// The engine's end: takes actions over.
pub struct KubernetesOutputs {
    queue: Arc<Queue>,
}

/// The working end: a task.
pub struct Worker {
    queue: Arc<Queue>,
    desk: Arc<Desk>,
    notices: mpsc::Receiver<Notice>,
    /// `ed25519:…`, published once this process leads.
    public_key: String,
}

#[derive(Default)]
struct Queue {
    backlog: Mutex<Backlog>,
    more: Notify,
}

impl Queue {
    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        // A panic elsewhere cannot leave the queues half changed.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.backlog().push(job);
        self.more.notify_one();
    }
}

/// The two ends. `public_key` is what agents check commands by, `ed25519:…`.
#[must_use]
pub fn outputs(
    shared: Shared,
    handle: &Handle,
    notices: Notices,
    public_key: String,
) -> (KubernetesOutputs, Worker) {
    let queue = Arc::new(Queue::default());
    let desk = Desk {
        writer: Writer {
            shared,
            pins: Pins::default(),
        },
        facts: handle.facts.clone(),
        view: handle.view.clone(),
        events: tokio::sync::Mutex::default(),
        described: Described::default(),
        postponed: Postponed::default(),
    };
    let worker = Worker {
        queue: Arc::clone(&queue),
        desk: Arc::new(desk),
        notices: notices.0,
        public_key,
    };
    (KubernetesOutputs { queue }, worker)
}

impl Outputs for KubernetesOutputs {
    fn perform(&mut self, action: Action) {
        if let Some(job) = job(action) {
            self.queue.push(job);
        }
    }
}

fn job(action: Action) -> Option<Job> {
    Some(match action {
        Action::Commit {
            group,
            expected,
            record,
            deadline_ms,
        } => Job::Commit {
            group,
            swap: Swap {
                expected,
                record,
                deadline_ms,
            },
        },
        Action::Record {
            machine,
            version,
            record,
        } => Job::Record {
            machine,
            version,
            record,
        },
        Action::RecordAgent { agent, key } => Job::AgentKey {
            agent,
            key,
            tries: 0,
        },
        Action::Fence {
            machine,
            node,
            cordon,
        } => Job::OnNode(OnNode::Fence {
            machine,
            node,
            cordon,
        }),
        Action::ListPods { machine, node } => Job::OnNode(OnNode::ListPods { machine, node }),
        Action::Evict { machine, pods } => Job::OnNode(OnNode::Evict { machine, pods }),
        Action::PatchNode { machine, patch } => Job::OnNode(OnNode::Patch {
            machine,
            patch: Box::new(patch),
        }),
        Action::RetireNode {
            machine,
            node,
            uid,
            policy,
        } => Job::OnNode(OnNode::Retire {
            machine,
            node,
            uid,
            policy,
        }),
        Action::Event(event) => Job::Event(event),
        // The engine routes these elsewhere.
        Action::Answer { .. } | Action::Send(_) | Action::Ping { .. } => return None,
    })
}

impl Worker {
    /// Works until the process ends.
    pub async fn run(self) {
        let Self {
            queue,
            desk,
            mut notices,
            public_key,
        } = self;
        let forward = async {
            while let Some(notice) = notices.recv().await {
                queue.push(notice.into());
            }
        };
        tokio::select! {
            () = work(&queue, &desk) => {}
            () = describe(&queue, &desk) => {}
            () = announce(&desk, &public_key) => {}
            () = forward => {}
        }
    }
}

/// Starts jobs as lanes come free.
async fn work(queue: &Queue, desk: &Arc<Desk>) {
    let mut at_work: JoinSet<Lane> = JoinSet::new();
    loop {
        while at_work.len() < AT_WORK {
            let Some((lane, job)) = queue.backlog().take() else {
                break;
            };
            let desk = Arc::clone(desk);
            at_work.spawn(async move {
                desk::run(&desk, job).await;
                lane
            });
        }
        let dropped = queue.backlog().dropped();
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "events dropped: the API server takes them too slowly"
            );
        }
        tokio::select! {
            () = queue.more.notified() => {}
            Some(done) = at_work.join_next() => match done {
                Ok(lane) => queue.backlog().done(&lane),
                Err(fault) => {
                    // Its lane would stay busy for ever; a restart loses nothing.
                    tracing::error!(%fault, "a write panicked");
                    return;
                }
            },
        }
    }
}

/// Queues a description of everything that people would read otherwise than it is, and what was postponed.
async fn describe(queue: &Queue, desk: &Desk) {
    let mut view = desk.view.clone();
    loop {
        let latest = Arc::clone(&view.borrow_and_update());
        if latest.serving && latest.cluster_up {
            for job in desk.described.outdated(&latest) {
                queue.push(job);
            }
            let (groups, machines) = desk.writer.shared.mirror.behind();
            for group in groups {
                queue.push(Job::DescribeGroup(group));
            }
            for machine in machines {
                queue.push(Job::DescribeMachine(machine));
            }
        }
        for job in desk.postponed.due() {
            queue.push(job);
        }
        for machine in desk.writer.pins.overdue() {
            queue.push(Job::PinKey(machine));
        }
        tokio::time::sleep(PACE).await;
        // What failed is found outdated again after a while, also if nothing happens meanwhile.
        if let Ok(Err(_)) = tokio::time::timeout(AGAIN, view.changed()).await {
            return;
        }
    }
}

/// How long a job that is tried until it is done rests after so many tries in vain before the latest.
fn pause(tries: u32) -> Duration {
    AGAIN
        .saturating_mul(2_u32.saturating_pow(tries))
        .min(LONGEST)
}

/// Publishes our key as soon as this process may write, however long that takes: no agent can be set up without it. Then
/// sleeps for ever.
async fn announce(desk: &Desk, key: &str) {
    desk.mandate().await;
    let mut tries = 0;
    let mut said = None;
    while let Err(fault) = agents::announce(&desk.writer, key).await {
        let fault = fault.to_string();
        if said.as_ref() != Some(&fault) {
            tracing::warn!(fault, "cannot publish the coordinator's key, trying on");
            said = Some(fault);
        }
        tokio::time::sleep(pause(tries)).await;
        tries += 1;
    }
    if said.is_some() {
        tracing::info!("the coordinator's key is published");
    }
    std::future::pending().await
}
