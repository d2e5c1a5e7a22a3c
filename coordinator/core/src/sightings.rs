//! What was seen moves a machine's phase, whatever is wished for it.
//!
//! In: a machine and what the evidence says of it. Out: phases, records, events.
//! Holds: silence is not off; a machine counts as proven only if its boot is younger than our first wake.

use alloc::boxed::Box;
use alloc::format;

use crate::actions::{Action, Event, Severity, Subject};
use crate::ids::{GroupId, MachineId};
use crate::lab::{Ctx, Lab};
use crate::machine::{Machine, Phase, Presence, Unknown};
use crate::node;
use crate::power::{self, Power};
use crate::record::{BOOTS_KEPT, Outage, PowerRecord, PowerState, Witness};
use crate::spec::{Joins, WakeMethod};
use crate::waking::Waking;
use crate::why::Why;
use crate::{stopping, upkeep};

/// What was seen moves the phase, whatever is wished.
pub(crate) fn see(lab: &mut Lab, id: &MachineId, power: &Power, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let awaited = matches!(machine.phase, Phase::Waking(_));
    let arrived = awaited && power.joined && upkeep::node_is_right(lab, machine);
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    match &machine.phase {
        Phase::Unknown(unknown) => {
            // What a person wants tried again was off before, or nobody knew.
            let was_off = *unknown == Unknown::Retry;
            if is_sight(machine, power) {
                appeared(machine, power, ctx);
            } else if power.off_read && was_off {
                become_off(machine, Witness::Bmc, ctx);
            } else if power.off_read {
                lost(lab, id, ctx);
            }
        }
        Phase::Off => {
            if is_sight(machine, power) {
                appeared(machine, power, ctx);
            }
        }
        // One that was woken in vain was off before: its failure is still to be told.
        Phase::WakeFailed(failed) => {
            let is_news = power.joined || power.kubelet || !failed.hangs;
            if is_sight(machine, power) && is_news {
                appeared(machine, power, ctx);
            } else if power.off_read {
                came_to_rest(machine);
            }
        }
        Phase::Waking(waking) => {
            // Running on its kubelet's word alone would leave it unproven.
            let unproven = machine.record.proven_at_ms.is_none();
            if arrived && !(unproven && power.agent_may_tell) {
                let waking = waking.clone();
                woken(lab, id, power, &waking, ctx);
            } else if power.on.is_some() && machine.why != Why::Booting {
                machine.explain(
                    Why::Booting,
                    format!(
                        "It has power ({}) and has not joined yet",
                        power.on.map_or("seen", Witness::in_words)
                    ),
                );
            }
        }
        Phase::Running => {
            if power.off_read && power.on.is_none() {
                lost(lab, id, ctx);
            } else if power.on.is_none() {
                fell_silent(lab, id, ctx);
            }
        }
        Phase::Stopping(_) => {}
    }
}

/// A machine that needs no kubelet is seen by its agent alone; any other is seen as soon as it has power.
pub(crate) fn is_sight(machine: &Machine, power: &Power) -> bool {
    power.on.is_some() && (power.joined || machine.spec.joins == Joins::Kubelet)
}

/// A machine that was woken in vain has no power any more: the next sight of it is a new one.
fn came_to_rest(machine: &mut Machine) {
    if let Phase::WakeFailed(failed) = &mut machine.phase {
        failed.hangs = false;
    }
}

/// Who established a state first is what stays: others may see the same later.
fn set_power(machine: &mut Machine, state: PowerState, witness: Option<Witness>, ctx: &Ctx<'_>) {
    let before = &machine.record.power;
    let seen_since = before.inferred() && witness != before.witness;
    if before.state != state || seen_since {
        machine.record.power = PowerRecord {
            state,
            witness,
            since_ms: ctx.now.wall_ms,
        };
        machine.touch();
    }
}

/// Seen running without our doing: adopted as it is.
pub(crate) fn appeared(machine: &mut Machine, power: &Power, ctx: &mut Ctx<'_>) {
    machine.record.boot_id.clone_from(&power.boot_id);
    machine.record.quarantine = None;
    machine.record.outage = None;
    machine.fell_short = None;
    set_power(machine, PowerState::Running, power.on, ctx);
    machine.touch();
    let message = format!(
        "Seen running ({})",
        power.on.map_or("seen", Witness::in_words)
    );
    machine.event(Severity::Normal, "SeenRunning", message.clone(), ctx);
    machine.enter(Phase::Running, Why::SeenRunning, message, ctx);
}

/// It came because we woke it, if its boot is younger than our first wake.
fn woken(lab: &mut Lab, id: &MachineId, power: &Power, waking: &Waking, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let trace = waking.trace();
    let explained = trace.explains(machine, power);
    let proven = waking.has_left() && explained == Some(true);
    let was_proven = machine.record.proven_at_ms.is_some();
    let ours = proven || (waking.has_left() && was_proven && explained.is_none());
    if proven {
        machine.record.proven_at_ms = Some(ctx.now.wall_ms);
    }
    machine.record.boot_id.clone_from(&power.boot_id);
    machine.record.quarantine = None;
    machine.record.outage = None;
    machine.record.provider_id = Some(machine.provider_id(ctx.policy.provider_scheme));
    machine.fell_short = None;
    set_power(machine, PowerState::Running, power.on, ctx);
    let took_s = ctx.now.boot_ms.saturating_sub(trace.first_ms) / 1000;
    if ours && waking.was_watched() {
        let boots = &mut machine.record.boots_s;
        boots.push(u32::try_from(took_s).unwrap_or(u32::MAX));
        boots.drain(..boots.len().saturating_sub(BOOTS_KEPT));
    }
    let message = format!("Running {took_s} s after the first wake");
    machine.event(Severity::Normal, "Woken", message.clone(), ctx);
    machine.end();
    machine.enter(Phase::Running, Why::Running, message, ctx);
    machine.touch();
    upkeep::settle(lab, id, ctx);
}

/// Confirmed off without our order: switched off by hand, crashed, or a power cut.
fn lost(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let first_sight = machine.never_seen();
    let before = machine.record.outage;
    become_off(machine, Witness::Bmc, ctx);
    if let Some(Outage::PowerCut { .. }) = before {
        machine.record.outage = before;
        return;
    }
    let Some(group) = lab.groups.get(&machine.spec.group) else {
        return;
    };
    if !group.wants(id) || first_sight {
        return;
    }
    if let Some(until_ms) = group.frozen_until_ms {
        machine.record.outage = Some(power_cut(until_ms, ctx));
        return;
    }
    machine.record.outage = Some(Outage::SwitchedOff);
    let (id, bmc) = (machine.id(), machine.target(WakeMethod::Redfish));
    let message = format!(
        "Off without our order, by its BMC {bmc}: its power button, a crash, or no mains. Group {} drops its wish for {id}, which \
         stays off until it is wanted again; `homelabctl power on {id}` wakes it. If nobody has switched it off, see the event log \
         of the BMC, and `journalctl -b -1` on {id} once it runs",
        machine.spec.group
    );
    machine.explain(Why::Off, message.clone());
    machine.event(Severity::Warning, "LostPower", message, ctx);
}

pub(crate) fn become_off(machine: &mut Machine, witness: Witness, ctx: &mut Ctx<'_>) {
    if let Some(seen) = machine
        .seen
        .node
        .as_deref()
        .filter(|_| machine.record.node_backup.is_none())
    {
        machine.record.node_backup = Some(Box::new(node::backup(
            seen,
            machine.seen.cordoned_by_person,
        )));
    }
    set_power(machine, PowerState::Off, Some(witness), ctx);
    machine.record.outage = None;
    machine.record.last_off_at_ms = Some(ctx.now.wall_ms);
    machine.seen.went_off(ctx.now.boot_ms);
    if machine
        .record
        .order
        .as_ref()
        .is_some_and(|order| !order.then_wake)
    {
        machine.record.order = None;
    }
    machine.touch();
    let how = match witness {
        Witness::Silence => "silent for its hold time after it had said it goes down",
        Witness::Bmc => "read twice from its BMC",
        Witness::Person | Witness::Agent | Witness::Kubelet => witness.in_words(),
    };
    let message = format!("Off: {how}");
    machine.event(Severity::Normal, "PoweredOff", message.clone(), ctx);
    machine.end();
    machine.enter(Phase::Off, Why::Off, message, ctx);
}

/// Silence is not off. Much silence at once is a fault of the network, or a power cut: nothing is decided then.
fn fell_silent(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let Some(listening_ms) = lab.links.listening_since(machine.spec.joins) else {
        return;
    };
    if !ctx.due(listening_ms.saturating_add(ctx.policy.grace_ms)) {
        return;
    }
    let since_ms = power::silent_since(machine, &lab.agents, listening_ms);
    become_silent(
        machine,
        since_ms,
        [
            "No heartbeat and no kubelet; whether it runs is unknown",
            "Was running, is not heard any more",
        ],
        ctx,
    );
    let group = machine.spec.group.clone();
    suspect_power_cut(lab, &group, since_ms, ctx);
}

/// An order to stop that nobody wants any more may have left, and nothing is heard since: whether it was heeded is unknown.
pub(crate) fn lose_track(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let links = lab.links;
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let Some(listening_ms) = links.listening_since(machine.spec.joins) else {
        return;
    };
    let since_ms = power::silent_since(machine, &lab.agents, listening_ms);
    if stopping::said_so_itself(machine)
        || machine.presence != Presence::Silent
        || !power::silent_for_hold(machine, &lab.agents, links, since_ms, ctx)
    {
        return;
    }
    machine.end();
    let message =
        "Silent since it was told to stop, which nobody wants any more: whether it runs is unknown";
    become_silent(machine, since_ms, [message; 2], ctx);
}

/// Whether it runs is unknown from here on. `event` is told once, `state` is why it is where it is.
fn become_silent(
    machine: &mut Machine,
    since_ms: u64,
    [event, state]: [&str; 2],
    ctx: &mut Ctx<'_>,
) {
    set_power(machine, PowerState::Unknown, None, ctx);
    let id = machine.id().clone();
    let advised = |what: &str| {
        format!("{what}. Look at it: if it is off, say so with `homelabctl power confirm-off {id}`")
    };
    machine.event(Severity::Warning, "Silent", advised(event), ctx);
    let phase = Phase::Unknown(Unknown::Silent { since_ms });
    machine.enter(phase, Why::Silent, advised(state), ctx);
}

/// Machines that fell silent together, as many as still run or more: they may be starting by themselves already.
fn suspect_power_cut(lab: &mut Lab, id: &GroupId, since_ms: u64, ctx: &mut Ctx<'_>) {
    let members = || lab.machines.values().filter(|m| m.spec.group == *id);
    let running = members()
        .filter(|m| matches!(m.phase, Phase::Running))
        .count();
    let window_ms = ctx.policy.silence_window_ms;
    let fell_then = |machine: &Machine| match machine.phase {
        Phase::Unknown(Unknown::Silent { since_ms: other }) => {
            other.abs_diff(since_ms) <= window_ms
        }
        Phase::Unknown(Unknown::Unseen | Unknown::Retry)
        | Phase::Off
        | Phase::Waking(_)
        | Phase::WakeFailed(_)
        | Phase::Running
        | Phase::Stopping(_) => false,
    };
    let silent = members().filter(|m| fell_then(m)).count();
    if silent < 2 || silent < running {
        return;
    }
    let until_ms = ctx.now.boot_ms.saturating_add(ctx.policy.power_cut_hold_ms);
    let outage = power_cut(until_ms, ctx);
    let machines = lab.machines.values_mut();
    for machine in machines.filter(|m| m.spec.group == *id && fell_then(m)) {
        machine.record.outage = Some(outage);
        machine.touch();
    }
    if let Some(group) = lab.groups.get_mut(id)
        && group.frozen_until_ms.replace(until_ms).is_none()
    {
        let message = format!(
            "{silent} machines fell silent at once: nothing is decided for {} s",
            ctx.policy.power_cut_hold_ms / 1000
        );
        ctx.out.push(Action::Event(Event {
            about: Subject::Group(id.clone()),
            severity: Severity::Warning,
            reason: "MassSilence",
            message,
            operation: None,
        }));
    }
}

/// A power cut that is waited out until then, on the boot clock.
fn power_cut(until_ms: u64, ctx: &Ctx<'_>) -> Outage {
    let left_ms = until_ms.saturating_sub(ctx.now.boot_ms);
    Outage::PowerCut {
        until_ms: ctx.now.wall_ms.saturating_add_unsigned(left_ms),
    }
}

/// A group is left alone while one of its machines may still start by itself after a power cut.
pub(crate) fn freeze(lab: &mut Lab, ctx: &mut Ctx<'_>) {
    for group in lab.groups.values_mut() {
        group.frozen_until_ms = None;
    }
    for machine in lab.machines.values_mut() {
        if let Some(until_ms) = machine.may_start_until(ctx)
            && let Some(group) = lab.groups.get_mut(&machine.spec.group)
        {
            group.frozen_until_ms = group.frozen_until_ms.max(Some(until_ms));
        }
    }
}
