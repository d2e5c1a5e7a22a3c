//! What was seen moves a machine's phase, whatever is wished for it.
//!
//! In: a machine and what the evidence says of it. Out: phases, records, events.
//! Holds: silence is not off; a machine counts as proven only if its boot is younger than our first wake.

use alloc::format;
use alloc::string::String;

use crate::actions::{Action, Event, Severity, Subject};
use crate::ids::MachineId;
use crate::lab::{Ctx, Lab};
use crate::machine::{Machine, Phase};
use crate::node;
use crate::power::Power;
use crate::record::{PowerRecord, PowerState};
use crate::spec::Joins;
use crate::upkeep;
use crate::waking::Waking;

/// What was seen moves the phase, whatever is wished.
pub(crate) fn see(lab: &mut Lab, id: &MachineId, power: &Power, ctx: &mut Ctx<'_>) {
    let arrived = power.joined && upkeep::node_is_right(lab, id);
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    match &machine.phase {
        Phase::Unknown | Phase::Off | Phase::WakeFailed(_) => {
            if power.on.is_some() && (power.joined || machine.spec.joins == Joins::Kubelet) {
                appeared(machine, power, ctx);
            } else if power.off_read && !matches!(machine.phase, Phase::Off) {
                lost(lab, id, ctx);
            }
        }
        Phase::Waking(waking) => {
            let waking = waking.clone();
            if arrived && !waking.may_still_be_proven(machine, power, ctx) {
                woken(lab, id, power, &waking, ctx);
            } else if power.on.is_some() && machine.why != "Booting" {
                machine.explain(
                    "Booting",
                    format!(
                        "It has power ({}) and has not joined yet",
                        power.on.unwrap_or("seen")
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

fn set_power(machine: &mut Machine, state: PowerState, inferred: bool, ctx: &Ctx<'_>) {
    if machine.record.power.state != state || machine.record.power.inferred != inferred {
        machine.record.power = PowerRecord {
            state,
            inferred,
            since_ms: ctx.now.wall_ms,
        };
        machine.touch();
    }
}

/// Seen running without our doing: adopted as it is.
pub(crate) fn appeared(machine: &mut Machine, power: &Power, ctx: &mut Ctx<'_>) {
    machine.record.boot_id.clone_from(&power.boot_id);
    machine.record.quarantine = None;
    machine.lost = false;
    machine.hold_ms = None;
    set_power(machine, PowerState::Running, false, ctx);
    machine.touch();
    let message = format!("Seen running ({})", power.on.unwrap_or("seen"));
    machine.event(Severity::Normal, "SeenRunning", message.clone(), ctx);
    machine.enter(Phase::Running, "SeenRunning", message, ctx);
}

/// It came because we woke it, if its boot is younger than our first wake.
fn woken(lab: &mut Lab, id: &MachineId, power: &Power, waking: &Waking, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let trace = waking.trace();
    if waking.effect_possible() && trace.explains(machine, power) == Some(true) {
        machine.record.proven_at_ms = Some(ctx.now.wall_ms);
    }
    machine.record.boot_id.clone_from(&power.boot_id);
    machine.record.quarantine = None;
    machine.lost = false;
    machine.hold_ms = None;
    machine.record.provider_id = Some(machine.provider_id(ctx.policy.provider_scheme));
    set_power(machine, PowerState::Running, false, ctx);
    upkeep::settle(machine, ctx);
    machine.end();
    let took_s = ctx.now.boot_ms.saturating_sub(trace.first_ms) / 1000;
    let message = format!("Running {took_s} s after the first wake");
    machine.event(Severity::Normal, "Woken", message.clone(), ctx);
    machine.enter(Phase::Running, "Running", message, ctx);
    machine.touch();
}

/// Confirmed off without our order: switched off by hand, crashed, or a power cut.
fn lost(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let first_sight = machine.never_seen();
    become_off(machine, false, "Off", ctx);
    let Some(group) = lab.groups.get(&machine.spec.group) else {
        return;
    };
    if !group.wants(id) || first_sight {
        return;
    }
    if let Some(until_ms) = group.frozen_until_ms {
        machine.hold_ms = Some(until_ms);
        return;
    }
    machine.lost = true;
    let message = String::from("Off without our order: no longer counted");
    machine.event(Severity::Warning, "LostPower", message, ctx);
}

pub(crate) fn become_off(
    machine: &mut Machine,
    inferred: bool,
    why: &'static str,
    ctx: &mut Ctx<'_>,
) {
    if let Some(seen) = machine
        .seen
        .node
        .as_ref()
        .filter(|_| machine.record.node_backup.is_none())
    {
        machine.record.node_backup = Some(node::backup(seen, machine.seen.cordoned_by_person));
    }
    set_power(machine, PowerState::Off, inferred, ctx);
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
    machine.end();
    machine.touch();
    let how = if inferred {
        "silent for its hold time after it had said it goes down"
    } else {
        "read twice from its BMC"
    };
    let message = format!("Off: {how}");
    machine.event(Severity::Normal, "PoweredOff", message.clone(), ctx);
    machine.enter(Phase::Off, why, message, ctx);
}

/// Silence is not off. Much silence at once is a fault of the network, or a power cut: nothing is decided then.
fn fell_silent(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let Some(since) = lab.links.listening_since(machine.spec.joins) else {
        return;
    };
    if !ctx.due(since.saturating_add(ctx.policy.grace_ms)) {
        return;
    }
    set_power(machine, PowerState::Unknown, false, ctx);
    machine.event(
        Severity::Warning,
        "Silent",
        String::from("No heartbeat and no kubelet; whether it runs is unknown"),
        ctx,
    );
    machine.enter(
        Phase::Unknown,
        "Silent",
        String::from("Was running, is not heard any more"),
        ctx,
    );
    let group_id = machine.spec.group.clone();
    let members = || lab.machines.values().filter(|m| m.spec.group == group_id);
    let silent = members().filter(|m| m.why == "Silent").count();
    let running = members()
        .filter(|m| matches!(m.phase, Phase::Running))
        .count();
    if silent < 2 || silent < running {
        return;
    }
    let until_ms = ctx.now.boot_ms.saturating_add(ctx.policy.power_cut_hold_ms);
    for machine in lab
        .machines
        .values_mut()
        .filter(|m| m.spec.group == group_id && m.why == "Silent")
    {
        machine.hold_ms = Some(until_ms);
    }
    if let Some(group) = lab.groups.get_mut(&group_id) {
        let news = group.frozen_until_ms.is_none();
        group.frozen_until_ms = Some(until_ms);
        if news {
            let message = format!(
                "{silent} machines fell silent at once: nothing is decided for {} s",
                ctx.policy.power_cut_hold_ms / 1000
            );
            ctx.out.push(Action::Event(Event {
                about: Subject::Group(group_id),
                severity: Severity::Warning,
                reason: "MassSilence",
                message,
            }));
        }
    }
}
