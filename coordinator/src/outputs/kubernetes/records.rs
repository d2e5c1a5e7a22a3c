//! The status of machines and groups: what must survive a restart, and what people read.
//!
//! In: a record, or a view. Out: whether it is stored.
//! Holds: only fields that differ are written; where nothing differs, nothing is.
//! Holds: stored token and operation are tested, so a leader of yesterday cannot overwrite what its successor wrote; a
//! higher token than our own ends the mandate.
//! Holds: what is refused although nothing has changed is our fault, and is not tried again as it is.

use coordinator_core::{GroupId, MachineId, MachineRecord, MachineView, StoreFault, Token, View};
use coordinator_crds::{Condition, GroupStatus, NodeStatus, node_status::Operation};

use super::{patch::Steps, writer::Writer};
use crate::{
    clock,
    documents::{self, Present},
    inputs::kubernetes::{CALL, CallFault, Place},
};

/// How often a status is written on top of what somebody else has just written.
const TRIES: u32 = 3;

/// Stores a machine's record; what its view says rides along.
pub(super) async fn record(
    writer: &Writer,
    machine: &MachineId,
    record: &MachineRecord,
    view: &View,
) -> Result<(), CallFault> {
    let mirror = &writer.shared.mirror;
    mirror.writing_machine(machine, Some(as_stored(record)));
    let change = |status: &mut NodeStatus, place: &Place| {
        documents::store_machine(record, status);
        if let Some(view) = view.machines.get(machine) {
            describe(view, place, status);
        }
    };
    let written = update(writer, machine, Some(record.token), change).await;
    if written.is_ok() {
        mirror.writing_machine(machine, None);
    }
    // A write of unknown outcome may still appear; it stays known as ours.
    written
}

/// Writes what a machine's view says, if that differs in more than words.
pub(super) async fn describe_machine(
    writer: &Writer,
    machine: &MachineId,
    view: &MachineView,
) -> Result<(), CallFault> {
    let change = |status: &mut NodeStatus, place: &Place| {
        let mut described = status.clone();
        describe(view, place, &mut described);
        if !same_but_words(status, &described) {
            *status = described;
        }
    };
    update(writer, machine, None, change).await
}

/// Pins the key that a machine's own agent was first seen with, if no other write has taken it along.
pub(super) async fn pin_key(writer: &Writer, machine: &MachineId) -> Result<(), CallFault> {
    update(writer, machine, None, |_, _| {}).await
}

/// Takes a person's request off a machine, if it is still that one.
pub(super) async fn drop_ask(
    writer: &Writer,
    machine: &MachineId,
    id: &str,
) -> Result<(), CallFault> {
    let change = |status: &mut NodeStatus, _: &Place| {
        if status.ask.as_ref().is_some_and(|ask| ask.id == id) {
            status.ask = None;
        }
    };
    update(writer, machine, None, change).await
}

/// Writes what a group's view says, if that differs in more than words.
pub(super) async fn describe_group(
    writer: &Writer,
    id: &GroupId,
    view: &View,
) -> Result<(), CallFault> {
    let Some(group) = view.groups.get(id) else {
        return Ok(());
    };
    let members: Vec<&MachineView> = view
        .machines
        .values()
        .filter(|machine| machine.group == *id)
        .map(|machine| &**machine)
        .collect();
    let Some(entry) = writer.shared.mirror.group(id) else {
        return Ok(());
    };
    let steps = |place: &Place, before: Option<&GroupStatus>| {
        let mut after = before.cloned().unwrap_or_default();
        documents::describe_group(group, &members, present(place), &mut after);
        let silent = |status: &GroupStatus| silent_group(status.clone());
        if before.is_some_and(|before| silent(before) == silent(&after)) {
            return Ok(None);
        }
        Ok(Steps::status(&place.uid, before, &after))
    };
    write_upon(&OneGroup { writer, id }, (entry.place, entry.status), steps).await
}

/// Changes a machine's status, starting from what was seen last; from what is there now if that was old. `ours` is the token
/// of a record: where a higher one is stored, another process leads, and nothing is written over what it wrote.
async fn update(
    writer: &Writer,
    machine: &MachineId,
    ours: Option<Token>,
    change: impl Fn(&mut NodeStatus, &Place),
) -> Result<(), CallFault> {
    let entry = writer
        .shared
        .mirror
        .machine(machine)
        .ok_or(CallFault::NotFound)?;
    let steps = |place: &Place, before: Option<&NodeStatus>| {
        let stored = documents::machine_record(before).token;
        if ours.is_some_and(|ours| stored > ours) {
            writer.shared.mandate.revoke();
            tracing::error!(
                %machine,
                token = %format_args!("{}.{}", stored.epoch, stored.seq),
                "another coordinator has stored a higher token: giving up leadership"
            );
            return Err(CallFault::Unsure("another coordinator leads".to_owned()));
        }
        let mut after = before.cloned().unwrap_or_default();
        change(&mut after, place);
        writer.pins.ride(machine, &mut after);
        let steps = machine_steps(place, before, &after);
        if steps.is_none() {
            writer.pins.stored(machine, &after);
        }
        Ok(steps)
    };
    let one = OneMachine { writer, machine };
    write_upon(&one, (entry.place, entry.status), steps).await
}

/// An object of ours whose status is written.
trait One {
    type Status: PartialEq + Send + Sync;

    fn patch(
        &self,
        place: &Place,
        steps: Steps,
    ) -> impl Future<Output = Result<(), CallFault>> + Send;

    fn read(
        &self,
        place: &Place,
    ) -> impl Future<Output = Result<(Place, Option<Self::Status>), CallFault>> + Send;
}

struct OneGroup<'a> {
    writer: &'a Writer,
    id: &'a GroupId,
}

impl One for OneGroup<'_> {
    type Status = GroupStatus;

    async fn patch(&self, place: &Place, steps: Steps) -> Result<(), CallFault> {
        let patched = self.writer.patch_group(self.id, place, steps, CALL).await;
        patched.map(drop)
    }

    async fn read(&self, place: &Place) -> Result<(Place, Option<GroupStatus>), CallFault> {
        let found = self.writer.read_group(self.id).await?;
        if found.0.uid != place.uid {
            return Err(CallFault::NotFound);
        }
        Ok(found)
    }
}

struct OneMachine<'a> {
    writer: &'a Writer,
    machine: &'a MachineId,
}

impl One for OneMachine<'_> {
    type Status = NodeStatus;

    async fn patch(&self, place: &Place, steps: Steps) -> Result<(), CallFault> {
        self.writer.patch_machine(self.machine, place, steps).await
    }

    async fn read(&self, place: &Place) -> Result<(Place, Option<NodeStatus>), CallFault> {
        self.writer.read_machine(self.machine, place).await
    }
}

/// Writes a status upon what was seen last, and where that is refused, upon what is there now. What is refused although nothing
/// had changed is our fault.
async fn write_upon<O: One>(
    one: &O,
    (mut place, mut before): (Place, Option<O::Status>),
    steps: impl Fn(&Place, Option<&O::Status>) -> Result<Option<Steps>, CallFault>,
) -> Result<(), CallFault> {
    for _ in 0..TRIES {
        let Some(steps) = steps(&place, before.as_ref())? else {
            return Ok(());
        };
        let Err(fault) = one.patch(&place, steps).await else {
            return Ok(());
        };
        if !matches!(fault, CallFault::Unprocessable(_)) {
            return Err(fault);
        }
        let refused = before;
        (place, before) = one.read(&place).await?;
        if before == refused {
            return Err(fault);
        }
    }
    // Somebody else writes faster than we do.
    Err(CallFault::Conflict(
        "its status changed each time".to_owned(),
    ))
}

fn machine_steps(place: &Place, before: Option<&NodeStatus>, after: &NodeStatus) -> Option<Steps> {
    let steps = Steps::status(&place.uid, before, after)?;
    let Some(before) = before else {
        return Some(steps);
    };
    let steps = match &before.operation {
        Some(operation) => steps.provided(&["status", "operation", "id"], &operation.id),
        None => steps.provided(&["status", "operation"], ()),
    };
    let steps = steps.provided(&["status", "token"], before.token);
    if before.ask == after.ask {
        return Some(steps);
    }
    // A request must not vanish under one that came later.
    Some(steps.provided(&["status", "ask"], &before.ask))
}

fn describe(view: &MachineView, place: &Place, status: &mut NodeStatus) {
    documents::describe_machine(view, present(place), status);
}

fn present(place: &Place) -> Present {
    Present {
        generation: place.generation,
        now_ms: clock::now().wall_ms,
    }
}

/// Whether two statuses tell the same, whatever sentences they tell it in: those ride with the next write.
fn same_but_words(one: &NodeStatus, other: &NodeStatus) -> bool {
    let silent = |status: &NodeStatus| NodeStatus {
        why: status.why.clone().filter(|why| !is_progress(why)),
        // Its deadline is moved by a second by the first wake.
        operation: status.operation.clone().map(|operation| Operation {
            deadline: None,
            ..operation
        }),
        conditions: silent(&status.conditions),
        ..status.clone()
    };
    silent(one) == silent(other)
}

fn silent_group(status: GroupStatus) -> GroupStatus {
    GroupStatus {
        // Both move with every step of every member; the next write of the wish or of who is ready carries them.
        transitioning: None,
        asleep: None,
        conditions: silent(&status.conditions),
        ..status
    }
}

/// Words of a wake or a stop that goes as it should: each step alone is not worth a write.
fn is_progress(why: &str) -> bool {
    matches!(
        why,
        "WakeOrdered" | "WakeSent" | "Booting" | "StopOrdered" | "StopSent" | "StopAccepted"
    )
}

fn silent(conditions: &[Condition]) -> Vec<Condition> {
    conditions
        .iter()
        .cloned()
        .map(|condition| Condition {
            message: String::new(),
            reason: if is_progress(&condition.reason) {
                String::new()
            } else {
                condition.reason
            },
            ..condition
        })
        .collect()
}

/// A record as the store gives it back.
fn as_stored(record: &MachineRecord) -> MachineRecord {
    let mut status = NodeStatus::default();
    documents::store_machine(record, &mut status);
    documents::machine_record(Some(&status))
}

/// What a fault means to the core. A missing right may be given later, unlike a status that the schema takes.
pub(super) fn store_fault(fault: &CallFault) -> StoreFault {
    match fault {
        CallFault::Unsure(_) | CallFault::Conflict(_) | CallFault::Refused(_) => {
            StoreFault::Unavailable
        }
        CallFault::NotFound | CallFault::Unprocessable(_) => StoreFault::Refused,
    }
}

#[cfg(test)]
mod tests;
