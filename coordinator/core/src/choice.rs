//! Which machine: the usable ones in order, the ones to give back, and the sizes the coordinator keeps by itself.
//!
//! Holds: longest off first, name at ties; a sick, foreign or held machine is never chosen.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::actions::RejectedKind;
use crate::groups::{Change, What};
use crate::ids::{GroupId, MachineId};
use crate::lab::{Ctx, Lab};
use crate::machine::{Machine, Phase};
use crate::permission;
use crate::record::OverridePower;
use crate::removal::{self, Leaving, Stays};
use crate::spec::{Mode, PowerPolicy};

/// Whether a machine could be woken for its group now.
pub(crate) fn usable(machine: &Machine, wall_ms: i64) -> bool {
    let off = match machine.phase {
        Phase::Off => true,
        Phase::Unknown(_) => machine.never_seen(),
        Phase::Waking(_) | Phase::WakeFailed(_) | Phase::Running | Phase::Stopping(_) => false,
    };
    off && machine.spec.power == PowerPolicy::Auto
        && machine.spec.fault.is_none()
        && !machine.spec.wake.is_empty()
        && !machine.quarantined(wall_ms)
        && !machine.old_node
        && machine.record.order.is_none()
        && !machine
            .record
            .override_
            .as_ref()
            .is_some_and(|o| o.power == OverridePower::Off)
}

/// Usable machines of a group that are not wanted yet: longest off first, those never seen last, name at ties.
pub(crate) fn candidates(
    lab: &Lab,
    id: &GroupId,
    wanted: &[MachineId],
    wall_ms: i64,
) -> Vec<MachineId> {
    let mut usable: Vec<(i64, &MachineId)> = lab
        .machines
        .values()
        .filter(|m| m.spec.group == *id && !wanted.contains(m.id()) && usable(m, wall_ms))
        .map(|m| (m.record.last_off_at_ms.unwrap_or(i64::MAX), m.id()))
        .collect();
    usable.sort();
    usable.into_iter().map(|(_, id)| id.clone()).collect()
}

/// How many of these are declared members of the group: others may have been removed or moved since they were wanted.
pub(crate) fn members(lab: &Lab, id: &GroupId, wanted: &[MachineId]) -> usize {
    let is_member = |m: &&MachineId| lab.machines.get(*m).is_some_and(|m| m.spec.group == *id);
    wanted.iter().filter(is_member).count()
}

/// The machines an increase takes, or why it cannot be met in full.
pub(crate) fn for_increase(
    lab: &Lab,
    id: &GroupId,
    wanted: &[MachineId],
    delta: i32,
    ctx: &mut Ctx<'_>,
) -> Result<Vec<MachineId>, (RejectedKind, String)> {
    let Some(group) = lab.groups.get(id) else {
        return Err((
            RejectedKind::NotFound,
            format!("group {id} is not declared"),
        ));
    };
    let count = usize::try_from(delta).unwrap_or(0);
    if group.frozen(ctx) {
        let message = format!("group {id} is frozen: many of its machines fell silent at once");
        return Err((RejectedKind::FailedPrecondition, message));
    }
    let after = members(lab, id, wanted) + count;
    if let Some(max) = group
        .spec
        .max_size
        .filter(|max| after > usize::try_from(*max).unwrap_or(usize::MAX))
    {
        let message = format!("group {id} would have {after} machines, its maxSize is {max}");
        return Err((RejectedKind::FailedPrecondition, message));
    }
    let mut usable = candidates(lab, id, wanted, ctx.now.wall_ms);
    if usable.len() < count {
        let message = format!(
            "group {id} has {} usable machines, {count} are asked for",
            usable.len()
        );
        return Err((RejectedKind::ResourceExhausted, message));
    }
    usable.truncate(count);
    Ok(usable)
}

/// How far a machine that was asked for has come: the less, the sooner it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// No wake has left for it.
    NotWoken,
    /// Its wake was in vain.
    Failed,
    /// A wake has left, and nothing shows that it had an effect.
    Woken,
    /// It has power.
    Powered,
}

fn progress(machine: &Machine) -> Progress {
    match &machine.phase {
        Phase::Waking(_) if machine.shows_power() => Progress::Powered,
        Phase::Waking(waking) if waking.effect_possible() => Progress::Woken,
        Phase::WakeFailed(failed) if failed.was_sent => Progress::Failed,
        Phase::Waking(_)
        | Phase::WakeFailed(_)
        | Phase::Unknown(_)
        | Phase::Off
        | Phase::Running
        | Phase::Stopping(_) => Progress::NotWoken,
    }
}

/// Machines a decrease gives back: not joined ones only, those that have come least far first, newest first.
pub(crate) fn for_decrease(lab: &Lab, id: &GroupId, count: usize) -> Vec<MachineId> {
    let Some(group) = lab.groups.get(id) else {
        return Vec::new();
    };
    let mut candidates: Vec<(Progress, usize, &MachineId)> = Vec::new();
    for (age, id) in group.record.wanted.iter().rev().enumerate() {
        let Some(machine) = lab.machines.get(id) else {
            continue;
        };
        let settled = machine.is_refused() || removal::takes(lab, id);
        if settled || permission::is_registered(machine) {
            continue;
        }
        candidates.push((progress(machine), age, id));
    }
    candidates.sort();
    candidates
        .into_iter()
        .take(count)
        .map(|(_, _, id)| id.clone())
        .collect()
}

/// Keeps minimum sizes, and the size of groups that a person sets.
pub(crate) fn keep_sizes(lab: &mut Lab, ctx: &mut Ctx<'_>) {
    let ids: Vec<GroupId> = lab.groups.keys().cloned().collect();
    for id in ids {
        let Some(group) = lab.groups.get(&id) else {
            continue;
        };
        if group.spec.paused || !group.settled() || group.frozen(ctx) {
            continue;
        }
        let wanted = &group.record.wanted;
        let (at_least, at_most) = match group.spec.mode {
            Mode::Autoscaler => (group.spec.min_size, None),
            Mode::Manual { target } => {
                (target, Some(usize::try_from(target).unwrap_or(usize::MAX)))
            }
        };
        let sound: Vec<MachineId> = wanted
            .iter()
            .filter(|id| !failed(lab, id))
            .cloned()
            .collect();
        let sound = members(lab, &id, &sound);
        let missing = missing(lab, &id, at_least, sound);
        // A machine that does not start is made up for; that does not make the others too many.
        let surplus = at_most.map_or(0, |most| sound.saturating_sub(most));
        if missing > 0 {
            let mut machines = candidates(lab, &id, wanted, ctx.now.wall_ms);
            machines.truncate(missing);
            push(lab, &id, What::Add { machines });
        } else if surplus > 0 {
            give_back(lab, &id, surplus, ctx);
        }
    }
}

/// How many machines a group lacks that has so many sound ones.
fn missing(lab: &Lab, id: &GroupId, at_least: u32, sound: usize) -> usize {
    let at_least = usize::try_from(at_least).unwrap_or(usize::MAX);
    match at_least.saturating_sub(sound) {
        // All machines are looked at for the others: that is left out where they do not matter.
        0 => 0,
        missing => missing.saturating_sub(unlisted_running(lab, id)),
    }
}

fn push(lab: &mut Lab, id: &GroupId, what: What) {
    let empty = matches!(&what, What::Add { machines } if machines.is_empty());
    if let Some(group) = lab.groups.get_mut(id).filter(|_| !empty) {
        group.push(Change { what, caller: None });
    }
}

fn failed(lab: &Lab, id: &MachineId) -> bool {
    lab.machines
        .get(id)
        .is_some_and(|m| matches!(m.phase, Phase::WakeFailed(_)))
}

/// Running machines that nobody may stop: they count towards a minimum although they are not listed.
fn unlisted_running(lab: &Lab, id: &GroupId) -> usize {
    let Some(group) = lab.groups.get(id) else {
        return 0;
    };
    lab.machines
        .values()
        .filter(|m| m.spec.group == *id && m.spec.power == PowerPolicy::Auto)
        .filter(|m| matches!(m.phase, Phase::Running) && !group.wants(m.id()))
        .count()
}

/// A manual group shrinks: first what has not joined, then the machines that were asked for last.
fn give_back(lab: &mut Lab, id: &GroupId, surplus: usize, ctx: &mut Ctx<'_>) {
    let again_ms = lab.groups.get(id).and_then(|group| group.give_back_ms);
    if lab.removals.iter().any(|r| r.group == *id) || !again_ms.is_none_or(|at| ctx.due(at)) {
        return;
    }
    let mut machines = for_decrease(lab, id, surplus);
    if let Some(group) = lab.groups.get(id) {
        let more = group
            .record
            .wanted
            .iter()
            .rev()
            .filter(|m| !machines.contains(m))
            .cloned();
        let may_stop = |m: &MachineId| {
            lab.machines.get(m).is_some_and(|machine| {
                !machine.is_refused() && permission::may_stop(lab, machine).is_ok()
            })
        };
        let more: Vec<MachineId> = more
            .filter(may_stop)
            .take(surplus - machines.len())
            .collect();
        machines.extend(more);
    }
    if !machines.is_empty() {
        removal::prepare(
            lab,
            id,
            Leaving {
                machines,
                by: String::from("targetSize"),
                caller: None,
                stays: Stays::Nothing,
            },
            ctx,
        );
    }
}
