//! Giving machines back: fence their Nodes and store the orders first, then commit the smaller group.
//!
//! In: machines to remove, with or without a waiting caller. Out: fences, records, one change of the group.
//! Holds: an order takes effect only once the removal that made it is stored; one that never gets that far is void.
//! Not here: whether a machine may be stopped at all (`permission`).

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::actions::{Action, RejectedKind};
use crate::awaited::{AwaitedRecord, AwaitedState};
use crate::facts::StoreFault;
use crate::groups::{Caller, Change, What};
use crate::ids::{CommandId, GroupId, MachineId};
use crate::lab::{Ctx, Lab};
use crate::machine::{Machine, Phase};
use crate::node;
use crate::permission::is_registered;
use crate::record::OffOrder;
use crate::spec::Joins;

/// Machines on their way out of a group.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    number: u64,
    pub(crate) group: GroupId,
    pub(crate) machines: Vec<MachineId>,
    caller: Option<Caller>,
    stays: Stays,
    /// The orders that it has made, which stand or fall with it.
    orders: Vec<(MachineId, CommandId)>,
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
    pub(crate) stays: Stays,
}

/// What of a removal stays in its group after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    /// Nothing.
    Nothing,
    /// What has joined by the time the removal is stored.
    Registered,
}

/// Starts a removal. With no machine left to remove it still answers its caller.
pub(crate) fn prepare(lab: &mut Lab, group: &GroupId, leaving: Leaving, ctx: &mut Ctx<'_>) {
    let Leaving {
        machines,
        by,
        caller,
        stays,
    } = leaving;
    let number = lab.removals.iter().map(|r| r.number).max().unwrap_or(0) + 1;
    let mut removal = Removal {
        number,
        group: group.clone(),
        machines,
        caller,
        stays,
        orders: Vec::new(),
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
        // A proof would wake it again.
        if machine.record.order.as_ref().is_none_or(|o| o.then_wake) {
            removal.orders.push((id.clone(), order_id.clone()));
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

/// The order of a machine could not be stored: whoever waits for it is told now. Where nobody does, it is stored later, unless
/// the store refuses it as it is: the others that leave with it are not to wait for that.
pub(crate) fn record_failed(lab: &mut Lab, machine: &MachineId, fault: StoreFault) {
    for removal in lab.removals.iter_mut().filter(|r| !r.pushed) {
        let waits = removal.recording.iter().any(|r| r.machine == *machine);
        if waits && (removal.caller.is_some() || fault == StoreFault::Refused) {
            removal.refused = Some(format!("the order for {machine} could not be stored"));
        }
    }
}

/// The group is gone, and with it every change that was prepared for it.
pub(crate) fn abandon(lab: &mut Lab, group: &GroupId, ctx: &mut Ctx<'_>) {
    for removal in lab.removals.iter_mut().filter(|r| r.group == *group) {
        removal.refused = Some(format!("group {group} is gone"));
    }
    let handed_over: Vec<u64> = lab
        .removals
        .iter()
        .filter(|r| r.group == *group && r.pushed)
        .map(|r| r.number)
        .collect();
    for number in handed_over {
        undo(lab, number, ctx);
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
        let what = What::GiveBack(number);
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
    undo(lab, number, ctx);
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

/// The machines that leave, now that it is about to be stored: what stays is left out from here on, and loses its order.
pub(crate) fn narrow(lab: &mut Lab, number: u64) -> Vec<MachineId> {
    let Some(at) = lab.removals.iter().position(|r| r.number == number) else {
        return Vec::new();
    };
    let removal = &lab.removals[at];
    let stays = |id: &&MachineId| match removal.stays {
        Stays::Nothing => false,
        Stays::Registered => lab.machines.get(*id).is_some_and(|m| is_registered(m)),
    };
    let stay: BTreeSet<MachineId> = removal.machines.iter().filter(stays).cloned().collect();
    let removal = &mut lab.removals[at];
    removal.machines.retain(|id| !stay.contains(id));
    let leaving = removal.machines.clone();
    let orders = removal.orders.extract_if(.., |(id, _)| stay.contains(id));
    let void = orders.collect();
    withdraw(lab, void);
    leaving
}

/// Whether it is on its way out of its group: what is wished for it is not certain before that is stored, or given up.
pub(crate) fn takes(lab: &Lab, id: &MachineId) -> bool {
    lab.removals.iter().any(|r| r.machines.contains(id))
}

/// Whether its order waits for a removal to be stored.
pub(crate) fn is_open(lab: &Lab, id: &MachineId) -> bool {
    let mut orders = lab.removals.iter().flat_map(|removal| &removal.orders);
    orders.any(|(machine, _)| machine == id)
}

/// The commit is durable: the orders stand, whatever becomes of others that wanted the same machines.
pub(crate) fn finish(lab: &mut Lab, number: u64) {
    let Some(at) = lab.removals.iter().position(|r| r.number == number) else {
        return;
    };
    let done = lab.removals.remove(at);
    for other in &mut lab.removals {
        other.orders.retain(|(id, _)| !done.machines.contains(id));
    }
}

/// The removal failed: the orders that it had made are void. `lifecycle` takes taint and cordon off again, and goes on with the
/// wakes that have waited for this.
pub(crate) fn undo(lab: &mut Lab, number: u64, ctx: &mut Ctx<'_>) {
    ctx.at(ctx.now.boot_ms);
    if let Some(at) = lab.removals.iter().position(|r| r.number == number) {
        let removal = lab.removals.remove(at);
        withdraw(lab, removal.orders);
    }
}

/// Makes orders void that no other removal counts on.
fn withdraw(lab: &mut Lab, orders: Vec<(MachineId, CommandId)>) {
    for (id, order) in orders {
        if let Some(heir) = lab.removals.iter_mut().find(|r| r.machines.contains(&id)) {
            heir.orders.push((id, order));
        } else if let Some(machine) = lab.machines.get_mut(&id)
            && machine.record.order.as_ref().is_some_and(|o| o.id == order)
        {
            machine.record.order = None;
            machine.touch();
        }
    }
}
