//! One job, from its action to the fact about what became of it.
//!
//! In: a [`Job`]. Out: facts; what people read, and Events.
//! Holds: what nobody waits for is tried a few times; what the core waits for is answered after one try.
//! Not here: which job is next (`backlog`), and the single writes.

use std::{fmt::Display, future::Future, sync::Arc};

use coordinator_core::{
    AgentId, Event, Fact, GroupId, MachineId, MachineRecord, MachineView, Severity, StoreFault,
    Subject, View,
};
use tokio::sync::watch;

use super::{
    AGAIN, PACE,
    agents::{self, Pinned},
    backlog::{Job, OnNode},
    commits, complaints,
    described::Described,
    events::{Events, Telling},
    evictions, nodes, pause, pods,
    postponed::Postponed,
    records,
    writer::Writer,
};
use crate::{
    documents::Fault,
    engine::Facts,
    inputs::kubernetes::{CallFault, Complaint, Kind, Place, Undo},
    outputs,
};

/// How often any other such job is tried.
const TRIES: u32 = 12;
/// So many tries in vain of what is tried until it is done are no news: somebody wrote the object at the same moment, or the API
/// server restarts.
const QUIET: u32 = 2;
/// How often an Event is tried: those behind it wait meanwhile.
const EVENT_TRIES: u32 = 2;
/// Reason of the Event about a record that the API server's schema does not take.
const RECORD_REFUSED: &str = "RecordRefused";
/// Reason of the Event about a declaration that cannot be used.
const FAULTY: &str = "FaultyDeclaration";

/// What every job needs.
pub(super) struct Desk {
    pub(super) writer: Writer,
    pub(super) facts: Facts,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) events: tokio::sync::Mutex<Events>,
    pub(super) described: Described,
    pub(super) postponed: Postponed,
}

/// Does one job.
pub(super) async fn run(desk: &Desk, job: Job) {
    let writer = &desk.writer;
    match job {
        Job::Commit { group, swap } => {
            let fact = commits::commit(writer, group, swap).await;
            desk.facts.tell(fact).await;
        }
        Job::Record {
            machine,
            version,
            record,
        } => {
            let fact = store(desk, machine, (version, *record)).await;
            desk.facts.tell(fact).await;
        }
        Job::DescribeGroup(group) => describe_group(desk, &group).await,
        Job::DescribeMachine(machine) => describe_machine(desk, &machine).await,
        Job::AgentKey { agent, key, tries } => pin(desk, (agent, key), tries).await,
        Job::PinKey(machine) => {
            // In vain, it is queued again.
            if let Err(fault) = records::pin_key(writer, &machine).await {
                tracing::debug!(%machine, %fault, "cannot pin its agent's key");
            }
        }
        Job::OnNode(work) => on_node(desk, work).await,
        Job::Event(event) => tell(desk, &event).await,
        Job::Complaint(complaint) => complain(desk, &complaint).await,
        Job::Undo { undo, tries } => take_back(desk, undo, tries).await,
    }
}

/// Tells people what is wrong with an object, unless that is over: then it is described anew, over what was told.
async fn complain(desk: &Desk, complaint: &Complaint) {
    // Whoever leads finds the same.
    if !desk.writer.shared.mandate.holds() {
        return;
    }
    if let Complaint::Object(kind, key) = complaint
        && complaints::standing(&desk.writer, (*kind, key)).is_none()
    {
        desk.described.forget(*kind, key);
        return;
    }
    complaints::log(&desk.writer, complaint);
    repeat("write a complaint", TRIES, async || {
        let mut events = desk.events.lock().await;
        complaints::write(&desk.writer, &mut events, complaint).await
    })
    .await;
}

/// Whether what people read about an object is a complaint, and no description.
fn is_complained_of(desk: &Desk, kind: Kind, place: &Place) -> bool {
    let key = (place.namespace.clone(), place.name.clone());
    complaints::standing(&desk.writer, (kind, &key)).is_some()
}

/// Pins an agent's key, now or later. An agent that shows another key than the pinned one is not believed.
async fn pin(desk: &Desk, (agent, key): (AgentId, String), tries: u32) {
    let again = |tries| Job::AgentKey {
        agent: agent.clone(),
        key: key.clone(),
        tries,
    };
    if !desk.writer.shared.mandate.holds() {
        desk.postponed.add(again(tries), AGAIN);
        return;
    }
    match agents::pin(&desk.writer, &agent, &key).await {
        Ok(Pinned::Shown) => {}
        Ok(Pinned::Earlier(stored)) => {
            tracing::warn!(
                %agent,
                shown = key,
                pinned = stored,
                "an agent shows another key than the one pinned for it: the pinned one counts"
            );
            let fact = Fact::AgentStored { agent, key: stored };
            desk.facts.tell(fact).await;
        }
        Err(fault) => {
            if tries == QUIET {
                tracing::warn!(%agent, %fault, "cannot pin an agent's key, trying on");
            } else {
                tracing::debug!(%agent, %fault, tries, "pinned in vain");
            }
            desk.postponed
                .add(again(tries.saturating_add(1)), pause(tries));
        }
    }
}

/// Takes our marks back, now or later: an object that is being deleted waits for us, so there is no giving up.
async fn take_back(desk: &Desk, undo: Undo, tries: u32) {
    if !desk.writer.shared.mandate.holds() {
        desk.postponed.add(Job::Undo { undo, tries }, AGAIN);
        return;
    }
    let Err(fault) = nodes::undo(&desk.writer, &undo).await else {
        return;
    };
    let (machine, node) = (&undo.place.name, &undo.node);
    if tries == QUIET {
        tracing::warn!(machine, node, %fault, "cannot take our marks off a Node, trying on");
    } else {
        tracing::debug!(machine, node, %fault, tries, "marks taken off in vain");
    }
    let again = Job::Undo {
        undo,
        tries: tries.saturating_add(1),
    };
    desk.postponed.add(again, pause(tries));
}

/// Stores a record. One that the API server refuses as it is gets an Event with its words: only people can help then.
async fn store(desk: &Desk, machine: MachineId, (version, record): (u64, MachineRecord)) -> Fact {
    let view = desk.view();
    let written = records::record(&desk.writer, &machine, &record, &view).await;
    let Err(fault) = written else {
        if let Some(shown) = view.machines.get(&machine) {
            tell_fault(desk, shown).await;
            desk.described.machine(shown);
        }
        return Fact::Recorded { machine, version };
    };
    let class = records::store_fault(&fault);
    match class {
        StoreFault::Refused => {
            tracing::error!(%machine, %fault, "the API server refuses the record");
            let event = Event {
                about: Subject::Machine(machine.clone()),
                severity: Severity::Warning,
                reason: RECORD_REFUSED,
                message: format!(
                    "The API server refuses its status, so nothing is done with it: {fault}"
                ),
                operation: None,
            };
            tell(desk, &event).await;
        }
        StoreFault::Unavailable | StoreFault::TooLate => {
            tracing::warn!(%machine, %fault, "cannot store record now");
        }
    }
    Fact::RecordFailed {
        machine,
        fault: class,
    }
}

async fn describe_group(desk: &Desk, group: &GroupId) {
    let mirror = &desk.writer.shared.mirror;
    let Some(place) = mirror.group_place(group) else {
        return;
    };
    if is_complained_of(desk, Kind::Group, &place) {
        return;
    }
    let view = desk.view();
    let done = records::describe_group(&desk.writer, group, &view).await;
    if let Err(CallFault::Unprocessable(_)) = done {
        mirror.refused_group(group, &place);
    }
    if is_over(&done, group) {
        desk.described.group(group, &view);
    }
}

async fn describe_machine(desk: &Desk, machine: &MachineId) {
    let mirror = &desk.writer.shared.mirror;
    let Some(place) = mirror.machine_place(machine) else {
        return;
    };
    if is_complained_of(desk, Kind::Machine, &place) {
        return;
    }
    let Some(shown) = desk.view().machines.get(machine).cloned() else {
        return;
    };
    let done = records::describe_machine(&desk.writer, machine, &shown).await;
    match done {
        Ok(()) => tell_fault(desk, &shown).await,
        Err(CallFault::Unprocessable(_)) => mirror.refused_machine(machine, &place),
        Err(_) => {}
    }
    if is_over(&done, machine) {
        desk.described.machine(&shown);
    }
}

/// Whether a description is over: written, or refused as it is, which only another view can change.
fn is_over(done: &Result<(), CallFault>, about: &dyn Display) -> bool {
    match done {
        Ok(()) => true,
        Err(fault @ CallFault::Unprocessable(_)) => {
            tracing::error!(%about, %fault, "the API server refuses the description");
            true
        }
        Err(
            fault @ (CallFault::NotFound
            | CallFault::Conflict(_)
            | CallFault::Refused(_)
            | CallFault::Unsure(_)),
        ) => {
            tracing::debug!(%about, %fault, "cannot describe");
            false
        }
    }
}

async fn on_node(desk: &Desk, work: OnNode) {
    let writer = &desk.writer;
    let text = |fault: CallFault| fault.to_string();
    let fact = match work {
        OnNode::Fence {
            machine,
            node,
            cordon,
        } => {
            let fenced = nodes::fence(writer, &machine, &node, cordon).await;
            Fact::Fenced {
                machine,
                outcome: fenced.map_err(text),
            }
        }
        OnNode::ListPods { machine, node } => {
            let listed = pods::in_the_way(&writer.shared.cluster, &node).await;
            Fact::PodsListed {
                machine,
                outcome: listed.map_err(text),
            }
        }
        OnNode::Evict { machine, pods } => {
            // It has waited for its turn: meanwhile the order may have been taken back, which the view shows first.
            let view = desk.view();
            let shown = view.machines.get(&machine);
            let pods = if shown.is_some_and(|shown| shown.drain.is_some()) {
                evictions::evict(writer, pods).await
            } else {
                evictions::spare(pods)
            };
            Fact::Evicted { machine, pods }
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
        severity: Severity::Warning,
        reason: if fault.starts_with(Fault::LOCKED) {
            Fault::LOCKED
        } else {
            FAULTY
        },
        message: fault.clone(),
        operation: None,
    };
    outputs::log(&event);
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
    pub(super) async fn mandate(&self) {
        while !self.writer.shared.mandate.holds() {
            tokio::time::sleep(PACE).await;
        }
    }
}

#[cfg(test)]
mod tests;
