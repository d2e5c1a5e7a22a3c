//! The life of a machine: what was seen moves it, then what is wished, then what is under way.
//!
//! In: each machine with its sightings and its wish. Out: phases, operations, changes of its group.
//! Holds: one exhaustive match over the phase; every phase but Off, Running and Unknown ends by a deadline of its own.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::actions::Severity;
use crate::groups::{Change, What};
use crate::ids::MachineId;
use crate::lab::{Ctx, Lab};
use crate::machine::{Machine, Phase, Wished};
use crate::power::Power;
use crate::record::{OffOrder, PowerState};
use crate::spec::{Mode, NodeObjectPolicy, PowerPolicy};
use crate::stopping::{Outcome, Step, Surroundings};
use crate::view::Wish;
use crate::{node, power, removal, sightings, stopping, upkeep, waking, wishes};

/// Commands that are remembered to tell a report's machine; older ones no longer matter.
const COMMANDS_KEPT: usize = 8192;

pub(crate) fn run(lab: &mut Lab, ctx: &mut Ctx<'_>) {
    while ctx.commands.len() > COMMANDS_KEPT {
        ctx.commands.pop_first();
    }
    let ids: Vec<MachineId> = lab.machines.keys().cloned().collect();
    for id in &ids {
        step(lab, id, ctx);
    }
}

fn step(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let scheme = ctx.policy.provider_scheme;
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    wishes::expire_override(machine, ctx);
    power::forget_outdated_readings(machine, &lab.agents);
    let power = power::assess(machine, &lab.agents, &machine.provider_id(scheme), ctx);
    machine.joined = power.joined;
    machine.heard = matches!(power.on, Some("agent heartbeat" | "kubelet"));
    sightings::see(lab, id, &power, ctx);
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let group = lab.groups.get(&machine.spec.group);
    let listed = group.is_some_and(|g| g.wants(id));
    let wished = wishes::wish(machine, group, listed);
    let free = may_act(lab, id, ctx);
    if free {
        void_order(lab, id, listed);
        act(lab, id, &wished, listed, ctx);
    }
    drive(lab, id, &power, free, ctx);
    upkeep::run(lab, id, &power, ctx);
}

fn may_act(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) -> bool {
    let Some(machine) = lab.machines.get(id) else {
        return false;
    };
    let Some(group) = lab.groups.get_mut(&machine.spec.group) else {
        return false;
    };
    if group.frozen_until_ms.is_some() && !group.frozen(ctx) {
        group.frozen_until_ms = None;
    }
    machine.spec.fault.is_none()
        && machine.spec.power != PowerPolicy::Unmanaged
        && !group.spec.paused
        && group.frozen_until_ms.is_none()
}

/// An order for a machine that is wanted (again) is void, unless a removal is on its way.
fn void_order(lab: &mut Lab, id: &MachineId, listed: bool) {
    let leaving = lab.removals.iter().any(|r| r.machines.contains(id));
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let stands = machine
        .record
        .order
        .as_ref()
        .is_some_and(|order| order.then_wake && !matches!(machine.phase, Phase::Off));
    if listed && !leaving && !stands && machine.record.order.take().is_some() {
        machine.touch();
    }
}

/// What is wished starts and ends operations.
fn act(lab: &mut Lab, id: &MachineId, wished: &Wished, listed: bool, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    if machine.lost {
        return drop_lost(lab, id, listed);
    }
    match (wished.wish, machine.phase.clone()) {
        (Wish::Running, Phase::Off | Phase::Unknown | Phase::WakeFailed(_)) => {
            wake(lab, id, wished, ctx)
        }
        (Wish::Running | Wish::None, Phase::Stopping(stopping)) => {
            // What was not ordered yet need not happen.
            let called_back = !stopping.order_left
                && !matches!(
                    stopping.step,
                    Step::Ordered { .. } | Step::GoingDown { .. } | Step::Appearing { .. }
                );
            if called_back && let Some(machine) = lab.machines.get_mut(id) {
                machine.end();
                machine.enter(
                    Phase::Running,
                    "StopCancelled",
                    String::from("The order was taken back before it was sent"),
                    ctx,
                );
            }
        }
        (Wish::Running, Phase::Running) => leave_alone_if_unproven(lab, id, listed, ctx),
        (Wish::Running, Phase::Waking(_)) | (Wish::None, Phase::Off | Phase::Unknown) => {}
        (Wish::Off, _) if listed && !lab.removals.iter().any(|r| r.machines.contains(id)) => {
            push(
                lab,
                id,
                What::Remove {
                    machines: vec![id.clone()],
                    removal: None,
                },
            );
        }
        (Wish::Off, Phase::Running) => stop(lab, id, wished, ctx),
        (Wish::Off, Phase::Unknown) => {
            if !machine.never_seen() {
                stop(lab, id, wished, ctx);
            }
        }
        (Wish::Off, Phase::Off) => wake_again_after_proof(lab, id),
        (Wish::Off, Phase::Stopping(_)) => {}
        (Wish::Off | Wish::None, Phase::Waking(waking)) => {
            take_back_wake(lab, id, wished, &waking, ctx)
        }
        (Wish::Off | Wish::None, Phase::WakeFailed(_)) => rest(lab, id, ctx),
        (Wish::None, Phase::Running) => adopt(lab, id),
    }
}

/// It was switched off by hand or has failed: the wish for it ends before anything else is decided.
fn drop_lost(lab: &mut Lab, id: &MachineId, listed: bool) {
    if listed {
        let machines = vec![id.clone()];
        push(
            lab,
            id,
            What::Remove {
                machines,
                removal: None,
            },
        );
    } else if let Some(machine) = lab.machines.get_mut(id) {
        machine.lost = false;
    }
}

fn wake(lab: &mut Lab, id: &MachineId, wished: &Wished, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    if machine.quarantined(ctx.now.wall_ms) {
        let until_ms = machine.record.quarantine.as_ref().map_or(0, |q| q.until_ms);
        let left_ms = u64::try_from(until_ms.saturating_sub(ctx.now.wall_ms)).unwrap_or(0);
        ctx.at(ctx.now.boot_ms.saturating_add(left_ms));
        return;
    }
    // Silence alone is no reason to wake a machine; after a power cut it is.
    let silent =
        matches!(machine.phase, Phase::Unknown) && !machine.never_seen() && machine.why != "Retry";
    if (silent && machine.hold_ms.is_none()) || !machine.hold_ms.is_none_or(|at| ctx.due(at)) {
        return;
    }
    // The old Node must be gone first: with it in place the cluster-autoscaler would count the machine as broken.
    let policy = lab
        .groups
        .get(&machine.spec.group)
        .map(|g| g.spec.node_object_policy);
    let old_node = machine
        .seen
        .node
        .as_ref()
        .is_some_and(|n| !node::is_control_plane(n));
    if matches!(machine.phase, Phase::Off) && old_node && policy == Some(NodeObjectPolicy::Delete) {
        return;
    }
    let stagger_ms = if machine.hold_ms.is_some() {
        ctx.policy.power_cut_stagger_ms
    } else {
        ctx.policy.wake_stagger_ms
    };
    let earliest = lab
        .last_wake_ms
        .map_or(0, |at| at.saturating_add(stagger_ms));
    let first_ms = ctx.now.boot_ms.max(earliest);
    lab.last_wake_ms = Some(first_ms);
    waking::start(machine, &lab.agents, &wished.by, first_ms, ctx);
}

fn stop(lab: &mut Lab, id: &MachineId, wished: &Wished, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    // A person may stop a machine that is not proven: that is how it gets proven.
    let by_person = machine.record.override_.is_some()
        || machine.record.order.as_ref().is_some_and(|o| o.then_wake);
    let allowed = match removal::protected(lab, machine) {
        Some(reason) => Err(format!("{id} is not stopped: {reason}")),
        None if by_person && !machine.spec.wake.is_empty() => Ok(()),
        None => removal::may_stop(lab, machine),
    };
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    match allowed {
        Ok(()) => stopping::start(machine, &lab.agents, &wished.by, ctx),
        Err(message) if machine.why != "NotStopped" => {
            machine.event(Severity::Warning, "NotStopped", message.clone(), ctx);
            machine.explain("NotStopped", message);
            machine.touch();
        }
        Err(_) => {}
    }
}

/// A packet that has left cannot be called back: the machine is stopped when it appears.
fn take_back_wake(
    lab: &mut Lab,
    id: &MachineId,
    wished: &Wished,
    waking: &waking::Waking,
    ctx: &mut Ctx<'_>,
) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    if waking.effect_possible() {
        let by = if wished.by.is_empty() {
            "nobody wants it any more"
        } else {
            wished.by.as_str()
        };
        if machine.record.order.is_none() {
            machine.record.order = Some(OffOrder {
                id: ctx.mint.ulid(ctx.now.wall_ms),
                by: by.to_string(),
                at_ms: ctx.now.wall_ms,
                then_wake: false,
            });
        }
        stopping::start_before_boot(machine, &lab.agents, by, waking.trace(), ctx);
    } else {
        rest(lab, id, ctx);
    }
}

/// Nobody wants it any more and nothing is under way: it is what it was last seen to be.
fn rest(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    machine.end();
    if machine.record.order.take().is_some() {
        machine.touch();
    }
    let phase = match machine.record.power.state {
        PowerState::Off => Phase::Off,
        PowerState::Running | PowerState::Unknown => Phase::Unknown,
    };
    machine.enter(
        phase,
        "NotWanted",
        String::from("Nobody wants it any more"),
        ctx,
    );
}

fn wake_again_after_proof(lab: &mut Lab, id: &MachineId) {
    let proof = lab
        .machines
        .get(id)
        .is_some_and(|m| m.record.order.as_ref().is_some_and(|o| o.then_wake));
    if proof {
        push(
            lab,
            id,
            What::Add {
                machines: vec![id.clone()],
            },
        );
    }
}

/// On, unlisted, and the autoscaler's to stop: from now on it counts.
fn adopt(lab: &mut Lab, id: &MachineId) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let Some(group) = lab.groups.get(&machine.spec.group) else {
        return;
    };
    let proven = machine.record.proven_at_ms.is_some() || !group.spec.require_proof;
    let counts = machine.joined
        && proven
        && machine.spec.power == PowerPolicy::Auto
        && !machine.spec.wake.is_empty();
    if counts && matches!(group.spec.mode, Mode::Autoscaler) {
        push(
            lab,
            id,
            What::Add {
                machines: vec![id.clone()],
            },
        );
    }
}

/// It is wanted and runs, but was already on when we "woke" it: nothing shows that we could wake it again.
fn leave_alone_if_unproven(lab: &mut Lab, id: &MachineId, listed: bool, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let Some(group) = lab.groups.get(&machine.spec.group) else {
        return;
    };
    let unproven = group.spec.require_proof && machine.record.proven_at_ms.is_none();
    if listed
        && unproven
        && machine.joined
        && group.settled()
        && matches!(group.spec.mode, Mode::Autoscaler)
    {
        let message =
            format!("Runs, but was not woken by us: left alone until `homelabctl prove {id}`");
        machine.event(Severity::Normal, "Unproven", message, ctx);
        push(
            lab,
            id,
            What::Remove {
                machines: vec![id.clone()],
                removal: None,
            },
        );
    }
}

/// One change of a group at a time: the next pass sees whether it was enough.
fn push(lab: &mut Lab, id: &MachineId, what: What) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    if let Some(group) = lab
        .groups
        .get_mut(&machine.spec.group)
        .filter(|g| g.settled())
    {
        group.push(Change { what, caller: None });
    }
}

/// What is under way goes on, if power may be moved; what is seen of it counts in any case.
fn drive(lab: &mut Lab, id: &MachineId, power: &Power, free: bool, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let unmanaged = machine.spec.power == PowerPolicy::Unmanaged;
    match &machine.phase {
        Phase::Waking(_) | Phase::WakeFailed(_) if unmanaged => rest(lab, id, ctx),
        Phase::Stopping(stopping) if unmanaged && !stopping.order_left => rest(lab, id, ctx),
        Phase::Waking(_) if free => {
            if let Some(machine) = lab.machines.get_mut(id) {
                waking::drive(machine, &mut lab.agents, ctx);
            }
        }
        Phase::Stopping(_) => drive_stop(lab, id, power, free, ctx),
        Phase::Unknown | Phase::Off | Phase::Waking(_) | Phase::WakeFailed(_) | Phase::Running => {}
    }
}

fn drive_stop(lab: &mut Lab, id: &MachineId, power: &Power, free: bool, ctx: &mut Ctx<'_>) {
    let protected = lab
        .machines
        .get(id)
        .is_some_and(|m| removal::protected(lab, m).is_some());
    let around = Surroundings {
        links: lab.links,
        protected,
        free,
    };
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    match stopping::drive(machine, &mut lab.agents, around, power, ctx) {
        Outcome::Pending => {}
        Outcome::Off { inferred } => sightings::become_off(machine, inferred, "Off", ctx),
        Outcome::NeverCame => rest(lab, id, ctx),
        Outcome::CameBack => {
            fulfilled(machine, power, ctx);
            let message = "Went down as ordered and was switched on again".to_string();
            machine.explain("CameBack", message);
        }
        Outcome::WasOn => fulfilled(machine, power, ctx),
    }
}

/// The order is over, and the machine runs.
fn fulfilled(machine: &mut Machine, power: &Power, ctx: &mut Ctx<'_>) {
    machine.record.order = None;
    machine.end();
    sightings::appeared(machine, power, ctx);
}
