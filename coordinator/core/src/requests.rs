//! Requests: checked in full before anything changes, then handed on as changes.
//!
//! In: what callers ask. Out: changes for `groups`, removals, overrides; or a rejection.
//! Holds: all or nothing; an unknown name or a foreign machine changes nothing. A paused group grows by no request, and takes
//! back only wishes for machines that have not joined.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::actions::{Answer, RejectedKind};
use crate::awaited::AwaitedState;
use crate::choice;
use crate::facts::{Ask, NodeRef, Request};
use crate::groups::{Caller, Change, Group, Growth, What};
use crate::ids::{GroupId, MachineId};
use crate::lab::{Asked, Ctx, Lab};
use crate::machine::{Machine, Phase, Presence, Unknown};
use crate::permission;
use crate::record::{OffOrder, Override, OverridePower, PowerRecord, PowerState, Witness};
use crate::removal::{self, Leaving, Stays};
use crate::spec::{Mode, PowerPolicy};
use crate::why::Why;
use crate::wishes::DELETE_NODES;

type Refusal = (RejectedKind, String);

/// Takes every request that has come in since the last pass.
pub(crate) fn take(lab: &mut Lab, ctx: &mut Ctx<'_>) {
    for Asked { caller, request } in lab.take_asked() {
        if ctx.now.boot_ms >= caller.deadline_ms {
            ctx.reject(
                caller.ticket,
                RejectedKind::DeadlineExceeded,
                "the caller's deadline had passed on arrival",
            );
            continue;
        }
        let ticket = caller.ticket;
        let refusal = match request {
            Request::Increase {
                group,
                delta,
                looked,
            } => increase(lab, &group, Growth { delta, looked }, caller),
            Request::Delete { group, nodes } => delete(lab, &group, &nodes, caller, ctx),
            Request::Decrease { group, delta } => decrease(lab, &group, delta, caller, ctx),
            Request::Ask {
                machine,
                id,
                ask,
                by,
            } => person(lab, &machine, PersonsAsk { id, ask, by }, caller, ctx),
        };
        if let Err((kind, message)) = refusal {
            ctx.reject(ticket, kind, message);
        }
    }
}

/// A group that the cluster-autoscaler may change.
fn autoscaled<'a>(lab: &'a mut Lab, id: &GroupId) -> Result<&'a mut Group, Refusal> {
    let Some(group) = lab.groups.get_mut(id) else {
        return Err((RejectedKind::NotFound, format!("no group {id} is declared")));
    };
    match group.spec.mode {
        Mode::Autoscaler => Ok(group),
        Mode::Manual { .. } => Err((
            RejectedKind::FailedPrecondition,
            format!("group {id} is in mode Manual"),
        )),
    }
}

fn increase(lab: &mut Lab, id: &GroupId, growth: Growth, caller: Caller) -> Result<(), Refusal> {
    let group = autoscaled(lab, id)?;
    if group.spec.paused {
        return Err((
            RejectedKind::FailedPrecondition,
            format!("group {id} is paused"),
        ));
    }
    if growth.delta <= 0 {
        return Err((
            RejectedKind::InvalidArgument,
            format!("delta is {}, it must be above 0", growth.delta),
        ));
    }
    group.push(Change {
        what: What::Increase(growth),
        caller: Some(caller),
    });
    Ok(())
}

/// A group that the cluster-autoscaler may change, and of which it is certain what is wanted: else it is not what to give back.
/// An increase may wait for the store's answer instead.
fn certain(lab: &mut Lab, id: &GroupId) -> Result<(), Refusal> {
    if !autoscaled(lab, id)?.in_doubt() {
        return Ok(());
    }
    let message = format!("it is not known yet whether the last change of group {id} was stored");
    Err((RejectedKind::Unavailable, message))
}

fn decrease(
    lab: &mut Lab,
    id: &GroupId,
    delta: i32,
    caller: Caller,
    ctx: &mut Ctx<'_>,
) -> Result<(), Refusal> {
    certain(lab, id)?;
    if delta >= 0 {
        return Err((
            RejectedKind::InvalidArgument,
            format!("delta is {delta}, it must be below 0"),
        ));
    }
    let count = usize::try_from(delta.unsigned_abs()).unwrap_or(usize::MAX);
    let machines = choice::for_decrease(lab, id, count);
    let by = format!("cluster-autoscaler DecreaseTargetSize({delta})");
    removal::prepare(
        lab,
        id,
        Leaving {
            machines,
            by,
            caller: Some(caller),
            stays: Stays::Registered,
        },
        ctx,
    );
    Ok(())
}

fn delete(
    lab: &mut Lab,
    id: &GroupId,
    nodes: &[NodeRef],
    caller: Caller,
    ctx: &mut Ctx<'_>,
) -> Result<(), Refusal> {
    certain(lab, id)?;
    let mut machines: Vec<MachineId> = Vec::new();
    for node in nodes {
        let machine = resolve(lab, id, node)?;
        if lab
            .groups
            .get(id)
            .is_some_and(|group| group.wants(machine.id()))
        {
            permission::may_delete(lab, machine)?;
            if !machines.contains(machine.id()) {
                machines.push(machine.id().clone());
            }
        } else if runs_unlisted(machine) {
            // It runs beyond the size of its group; it is stopped all the same.
            permission::may_delete(lab, machine)?;
            if !machines.contains(machine.id()) {
                machines.push(machine.id().clone());
            }
        }
    }
    if let Some(group) = lab.groups.get(id) {
        permission::check_minimum(lab, id, &group.record.wanted, &machines)?;
    }
    let by = format!("{DELETE_NODES}({})", nodes.len());
    removal::prepare(
        lab,
        id,
        Leaving {
            machines,
            by,
            caller: Some(caller),
            stays: Stays::Nothing,
        },
        ctx,
    );
    Ok(())
}

/// It runs and nobody has ordered it off, or only for a proof, after which it would be woken again.
fn runs_unlisted(machine: &Machine) -> bool {
    match &machine.record.order {
        Some(order) => order.then_wake,
        None => matches!(machine.phase, Phase::Running),
    }
}

/// By provider id first, then by Node name, then by the name of the machine itself.
fn resolve<'a>(lab: &'a Lab, id: &GroupId, node: &NodeRef) -> Result<&'a Machine, Refusal> {
    if node.provider_id.is_empty() && node.name.is_empty() {
        return Err((
            RejectedKind::InvalidArgument,
            "a node has neither provider id nor name".to_string(),
        ));
    }
    let scheme = lab.policy.provider_scheme;
    let members = || lab.machines.values().filter(|m| m.spec.group == *id);
    let by_id = members().find(|m| {
        let promised = m.provider_id(scheme);
        promised == node.provider_id || promised == node.name
    });
    let by_name =
        || members().find(|m| *m.spec.node_name == *node.name || m.id().as_str() == node.name);
    let found = by_id.or_else(by_name).map(|machine| &**machine);
    found.ok_or_else(|| {
        let name = if node.name.is_empty() {
            &node.provider_id
        } else {
            &node.name
        };
        (
            RejectedKind::InvalidArgument,
            format!("node {name} does not belong to group {id}"),
        )
    })
}

/// What a person asks of one machine.
struct PersonsAsk {
    id: String,
    ask: Ask,
    by: String,
}

/// Carries out what a person asks of one machine. Repeating an id changes nothing more.
fn person(
    lab: &mut Lab,
    id: &MachineId,
    asked: PersonsAsk,
    caller: Caller,
    ctx: &mut Ctx<'_>,
) -> Result<(), Refusal> {
    let PersonsAsk {
        id: ask_id,
        ask,
        by,
    } = asked;
    let Some(machine) = lab.machines.get(id) else {
        return Err((
            RejectedKind::NotFound,
            format!("no machine {id} is declared"),
        ));
    };
    if machine.record.last_ask.as_ref() == Some(&ask_id) {
        // Taken already, but perhaps not stored yet: `answer_recorded` tells once it is.
        lab.recording.push((caller, machine.awaited_record()));
        return Ok(());
    }
    check_ask(lab, machine, ask)?;
    let order_id = ctx.mint.ulid(ctx.now.wall_ms);
    let now = ctx.now;
    let Some(machine) = lab.machines.get_mut(id) else {
        return Ok(());
    };
    match ask {
        Ask::Power { power, until_ms } => {
            machine.record.override_ = Some(Box::new(Override {
                power,
                until_ms,
                by,
            }));
        }
        Ask::Release => machine.record.override_ = None,
        Ask::Retry => {
            machine.record.quarantine = None;
            if matches!(machine.phase, Phase::WakeFailed(_)) {
                machine.enter(
                    Phase::Unknown(Unknown::Retry),
                    Why::Retry,
                    format!("To be tried again, asked by {by}"),
                    ctx,
                );
            }
        }
        Ask::ConfirmOff => confirm_off(machine, &by, ctx),
        Ask::Prove => {
            machine.record.order = Some(Box::new(OffOrder {
                id: order_id,
                by: format!("prove, {by}"),
                at_ms: now.wall_ms,
                then_wake: true,
            }));
        }
    }
    machine.record.last_ask = Some(ask_id);
    machine.touch();
    lab.recording.push((caller, machine.awaited_record()));
    Ok(())
}

fn confirm_off(machine: &mut Machine, by: &str, ctx: &Ctx<'_>) {
    machine.record.power = PowerRecord {
        state: PowerState::Off,
        witness: Some(Witness::Person),
        since_ms: ctx.now.wall_ms,
    };
    machine.record.last_off_at_ms = Some(ctx.now.wall_ms);
    machine.record.order = None;
    machine.seen.went_off(ctx.now.boot_ms);
    machine.end();
    machine.enter(
        Phase::Off,
        Why::ConfirmedByPerson,
        format!("Confirmed off by {by}"),
        ctx,
    );
}

/// Answers people whose wishes are durable now, and those who cannot wait any longer: theirs may still be stored later.
pub(crate) fn answer_recorded(lab: &mut Lab, ctx: &mut Ctx<'_>) {
    let mut waiting = core::mem::take(&mut lab.recording);
    waiting.retain(|(caller, awaited)| {
        let stored = awaited.state(lab);
        let late = ctx.due(caller.deadline_ms);
        let open = stored == AwaitedState::Open;
        if stored == AwaitedState::Stored {
            ctx.answer(caller.ticket, Answer::Done);
        } else if stored == AwaitedState::Gone {
            let message = "the machine's declaration was removed before the wish was stored";
            ctx.reject(caller.ticket, RejectedKind::NotFound, message);
        } else if late {
            ctx.reject(
                caller.ticket,
                RejectedKind::DeadlineExceeded,
                "the wish was taken and could not be stored in time; it is stored as soon as that is possible",
            );
        }
        open && !late
    });
    lab.recording = waiting;
}

fn check_ask(lab: &Lab, machine: &Machine, ask: Ask) -> Result<(), Refusal> {
    let refuse = |message: String| Err((RejectedKind::FailedPrecondition, message));
    let id = machine.id();
    let stops = matches!(
        ask,
        Ask::Prove
            | Ask::Power {
                power: OverridePower::Off,
                ..
            }
    );
    if machine.spec.power == PowerPolicy::Unmanaged
        && !matches!(ask, Ask::ConfirmOff | Ask::Release)
    {
        return refuse(format!("{id} has power: Unmanaged"));
    }
    if stops && machine.spec.wake.is_empty() {
        return refuse(format!(
            "{id} has no way to be woken again: declare wakeOnLAN or redfish"
        ));
    }
    if stops && let Some(protection) = permission::protected(lab, machine) {
        return refuse(format!("{id} is not stopped: {}", protection.in_words()));
    }
    match (ask, &machine.phase) {
        (Ask::ConfirmOff, _) if !could_be_heard(lab, machine) => Err((
            RejectedKind::Unavailable,
            format!(
                "the coordinator listens for less than {} s, too short to tell that {id} is not heard: try again then",
                lab.policy.grace_ms / 1000
            ),
        )),
        (Ask::ConfirmOff, _)
            if machine.presence != Presence::Silent || matches!(machine.phase, Phase::Running) =>
        {
            refuse(format!("{id} is heard: it is not off"))
        }
        (
            Ask::Prove,
            Phase::Unknown(_)
            | Phase::Off
            | Phase::Waking(_)
            | Phase::WakeFailed(_)
            | Phase::Stopping(_),
        ) => refuse(format!(
            "{id} is {}, a proof starts from running",
            machine.phase_name().as_str()
        )),
        (Ask::Prove, Phase::Running)
            if machine.record.order.is_some() || removal::takes(lab, id) =>
        {
            refuse(format!("{id} is being given back"))
        }
        (Ask::Prove, Phase::Running) if machine.record.override_.is_some() => refuse(format!(
            "{id} is kept on or off by hand: release it first, a proof stops it once and wakes it again"
        )),
        (Ask::Prove, Phase::Running) if machine.spec.power != PowerPolicy::Auto => refuse(format!(
            "{id} is declared to be always on or off: declare power: Auto first, a proof stops it once and wakes it again"
        )),
        (Ask::Power { .. } | Ask::Release | Ask::Retry | Ask::ConfirmOff | Ask::Prove, _) => Ok(()),
    }
}

/// A sign of life would have come in by now.
fn could_be_heard(lab: &Lab, machine: &Machine) -> bool {
    let since_ms = lab.links.listening_since(machine.spec.joins);
    since_ms.is_some_and(|at| lab.now_ms >= at.saturating_add(lab.policy.grace_ms))
}
