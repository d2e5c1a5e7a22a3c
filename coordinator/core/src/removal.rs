//! Giving machines back: fence their Nodes and store the orders first, then commit the smaller group.
//!
//! In: machines to remove, with or without a waiting caller. Out: fences, records, one change of the group.
//! Holds: an order takes effect only once its machine is no longer wanted; an order that never got that far is void.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::actions::{Action, RejectedKind};
use crate::choice;
use crate::groups::{Change, What};
use crate::ids::{AgentId, GroupId, MachineId, Ticket};
use crate::lab::{Ctx, Lab};
use crate::machine::{Machine, Phase};
use crate::node;
use crate::record::{OffOrder, OverridePower, PowerState};
use crate::spec::{Joins, PowerPolicy};

/// Machines on their way out of a group.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    number: u64,
    pub(crate) group: GroupId,
    pub(crate) machines: Vec<MachineId>,
    caller: Option<(Ticket, u64)>,
    fencing: BTreeSet<MachineId>,
    /// Record versions that must be stored before the commit.
    recording: Vec<(MachineId, u64)>,
    refused: Option<String>,
    pushed: bool,
}

/// What is to leave a group.
pub(crate) struct Leaving {
    pub(crate) machines: Vec<MachineId>,
    /// Who wants it.
    pub(crate) by: String,
    /// Who waits for it, and until when.
    pub(crate) caller: Option<(Ticket, u64)>,
}

/// A member that has joined: the minimum protects it.
pub(crate) fn is_registered(machine: &Machine) -> bool {
    match machine.phase {
        Phase::Running => true,
        Phase::Unknown => {
            machine.record.power.state == PowerState::Running || machine.seen.node.is_some()
        }
        Phase::Waking(_) | Phase::WakeFailed(_) => {
            machine.seen.node.as_ref().is_some_and(|n| n.ready)
        }
        Phase::Off | Phase::Stopping(_) => false,
    }
}

/// Why a machine must not be stopped by anybody but a person at its power button.
pub(crate) fn protected(lab: &Lab, machine: &Machine) -> Option<&'static str> {
    let node = machine.seen.node.as_ref();
    if node.is_some_and(node::is_control_plane) {
        return Some("ControlPlane");
    }
    if lab
        .policy
        .own_node
        .as_ref()
        .is_some_and(|own| *own == machine.spec.node_name)
    {
        return Some("OwnMachine");
    }
    last_relay(lab, machine).then_some("LastRelay")
}

/// Whether a segment's sleepers could not be woken any more without this machine.
fn last_relay(lab: &Lab, machine: &Machine) -> bool {
    let Some(info) = lab
        .agents
        .get(&machine.spec.agent)
        .and_then(|a| a.info.as_ref())
    else {
        return false;
    };
    info.segments.iter().any(|segment| {
        let needed = lab.machines.values().any(|other| {
            other.id() != machine.id()
                && other
                    .spec
                    .wake_on_lan
                    .as_ref()
                    .is_some_and(|w| w.segment == *segment)
        });
        let silent_ms = lab.policy.agent_silent_ms;
        let others = lab.agents.iter().any(|(id, _)| {
            *id != machine.spec.agent
                && lab.agents.relays_at(id, segment, lab.now_ms, silent_ms)
                && !is_leaving(lab, id)
        });
        needed && !others
    })
}

/// Whether the machine of an agent is on its way down.
fn is_leaving(lab: &Lab, agent: &AgentId) -> bool {
    lab.machines
        .values()
        .filter(|m| m.spec.agent == *agent)
        .any(|m| {
            m.record.order.is_some()
                || matches!(m.phase, Phase::Stopping(_))
                || lab.removals.iter().any(|r| r.machines.contains(m.id()))
        })
}

/// Whether the coordinator may stop a machine at all.
pub(crate) fn may_stop(lab: &Lab, machine: &Machine) -> Result<(), String> {
    let id = machine.id();
    if let Some(reason) = protected(lab, machine) {
        return Err(format!("{id} is not stopped: {reason}"));
    }
    if machine.spec.wake.is_empty() {
        return Err(format!("{id} has no way to be woken again"));
    }
    if let Some(fault) = &machine.spec.fault {
        return Err(format!("{id} is not managed: {fault}"));
    }
    let proof = lab
        .groups
        .get(&machine.spec.group)
        .is_none_or(|g| g.spec.require_proof);
    if proof && machine.record.proven_at_ms.is_none() && is_registered(machine) {
        return Err(format!("{id} has never been woken by us: prove it first"));
    }
    Ok(())
}

/// Whether the cluster-autoscaler may give a machine back.
pub(crate) fn may_delete(lab: &Lab, machine: &Machine) -> Result<(), (RejectedKind, String)> {
    let refuse = |message: String| Err((RejectedKind::FailedPrecondition, message));
    match machine.spec.power {
        PowerPolicy::Auto => {}
        PowerPolicy::AlwaysOn => return refuse(format!("{} has power: AlwaysOn", machine.id())),
        PowerPolicy::AlwaysOff | PowerPolicy::Unmanaged => {
            return refuse(format!("{} is not the autoscaler's", machine.id()));
        }
    }
    if let Some(o) = machine
        .record
        .override_
        .as_ref()
        .filter(|o| o.power == OverridePower::Running)
    {
        return refuse(format!("{} is kept running by {}", machine.id(), o.by));
    }
    may_stop(lab, machine).or_else(refuse)
}

/// Joined machines are never removed below the minimum; those that have not joined may be.
pub(crate) fn check_minimum(
    lab: &Lab,
    id: &GroupId,
    wanted: &[MachineId],
    machines: &[MachineId],
    asked: bool,
) -> Result<(), (RejectedKind, String)> {
    let Some(group) = lab.groups.get(id).filter(|_| asked) else {
        return Ok(());
    };
    let leaving: Vec<&MachineId> = machines.iter().filter(|m| wanted.contains(m)).collect();
    let after = choice::members(lab, id, wanted).saturating_sub(leaving.len());
    let min = usize::try_from(group.spec.min_size).unwrap_or(usize::MAX);
    let joined = leaving
        .iter()
        .any(|m| lab.machines.get(m).is_some_and(is_registered));
    if joined && after < min {
        let message = format!("group {id} would have {after} machines, its minSize is {min}");
        return Err((RejectedKind::FailedPrecondition, message));
    }
    Ok(())
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
            machine.record.order = Some(OffOrder {
                id: order_id,
                by: by.clone(),
                at_ms: ctx.now.wall_ms,
                then_wake: false,
            });
            machine.touch();
        }
        removal
            .recording
            .push((id.clone(), machine.pending_version()));
        if let Some(node) = machine
            .seen
            .node
            .as_ref()
            .filter(|_| machine.spec.joins == Joins::Kubelet)
            && !node::is_fenced(node)
        {
            removal.fencing.insert(id.clone());
            ctx.out.push(Action::Fence {
                machine: id.clone(),
                node: node.name.clone(),
            });
        }
    }
    lab.removals.push(removal);
}

/// A machine that was never sent a wake just is not woken; any other may be up, or come up.
fn needs_order(machine: &Machine) -> bool {
    match &machine.phase {
        Phase::Off | Phase::WakeFailed(_) => false,
        Phase::Waking(waking) => waking.effect_possible(),
        Phase::Unknown => !machine.never_seen(),
        Phase::Running | Phase::Stopping(_) => true,
    }
}

/// The order of a machine could not be stored: whoever waits for it is told now.
pub(crate) fn record_failed(lab: &mut Lab, machine: &MachineId) {
    for removal in lab.removals.iter_mut().filter(|r| !r.pushed) {
        let waits = removal.recording.iter().any(|(id, _)| id == machine);
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
            .is_some_and(|(_, deadline_ms)| ctx.due(deadline_ms));
        let stored = |(id, version): &(MachineId, u64)| {
            lab.machines.get(id).is_none_or(|m| m.is_recorded(*version))
        };
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
    let caller = lab
        .removals
        .iter()
        .find(|r| r.number == number)
        .and_then(|r| r.caller);
    undo(lab, number);
    if let Some((ticket, _)) = caller {
        match refused {
            Some(message) => ctx.reject(ticket, RejectedKind::Unavailable, message),
            None => ctx.reject(
                ticket,
                RejectedKind::DeadlineExceeded,
                "the caller's deadline passed before anything was stored",
            ),
        }
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
