//! The status of machines and groups: what must survive a restart, and what people read.
//!
//! In: a record, or a view. Out: `Recorded` or `RecordFailed`.
//! Holds: only fields that differ are written; where nothing differs, nothing is.
//! Holds: a stored token is tested, so a leader of yesterday cannot overwrite what its successor wrote.

use coordinator_core::{Fact, GroupId, MachineId, MachineRecord, MachineView, StoreFault, View};
use coordinator_crds::{Condition, GroupStatus, NodeStatus};

use super::{commits::store_fault, patch::Steps, writer::Writer};
use crate::{
    clock,
    documents::{self, Present},
    inputs::kubernetes::{CallFault, Place},
};

/// Stores a machine's record; what its view says rides along.
pub(super) async fn record(
    writer: &Writer,
    machine: MachineId,
    (version, record): (u64, MachineRecord),
    view: &View,
) -> Fact {
    let mirror = &writer.shared.mirror;
    mirror.writing_machine(&machine, Some(as_stored(&record)));
    let change = |status: &mut NodeStatus, place: &Place| {
        documents::store_machine(&record, status);
        if let Some(view) = view.machines.get(&machine) {
            describe(view, place, status);
        }
    };
    let outcome = update(writer, &machine, change).await;
    match outcome {
        Ok(()) => {
            mirror.writing_machine(&machine, None);
            Fact::Recorded { machine, version }
        }
        Err(fault) => {
            // A write of unknown outcome may still appear; it stays known as ours.
            let fault = told(&machine, &fault);
            Fact::RecordFailed { machine, fault }
        }
    }
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
    update(writer, machine, change).await
}

/// Pins the key that a machine's own agent was first seen with.
pub(super) async fn pin_key(
    writer: &Writer,
    machine: &MachineId,
    key: &str,
) -> Result<(), CallFault> {
    let change = |status: &mut NodeStatus, _: &Place| {
        let agent = status.agent.get_or_insert_default();
        agent.public_key.get_or_insert_with(|| key.to_owned());
    };
    update(writer, machine, change).await
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
    update(writer, machine, change).await
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
    let (mut place, mut before) = (entry.place, entry.status);
    for again in [true, false] {
        let mut after = before.clone().unwrap_or_default();
        documents::describe_group(group, &members, present(&place), &mut after);
        let old = before.clone().unwrap_or_default();
        if before.is_some() && silent_group(old) == silent_group(after.clone()) {
            return Ok(());
        }
        let Some(steps) = Steps::status(&place.uid, before.as_ref(), &after) else {
            return Ok(());
        };
        match writer.patch_group(id, &place, steps).await {
            Err(CallFault::Unprocessable(_)) if again => {
                (place, before) = writer.read_group(id).await?;
            }
            outcome => return outcome.map(drop),
        }
    }
    Ok(())
}

/// Changes a machine's status, starting from what was seen last; once more from what is there if that was old.
async fn update(
    writer: &Writer,
    machine: &MachineId,
    change: impl Fn(&mut NodeStatus, &Place),
) -> Result<(), CallFault> {
    let entry = writer
        .shared
        .mirror
        .machine(machine)
        .ok_or(CallFault::NotFound)?;
    let (mut place, mut before) = (entry.place, entry.status);
    for again in [true, false] {
        let mut after = before.clone().unwrap_or_default();
        change(&mut after, &place);
        let Some(steps) = machine_steps(&place, before.as_ref(), &after) else {
            return Ok(());
        };
        match writer.patch_machine(machine, &place, steps).await {
            Err(CallFault::Unprocessable(_)) if again => {
                (place, before) = writer.read_machine(machine, &place).await?;
            }
            outcome => return outcome,
        }
    }
    Ok(())
}

fn machine_steps(place: &Place, before: Option<&NodeStatus>, after: &NodeStatus) -> Option<Steps> {
    let steps = Steps::status(&place.uid, before, after)?;
    let Some(before) = before else {
        return Some(steps);
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

fn told(machine: &MachineId, fault: &CallFault) -> StoreFault {
    let class = store_fault(fault);
    match class {
        StoreFault::Refused => tracing::error!(machine = %machine, %fault, "cannot store record"),
        StoreFault::Unavailable => {
            tracing::warn!(machine = %machine, %fault, "cannot store record now");
        }
    }
    class
}

#[cfg(test)]
mod tests;
