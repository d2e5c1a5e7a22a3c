//! The outputs into a cluster: the status of our objects, core Nodes, Events.
//!
//! In: actions of the engine, notices of the watches, the view. Out: facts about what became of them.
//! Holds: nothing here waits in `perform`; what waits is bounded, and one object is written by one job at a time.
//! Holds: every call has a time limit and is made once; what it left open is settled by reading.
//! Not here: commands to agents (`commands`), the leader's Lease (`inputs::kubernetes`).

mod agents;
mod backlog;
mod commits;
mod described;
mod events;
mod nodes;
mod notices;
mod patch;
mod pods;
mod records;
mod writer;

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coordinator_core::{Action, Event, Fact, MachineView, Subject, View};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};

pub use agents::{KeyFault, signing_seed};
use backlog::{Backlog, Job, Lane, OnNode};
use described::Described;
use events::{Events, Telling};
use writer::Writer;

use super::Outputs;
use crate::{
    engine::{Facts, Handle},
    inputs::kubernetes::{CallFault, Kind, Notice, Notices, Place, Shared},
};

/// Jobs at work at once: enough to hide the API server's delay, few enough not to crowd it.
const AT_WORK: usize = 16;
/// Shortest time between two looks at what people should read: at most one write per second and object.
const PACE: Duration = Duration::from_secs(1);
/// Pause before a job without an answer to the core is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often such a job is tried.
const TRIES: u32 = 12;
/// How often an Event is tried: those behind it wait meanwhile.
const EVENT_TRIES: u32 = 2;
/// Reason of the Event about a declaration that cannot be used.
const FAULTY: &str = "FaultyDeclaration";

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

/// What every job needs.
struct Desk {
    writer: Writer,
    facts: Facts,
    view: watch::Receiver<Arc<View>>,
    events: tokio::sync::Mutex<Events>,
    described: Described,
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
        writer: Writer { shared },
        facts: handle.facts.clone(),
        view: handle.view.clone(),
        events: tokio::sync::Mutex::default(),
        described: Described::default(),
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
        } => Job::Commit {
            group,
            expected,
            record,
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
        Action::RecordAgent { agent, key } => Job::AgentKey { agent, key },
        Action::Fence { machine, node } => Job::OnNode(OnNode::Fence { machine, node }),
        Action::ListPods { machine, node } => Job::OnNode(OnNode::ListPods { machine, node }),
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
                queue.push(Job::Notice(notice));
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
                run(&desk, job).await;
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

/// Queues a description of everything that people would read otherwise than it is.
async fn describe(queue: &Queue, desk: &Desk) {
    let mut view = desk.view.clone();
    loop {
        let latest = Arc::clone(&view.borrow_and_update());
        if latest.serving && latest.cluster_up {
            for job in desk.described.outdated(&latest) {
                queue.push(job);
            }
        }
        tokio::time::sleep(PACE).await;
        // What failed is found outdated again after a while, also if nothing happens meanwhile.
        if let Ok(Err(_)) = tokio::time::timeout(AGAIN, view.changed()).await {
            return;
        }
    }
}

/// Publishes our key once, as soon as this process may write; then sleeps for ever.
async fn announce(desk: &Desk, key: &str) {
    desk.mandate().await;
    let tried = || agents::announce(&desk.writer, key);
    repeat("publish the coordinator's key", TRIES, tried).await;
    std::future::pending().await
}

async fn run(desk: &Desk, job: Job) {
    let writer = &desk.writer;
    match job {
        Job::Commit {
            group,
            expected,
            record,
        } => {
            let fact = commits::commit(writer, group, expected, record).await;
            desk.facts.tell(fact).await;
        }
        Job::Record {
            machine,
            version,
            record,
        } => {
            let view = desk.view();
            let fact = records::record(writer, machine.clone(), (version, *record), &view).await;
            if let (Fact::Recorded { .. }, Some(shown)) = (&fact, view.machines.get(&machine)) {
                desk.described.machine(shown);
            }
            desk.facts.tell(fact).await;
        }
        Job::DescribeGroup(group) => {
            let view = desk.view();
            let done = records::describe_group(writer, &group, &view).await;
            match done {
                Ok(()) => desk.described.group(&group, &view),
                Err(fault) => tracing::debug!(group = %group, %fault, "cannot describe"),
            }
        }
        Job::DescribeMachine(machine) => {
            let Some(shown) = desk.view().machines.get(&machine).cloned() else {
                return;
            };
            match records::describe_machine(writer, &machine, &shown).await {
                Ok(()) => {
                    tell_fault(desk, &shown).await;
                    desk.described.machine(&shown);
                }
                Err(fault) => tracing::debug!(machine = %machine, %fault, "cannot describe"),
            }
        }
        Job::AgentKey { agent, key } => {
            repeat("pin an agent's key", TRIES, || {
                agents::pin(writer, &agent, &key)
            })
            .await;
        }
        Job::OnNode(work) => on_node(desk, work).await,
        Job::Event(event) => tell(desk, &event).await,
        Job::Notice(notice) => {
            desk.mandate().await;
            repeat("act on a notice", TRIES, async || {
                let mut events = desk.events.lock().await;
                notices::act(writer, &mut events, &notice).await
            })
            .await;
        }
    }
}

async fn on_node(desk: &Desk, work: OnNode) {
    let writer = &desk.writer;
    let text = |fault: CallFault| fault.to_string();
    let fact = match work {
        OnNode::Fence { machine, node } => {
            let outcome = nodes::fence(writer, &machine, &node).await.map_err(text);
            Fact::Fenced { machine, outcome }
        }
        OnNode::ListPods { machine, node } => {
            let listed = pods::in_the_way(&writer.shared.cluster, &node).await;
            Fact::PodsListed {
                machine,
                outcome: listed.map_err(text),
            }
        }
        OnNode::Patch { machine, patch } => {
            let outcome = nodes::change(writer, &machine, &patch).await.map_err(text);
            Fact::NodeDone { machine, outcome }
        }
        OnNode::Retire {
            machine,
            node,
            uid,
            policy,
        } => {
            let done = nodes::retire(writer, &machine, (&node, &uid), policy).await;
            let outcome = done.map_err(text);
            Fact::NodeDone { machine, outcome }
        }
    };
    desk.facts.tell(fact).await;
}

/// An Event of the core, about one of our objects.
async fn tell(desk: &Desk, event: &Event) {
    let mirror = &desk.writer.shared.mirror;
    let found = match &event.about {
        Subject::Machine(id) => mirror.machine(id).map(|entry| (Kind::Machine, entry.place)),
        Subject::Group(id) => mirror.group(id).map(|entry| (Kind::Group, entry.place)),
    };
    // An object that is gone has nobody who would look at its Events.
    if let Some((kind, place)) = found {
        tell_about(desk, (kind, &place), event).await;
    }
}

async fn tell_about(desk: &Desk, (kind, place): (Kind, &Place), event: &Event) {
    repeat("write an Event", EVENT_TRIES, async || {
        let telling = Telling {
            kind,
            place,
            severity: event.severity,
            reason: event.reason,
            message: &event.message,
        };
        desk.events.lock().await.tell(&desk.writer, telling).await
    })
    .await;
}

/// A faulty declaration is told once, when it is first described.
async fn tell_fault(desk: &Desk, shown: &MachineView) {
    let Some(fault) = &shown.fault else { return };
    if desk.described.fault(&shown.id).as_ref() == Some(fault) {
        return;
    }
    let event = Event {
        about: Subject::Machine(shown.id.clone()),
        severity: coordinator_core::Severity::Warning,
        reason: FAULTY,
        message: fault.clone(),
    };
    tell(desk, &event).await;
}

/// Tries what nobody waits for a few times.
async fn repeat<F>(what: &'static str, tries: u32, mut once: impl FnMut() -> F)
where
    F: Future<Output = Result<(), CallFault>>,
{
    for left in (0..tries).rev() {
        match once().await {
            Ok(()) => return,
            Err(fault @ (CallFault::Unsure(_) | CallFault::Conflict(_))) if left > 0 => {
                tracing::debug!(what, %fault, left, "tried in vain");
                tokio::time::sleep(AGAIN).await;
            }
            // The object is gone, and so is the need.
            Err(CallFault::NotFound) => return,
            Err(fault) => {
                tracing::warn!(what, %fault, "given up");
                return;
            }
        }
    }
}

impl Desk {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Waits until this process may write.
    async fn mandate(&self) {
        while !self.writer.shared.mandate.holds() {
            tokio::time::sleep(PACE).await;
        }
    }
}
