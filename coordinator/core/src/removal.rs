//! Giving machines back: fence their Nodes and store the orders first, then commit the smaller group.
//!
//! In: machines to remove, with or without a waiting caller. Out: fences, records, one change of the group.
//! Holds: an order takes effect only once its machine is no longer wanted; an order that never got that far is void.
//! Not here: whether a machine may be stopped at all (`permission`).

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::actions::{Action, RejectedKind};
use crate::groups::{Caller, Change, What};
use crate::ids::{GroupId, MachineId};
use crate::lab::{Ctx, Lab};
use crate::machine::{AwaitedRecord, AwaitedState, Machine, Phase};
use crate::node;
use crate::record::OffOrder;
use crate::spec::Joins;

/// Machines on their way out of a group.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    number: u64,
    pub(crate) group: GroupId,
    pub(crate) machines: Vec<MachineId>,
    caller: Option<Caller>,
    fencing: BTreeSet<MachineId>,
    /// Record versions that must be stored before the commit.
    recording: Vec<AwaitedRecord>,
    refused: Option<String>,
    pushed: bool,
}

/// What is to leave a group.
pub(crate) struct Leaving {
    pub(crate) machines: Vec<MachineId>,
    /// Who wants it.
    pub(crate) by: String,
    /// Who waits for it, and until when.
    pub(crate) caller: Option<Caller>,
}

/// Starts a removal. With no machine left to remove it still answers its caller.
pub(crate) fn prepare(lab: &mut Lab, group: &GroupId, leaving: Leaving, ctx: &mut Ctx<'_>) {
    let Leaving {
        machines,
        by,
        caller,
    } = leaving;
    let number = lab.removals.iter().map(|r| r.number).max().unwrap_or(0) + 1;
    let mut removal = Removal {
        number,
        group: group.clone(),
        machines,
        caller,
        fencing: BTreeSet::new(),
        recording: Vec::new(),
        refused: None,
        pushed: false,
    };
    for id in &removal.machines {
        let order_id = ctx.mint.ulid(ctx.now.wall_ms);
        let Some(machine) = lab.machines.get_mut(id) else {
            continue;
        };
        if !needs_order(machine) {
            continue;
        }
        if machine.record.order.is_none() {
            machine.record.order = Some(Box::new(OffOrder {
                id: order_id,
                by: by.clone(),
                at_ms: ctx.now.wall_ms,
                then_wake: false,
            }));
            machine.touch();
        }
        removal.recording.push(machine.awaited_record());
        if let Some(node) = machine
            .seen
            .node
            .as_deref()
            .filter(|_| machine.spec.joins == Joins::Kubelet)
            && !node::is_fenced(node)
        {
            removal.fencing.insert(id.clone());
            ctx.out.push(Action::Fence {
                machine: id.clone(),
                node: node.name.clone(),
                cordon: machine.seen.cordon(),
            });
        }
    }
    lab.removals.push(removal);
}

/// A machine that was never sent a wake, or did not come in its time, just is not woken; any other may be up, or come up.
fn needs_order(machine: &Machine) -> bool {
    match &machine.phase {
        Phase::Off => false,
        Phase::WakeFailed(failed) => failed.hangs,
        Phase::Waking(waking) => waking.effect_possible(),
        Phase::Unknown(_) => !machine.never_seen(),
        Phase::Running | Phase::Stopping(_) => true,
    }
}

/// The order of a machine could not be stored: whoever waits for it is told now.
pub(crate) fn record_failed(lab: &mut Lab, machine: &MachineId) {
    for removal in lab.removals.iter_mut().filter(|r| !r.pushed) {
        let waits = removal.recording.iter().any(|r| r.machine == *machine);
        if waits && removal.caller.is_some() {
            removal.refused = Some(format!("the order for {machine} could not be stored"));
        }
    }
}

/// The group is gone, and with it every change that was prepared for it.
pub(crate) fn abandon(lab: &mut Lab, group: &GroupId) {
    let handed_over: Vec<u64> = lab
        .removals
        .iter()
        .filter(|r| r.group == *group && r.pushed)
        .map(|r| r.number)
        .collect();
    for number in handed_over {
        undo(lab, number);
    }
}

/// Takes in the outcome of a fence, for every removal that waits for it.
pub(crate) fn fenced(
    lab: &mut Lab,
    machine: &MachineId,
    outcome: Result<(), String>,
    ctx: &mut Ctx<'_>,
) {
    for removal in &mut lab.removals {
        if removal.fencing.remove(machine)
            && let Err(fault) = &outcome
        {
            removal.refused = Some(format!(
                "the Node of {machine} could not be tainted and cordoned: {fault}"
            ));
        }
    }
    if let (Ok(()), Some(machine)) = (&outcome, lab.machines.get_mut(machine)) {
        machine.seen.fenced_ms.get_or_insert(ctx.now.boot_ms);
    }
}

/// Hands prepared removals to their groups and gives up the ones that are too late.
pub(crate) fn run(lab: &mut Lab, ctx: &mut Ctx<'_>) {
    let mut given_up = Vec::new();
    let mut ready = Vec::new();
    for removal in lab.removals.iter().filter(|r| !r.pushed) {
        let late = removal
            .caller
            .is_some_and(|caller| ctx.due(caller.deadline_ms));
        // Nobody waits for a machine that is gone.
        let stored = |awaited: &AwaitedRecord| awaited.state(lab) != AwaitedState::Open;
        if late || removal.refused.is_some() {
            given_up.push((removal.number, removal.refused.clone()));
        } else if removal.fencing.is_empty() && removal.recording.iter().all(stored) {
            ready.push(removal.number);
        }
    }
    for (number, refused) in given_up {
        give_up(lab, number, refused, ctx);
    }
    for number in ready {
        let Some(removal) = lab.removals.iter_mut().find(|r| r.number == number) else {
            continue;
        };
        removal.pushed = true;
        let what = What::Remove {
            machines: removal.machines.clone(),
            removal: Some(number),
        };
        let change = Change {
            what,
            caller: removal.caller,
        };
        let group = removal.group.clone();
        match lab.groups.get_mut(&group) {
            Some(group) => group.push(change),
            None => give_up(lab, number, Some(format!("group {group} is gone")), ctx),
        }
    }
}

fn give_up(lab: &mut Lab, number: u64, refused: Option<String>, ctx: &mut Ctx<'_>) {
    let Some(removal) = lab.removals.iter().find(|r| r.number == number) else {
        return;
    };
    let (caller, group) = (removal.caller, removal.group.clone());
    undo(lab, number);
    let Some(caller) = caller else {
        let again_ms = ctx.now.boot_ms.saturating_add(ctx.policy.store_retry_ms);
        if let Some(group) = lab.groups.get_mut(&group) {
            group.give_back_ms = Some(again_ms);
        }
        return;
    };
    match refused {
        Some(message) => ctx.reject(caller.ticket, RejectedKind::Unavailable, message),
        None => caller.reject_late(ctx),
    }
}

/// The commit is durable: the orders stand.
pub(crate) fn finish(lab: &mut Lab, number: u64) {
    lab.removals.retain(|r| r.number != number);
}

/// The removal failed: the orders it had prepared are void. `lifecycle` takes taint and cordon off again.
pub(crate) fn undo(lab: &mut Lab, number: u64) {
    let Some(at) = lab.removals.iter().position(|r| r.number == number) else {
        return;
    };
    let removal = lab.removals.remove(at);
    for id in &removal.machines {
        let shared = lab.removals.iter().any(|r| r.machines.contains(id));
        let wanted = lab.groups.get(&removal.group).is_some_and(|g| g.wants(id));
        if let Some(machine) = lab.machines.get_mut(id).filter(|_| wanted && !shared)
            && machine.record.order.take().is_some()
        {
            machine.touch();
        }
    }
}
