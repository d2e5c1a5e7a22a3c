//! The life of a machine: what was seen moves it, then what is wished, then what is under way.
//!
//! In: each machine with its sightings and its wish. Out: phases, operations, changes of its group.
//! Holds: one exhaustive match over the phase. A wake ends by its machine's boot timeout, what follows a failed one by its
//! quarantine. A stop ends when off is proven and says once that it is late; nothing ends Unknown but a sight.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::actions::Severity;
use crate::groups::{Change, Group, What};
use crate::ids::MachineId;
use crate::lab::{Ctx, Lab};
use crate::machine::{Machine, Phase, Unknown};
use crate::power::Power;
use crate::record::{OffOrder, Outage, Override, OverridePower, PowerState};
use crate::spec::{Mode, NodeObjectPolicy, PowerPolicy};
use crate::stopping::{Outcome, Step, Surroundings};
use crate::view::Wish;
use crate::why::Why;
use crate::wishes::Wished;
use crate::{
    choice, node, permission, power, removal, sightings, stopping, upkeep, waking, wishes,
};

/// Commands that are remembered to tell a report's machine; older ones no longer matter.
const COMMANDS_KEPT: usize = 8192;

pub(crate) fn run(lab: &mut Lab, ctx: &mut Ctx<'_>) {
    while ctx.commands.len() > COMMANDS_KEPT {
        ctx.commands.pop_first();
    }
    sightings::freeze(lab, ctx);
    let ids: Vec<MachineId> = lab.machines.keys().cloned().collect();
    for id in &ids {
        step(lab, id, ctx);
    }
}

fn step(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    wishes::expire_override(machine, ctx);
    power::forget_outdated_readings(machine, &lab.agents);
    let power = power::assess(machine, &lab.agents, lab.links, ctx);
    machine.presence = power.presence();
    let heard_ms = machine.seen.kubelet_since_ms.unwrap_or(ctx.now.boot_ms);
    machine.seen.kubelet_since_ms = power.kubelet.then_some(heard_ms);
    waking::forgive(machine, &lab.agents, ctx);
    sightings::see(lab, id, &power, ctx);
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let group = lab.groups.get(&machine.spec.group);
    let listed = group.is_some_and(|g| g.wants(id));
    let wished = wishes::wish(machine, group, listed);
    let free = may_act(machine, group);
    let ordered = machine.record.order.is_some();
    if listed && is_not_the_autoscalers(machine) {
        take_out(lab, id);
    }
    if free {
        if ordered {
            void_order(lab, id, listed);
        }
        act(lab, id, &wished, listed, ctx);
    }
    drive(lab, id, &power, free.then_some(wished.wish), ctx);
    upkeep::run(lab, id, &power, ctx);
}

/// It was declared Unmanaged, or joined the control plane, while it was wanted: its group cannot answer for it any more.
fn is_not_the_autoscalers(machine: &Machine) -> bool {
    let node = machine.seen.node.as_deref();
    machine.spec.power == PowerPolicy::Unmanaged || node.is_some_and(node::is_control_plane)
}

/// Ends the wish for a machine. That is no order: its power stays as it is.
fn take_out(lab: &mut Lab, id: &MachineId) {
    let machines = vec![id.clone()];
    push(lab, id, What::Remove { machines });
}

/// Power may be moved: the group is neither paused nor frozen, the declaration is sound.
pub(crate) fn may_act(machine: &Machine, group: Option<&Group>) -> bool {
    let is_free = |group: &Group| !group.spec.paused && group.frozen_until_ms.is_none();
    machine.spec.fault.is_none()
        && machine.spec.power != PowerPolicy::Unmanaged
        && group.is_some_and(is_free)
}

/// An order for a machine that is wanted (again) is void, unless a removal is on its way. A proof stops what is wanted, but not
/// against a person's later word, and does not wait for that to end.
fn void_order(lab: &mut Lab, id: &MachineId, listed: bool) {
    let leaving = removal::takes(lab, id);
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let order = machine.record.order.as_ref();
    let proves = order.is_some_and(|order| order.then_wake);
    let stands = proves && !matches!(machine.phase, Phase::Off);
    let void = (proves && !by_order(machine)) || (listed && !leaving && !stands);
    if void && machine.record.order.take().is_some() {
        machine.touch();
    }
}

/// What is wished starts and ends operations.
fn act(lab: &mut Lab, id: &MachineId, wished: &Wished, listed: bool, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    if machine.record.outage == Some(Outage::SwitchedOff) {
        return drop_switched_off(lab, id, listed);
    }
    if wished.wish == Wish::Off && by_order(machine) && removal::is_open(lab, id) {
        return;
    }
    match (wished.wish, machine.phase.clone()) {
        (Wish::Running, Phase::Off | Phase::Unknown(_) | Phase::WakeFailed(_)) => {
            if !removal::takes(lab, id) {
                wake(lab, id, wished, ctx);
            }
        }
        (Wish::Running | Wish::None, Phase::Stopping(stopping)) => {
            // What was not ordered yet need not happen.
            let called_back = !stopping.order_left()
                && !matches!(
                    stopping.step,
                    Step::GoingDown { .. } | Step::Appearing { .. }
                );
            if called_back && let Some(machine) = lab.machines.get_mut(id) {
                machine.end();
                machine.enter(
                    Phase::Running,
                    Why::StopCancelled,
                    String::from("The order was taken back before it was sent"),
                    ctx,
                );
            } else if stopping.order_left() {
                sightings::lose_track(lab, id, ctx);
            }
        }
        (Wish::Running, Phase::Running) => leave_alone_if_unproven(lab, id, listed, ctx),
        (Wish::Running, Phase::Waking(_)) | (Wish::None, Phase::Off | Phase::Unknown(_)) => {}
        (Wish::Off, _) if listed && !removal::takes(lab, id) => {
            take_out(lab, id);
        }
        (Wish::Off, Phase::Running) => stop(lab, id, wished, ctx),
        (Wish::Off, Phase::Unknown(_)) => {
            if !machine.never_seen() {
                stop(lab, id, wished, ctx);
            }
        }
        (Wish::Off, Phase::Off) => wake_again_after_proof(lab, id),
        (Wish::Off, Phase::Stopping(_)) => {}
        (Wish::Off, Phase::Waking(waking)) => take_back_wake(lab, id, wished, &waking, ctx),
        // The end of a wish is no order: what comes of the wake is adopted.
        (Wish::None, Phase::Waking(_)) => rest(lab, id, ctx),
        (Wish::Off, Phase::WakeFailed(failed)) if failed.hangs => stop(lab, id, wished, ctx),
        (Wish::Off | Wish::None, Phase::WakeFailed(_)) => rest(lab, id, ctx),
        (Wish::None, Phase::Running) => adopt(lab, id),
    }
}

/// No person's word and no declaration goes before its order.
fn by_order(machine: &Machine) -> bool {
    machine.record.override_.is_none() && machine.spec.power == PowerPolicy::Auto
}

/// It was switched off by hand or has failed: the wish for it ends before anything else is decided.
fn drop_switched_off(lab: &mut Lab, id: &MachineId, listed: bool) {
    if listed {
        take_out(lab, id);
    } else if let Some(machine) = lab.machines.get_mut(id) {
        machine.record.outage = None;
        machine.touch();
    }
}

fn wake(lab: &mut Lab, id: &MachineId, wished: &Wished, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    if machine.quarantined(ctx.now.wall_ms) {
        // Its end is asked for where it may be forgiven.
        return;
    }
    // Silence alone is no reason to wake a machine; after a power cut it is.
    let silent = matches!(
        machine.phase,
        Phase::Unknown(Unknown::Unseen | Unknown::Silent { .. })
    ) && !machine.never_seen();
    if (silent && machine.record.outage.is_none()) || machine.may_start_until(ctx).is_some() {
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
        .as_deref()
        .is_some_and(|n| !node::is_control_plane(n));
    if matches!(machine.phase, Phase::Off) && old_node && policy == Some(NodeObjectPolicy::Delete) {
        return;
    }
    waking::start(machine, &lab.agents, &wished.by, ctx);
}

fn stop(lab: &mut Lab, id: &MachineId, wished: &Wished, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    // A person may stop a machine that is not proven: that is how it gets proven.
    let kept_off = |o: &Override| o.power == OverridePower::Off;
    let by_person = machine.record.override_.as_deref().is_some_and(kept_off)
        || machine.record.order.as_ref().is_some_and(|o| o.then_wake);
    let allowed = match permission::protected(lab, machine) {
        Some(protection) => Err(format!("{id} is not stopped: {}", protection.in_words())),
        None if by_person && !machine.spec.wake.is_empty() => Ok(()),
        None => permission::may_stop(lab, machine),
    };
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    match allowed {
        Ok(()) => stopping::start(machine, &lab.agents, &wished.by, ctx),
        Err(message) => machine.complain(Why::NotStopped, message, ctx),
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
        let by = &*wished.by;
        if machine.record.order.is_none() {
            machine.record.order = Some(Box::new(OffOrder {
                id: ctx.mint.ulid(ctx.now.wall_ms),
                by: by.to_string(),
                at_ms: ctx.now.wall_ms,
                then_wake: false,
            }));
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
        PowerState::Running | PowerState::Unknown => Phase::Unknown(Unknown::Unseen),
    };
    machine.enter(
        phase,
        Why::NotWanted,
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

/// On, unlisted, and the autoscaler's to stop: from now on it counts, if its group has room for it.
fn adopt(lab: &mut Lab, id: &MachineId) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let Some(group) = lab.groups.get(&machine.spec.group) else {
        return;
    };
    let proven = machine.record.proven_at_ms.is_some() || !group.spec.require_proof;
    let counts = machine.has_joined()
        && proven
        && !is_not_the_autoscalers(machine)
        && machine.spec.power == PowerPolicy::Auto
        && !machine.spec.wake.is_empty();
    // All machines of the group are looked at for this.
    let has_room = || {
        let members = choice::members(lab, &group.spec.id, &group.record.wanted);
        let max_size = group.spec.max_size;
        max_size.is_none_or(|max| members < usize::try_from(max).unwrap_or(usize::MAX))
    };
    if counts && matches!(group.spec.mode, Mode::Autoscaler) && has_room() {
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
        && machine.has_joined()
        && group.settled()
        && matches!(group.spec.mode, Mode::Autoscaler)
    {
        let message =
            format!("Runs, but was not woken by us: left alone until `homelabctl prove {id}`");
        machine.event(Severity::Normal, "Unproven", message, ctx);
        take_out(lab, id);
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

/// What is under way goes on, if power may be moved as it is wished; what is seen of it counts in any case.
fn drive(lab: &mut Lab, id: &MachineId, power: &Power, free: Option<Wish>, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let unmanaged = machine.spec.power == PowerPolicy::Unmanaged;
    match &machine.phase {
        Phase::Waking(_) | Phase::WakeFailed(_) if unmanaged => rest(lab, id, ctx),
        Phase::Stopping(stopping) if unmanaged && !stopping.order_left() => rest(lab, id, ctx),
        // A wake that left now would be for a machine that nobody wants any more, and nobody would stop it.
        Phase::Waking(_) if removal::takes(lab, id) => {}
        Phase::Waking(_) if free.is_some() => {
            if let Some(machine) = lab.machines.get_mut(id)
                && waking::takes_turn(machine, lab.last_wake_ms, ctx)
            {
                let first_ms = waking::drive(machine, &mut lab.agents, lab.links, ctx);
                lab.last_wake_ms = lab.last_wake_ms.max(first_ms);
            }
        }
        Phase::Stopping(_) => drive_stop(lab, id, power, free, ctx),
        Phase::Unknown(_)
        | Phase::Off
        | Phase::Waking(_)
        | Phase::WakeFailed(_)
        | Phase::Running => {}
    }
}

fn drive_stop(lab: &mut Lab, id: &MachineId, power: &Power, free: Option<Wish>, ctx: &mut Ctx<'_>) {
    let protected = lab
        .machines
        .get(id)
        .and_then(|m| permission::protected(lab, m));
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
        Outcome::Off { by } => sightings::become_off(machine, by, ctx),
        Outcome::NeverCame => rest(lab, id, ctx),
        Outcome::CameBack => {
            fulfilled(machine, power, ctx);
            let message = "Went down as ordered and was switched on again".to_string();
            machine.explain(Why::CameBack, message);
        }
        Outcome::WasOn => fulfilled(machine, power, ctx),
        Outcome::NotHeeded => {
            machine.end();
            let message =
                "It did not heed an order to stop, which nobody wants any more".to_string();
            machine.enter(Phase::Running, Why::StopCancelled, message, ctx);
        }
    }
}

/// The order is over, and the machine runs.
fn fulfilled(machine: &mut Machine, power: &Power, ctx: &mut Ctx<'_>) {
    machine.record.order = None;
    machine.end();
    sightings::appeared(machine, power, ctx);
}
