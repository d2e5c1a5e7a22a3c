//! Stopping a machine: fence its Node, see that nothing needs it, order the stop, and prove that it is off.
//!
//! In: a machine in phase Stopping. Out: fence, pod list, one power-off (repeated under the same id), escalation.
//! Holds: the operation is stored before the order is sent; nothing is stopped that runs pods which do not belong
//! there; off is confirmed, never assumed.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

mod answers;
mod orders;

pub(crate) use answers::{pods_listed, reported};
use orders::{executor, order, order_bmc, resend};

use crate::actions::{Action, Severity, Verb};
use crate::agents::Agents;
use crate::ids::{AgentId, CommandId};
use crate::lab::{Ctx, Links};
use crate::machine::{Machine, Phase};
use crate::node;
use crate::power::{self, Power};
use crate::record::OperationKind;
use crate::spec::{ForceOff, Joins};

/// A stop under way.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    /// The record version that must be stored before anything is sent.
    pub(crate) gate: u64,
    pub(crate) step: Step,
    /// When the stop began; the stop timeout runs from here.
    pub(crate) started_ms: u64,
    /// Orders sent.
    tries: u32,
    /// Refused or failed orders: the next method takes over.
    failures: u32,
    /// The latest order.
    last: Option<CommandId>,
    told_late: bool,
}

/// How far a stop is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// It was being woken when the order came; it may still appear, until then.
    Appearing { until_ms: u64 },
    /// Its Node is being tainted and cordoned, and must settle.
    Fencing { asked_ms: Option<u64> },
    /// Its pods are being listed.
    Listing { asked_ms: Option<u64> },
    /// Pods, or its own refusal, hold it up; looked at again then.
    Held { again_ms: u64 },
    /// An order was sent and is not accepted yet.
    Ordered { sent_ms: u64 },
    /// It goes down; from when silence counts.
    GoingDown { from_ms: u64 },
}

/// Orders a running machine down.
pub(crate) fn start(machine: &mut Machine, agents: &Agents, by: &str, ctx: &mut Ctx<'_>) {
    let floor = agents.high_water(machine.id());
    let gate = machine.begin(OperationKind::Stop, by.to_string(), floor, ctx);
    enter(machine, gate, Step::Fencing { asked_ms: None }, by, ctx);
}

/// Takes back a wake that may already have had its effect.
pub(crate) fn start_before_boot(
    machine: &mut Machine,
    agents: &Agents,
    by: &str,
    until_ms: u64,
    ctx: &mut Ctx<'_>,
) {
    let floor = agents.high_water(machine.id());
    let gate = machine.begin(OperationKind::Stop, by.to_string(), floor, ctx);
    enter(machine, gate, Step::Appearing { until_ms }, by, ctx);
}

/// Goes on with a stop that was stored before a restart.
pub(crate) fn resume(machine: &mut Machine, ctx: &mut Ctx<'_>) {
    let Some(operation) = machine.record.operation.clone() else {
        return;
    };
    let step = if operation.going_down {
        Step::GoingDown {
            from_ms: ctx.now.boot_ms,
        }
    } else {
        Step::Fencing { asked_ms: None }
    };
    enter(machine, 0, step, &operation.by, ctx);
}

fn enter(machine: &mut Machine, gate: u64, step: Step, by: &str, ctx: &mut Ctx<'_>) {
    let stopping = Stopping {
        gate,
        step,
        started_ms: ctx.now.boot_ms,
        tries: 0,
        failures: 0,
        last: None,
        told_late: false,
    };
    let message = format!("Ordered off by {by}");
    machine.event(Severity::Normal, "Stopping", message.clone(), ctx);
    machine.enter(Phase::Stopping(stopping), "StopOrdered", message, ctx);
}

/// What became of a stop in this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It goes on.
    Pending,
    /// Confirmed off.
    Off { inferred: bool },
    /// It went down and is up again under another boot.
    CameBack,
}

/// Does what is due.
pub(crate) fn drive(
    machine: &mut Machine,
    agents: &mut Agents,
    links: Links,
    power: &Power,
    ctx: &mut Ctx<'_>,
) -> Outcome {
    let Phase::Stopping(mut stopping) = machine.phase.clone() else {
        return Outcome::Pending;
    };
    let outcome = verdict(machine, agents, links, power, ctx);
    if outcome != Outcome::Pending {
        return outcome;
    }
    if machine.is_recorded(stopping.gate) {
        advance(machine, &mut stopping, agents, power, ctx);
    }
    escalate(machine, &mut stopping, agents, ctx);
    machine.phase = Phase::Stopping(stopping);
    Outcome::Pending
}

fn verdict(
    machine: &Machine,
    agents: &Agents,
    links: Links,
    power: &Power,
    ctx: &mut Ctx<'_>,
) -> Outcome {
    if power.off_read {
        return Outcome::Off { inferred: false };
    }
    let Phase::Stopping(stopping) = &machine.phase else {
        return Outcome::Pending;
    };
    let operation = machine.record.operation.as_ref();
    let meant = operation.and_then(|op| op.boot_id.as_ref());
    match stopping.step {
        Step::GoingDown { from_ms } => {
            if power::rebooted(meant, power.boot_id.as_ref()) {
                Outcome::CameBack
            } else if machine.spec.redfish.is_none()
                && power::silent_for_hold(machine, agents, links, from_ms, ctx)
            {
                Outcome::Off { inferred: true }
            } else {
                Outcome::Pending
            }
        }
        Step::Appearing { until_ms }
            if power.on.is_none() && machine.spec.redfish.is_none() && ctx.due(until_ms) =>
        {
            Outcome::Off { inferred: true }
        }
        Step::Appearing { .. }
        | Step::Fencing { .. }
        | Step::Listing { .. }
        | Step::Held { .. }
        | Step::Ordered { .. } => Outcome::Pending,
    }
}

fn advance(
    machine: &mut Machine,
    stopping: &mut Stopping,
    agents: &mut Agents,
    power: &Power,
    ctx: &mut Ctx<'_>,
) {
    let decided_for = machine
        .record
        .operation
        .as_ref()
        .and_then(|op| op.boot_id.as_ref());
    let not_sent = matches!(
        stopping.step,
        Step::Appearing { .. } | Step::Fencing { .. } | Step::Listing { .. } | Step::Held { .. }
    );
    if not_sent && power.boot_id.is_some() && decided_for != power.boot_id.as_ref() {
        return adopt_boot(machine, stopping, power);
    }
    match stopping.step.clone() {
        Step::Appearing { .. } => {
            if power.on.is_some() {
                stopping.step = Step::Fencing { asked_ms: None };
                fence(machine, stopping, ctx);
            }
        }
        Step::Fencing { .. } => fence(machine, stopping, ctx),
        Step::Listing { asked_ms } => {
            if asked_ms.is_some_and(|at| ctx.due(at.saturating_add(ctx.policy.pods_retry_ms))) {
                stopping.step = Step::Listing { asked_ms: None };
            }
        }
        Step::Held { again_ms } => {
            if ctx.due(again_ms) {
                stopping.step = Step::Fencing { asked_ms: None };
                fence(machine, stopping, ctx);
            }
        }
        Step::Ordered { sent_ms } => {
            if ctx.due(sent_ms.saturating_add(ctx.policy.accept_ms)) {
                resend(machine, stopping, agents, ctx);
            }
        }
        Step::GoingDown { .. } => {}
    }
    // Without a Node nothing has to settle and no pods can run: the order may go out in this very pass.
    if stopping.step == (Step::Listing { asked_ms: None }) {
        list_pods(machine, stopping, agents, ctx);
    }
}

/// The order stands for the boot that is seen now, under an operation of its own that is stored first.
fn adopt_boot(machine: &mut Machine, stopping: &mut Stopping, power: &Power) {
    machine.record.boot_id.clone_from(&power.boot_id);
    if let Some(operation) = machine.record.operation.as_mut() {
        operation.boot_id.clone_from(&power.boot_id);
    }
    machine.touch();
    stopping.gate = machine.pending_version();
}

fn fence(machine: &mut Machine, stopping: &mut Stopping, ctx: &mut Ctx<'_>) {
    let Some(seen) = machine
        .seen
        .node
        .clone()
        .filter(|_| machine.spec.joins == Joins::Kubelet)
    else {
        stopping.step = Step::Listing { asked_ms: None };
        return;
    };
    if !node::is_fenced(&seen) {
        let asked_ms = match stopping.step {
            Step::Fencing { asked_ms } => asked_ms,
            Step::Appearing { .. }
            | Step::Listing { .. }
            | Step::Held { .. }
            | Step::Ordered { .. }
            | Step::GoingDown { .. } => None,
        };
        if asked_ms.is_none_or(|at| ctx.due(at.saturating_add(ctx.policy.accept_ms))) {
            stopping.step = Step::Fencing {
                asked_ms: Some(ctx.now.boot_ms),
            };
            ctx.at(ctx.now.boot_ms.saturating_add(ctx.policy.accept_ms));
            ctx.out.push(Action::Fence {
                machine: machine.id().clone(),
                node: seen.name,
            });
        }
        return;
    }
    // A pod may have been bound while the taint was on its way; it must have shown up by then.
    let fenced_ms = *machine.seen.fenced_ms.get_or_insert(ctx.now.boot_ms);
    if ctx.due(fenced_ms.saturating_add(ctx.policy.settle_ms)) {
        stopping.step = Step::Listing { asked_ms: None };
    }
}

/// Lists the pods only once the order could follow at once: the list must not grow old.
fn list_pods(
    machine: &mut Machine,
    stopping: &mut Stopping,
    agents: &mut Agents,
    ctx: &mut Ctx<'_>,
) {
    let executors: Vec<AgentId> = machine
        .spec
        .stop
        .iter()
        .filter_map(|method| executor(machine, *method, agents, ctx))
        .collect();
    let ready = executors
        .iter()
        .any(|agent| agents.challenge(agent, ctx).is_some());
    if !ready && !executors.is_empty() {
        return;
    }
    let node = machine
        .seen
        .node
        .as_ref()
        .filter(|_| machine.spec.joins == Joins::Kubelet);
    if let Some(node) = node {
        stopping.step = Step::Listing {
            asked_ms: Some(ctx.now.boot_ms),
        };
        ctx.at(ctx.now.boot_ms.saturating_add(ctx.policy.pods_retry_ms));
        ctx.out.push(Action::ListPods {
            machine: machine.id().clone(),
            node: node.name.clone(),
        });
    } else {
        order(machine, stopping, agents, ctx);
    }
}

/// After the stop timeout: cut power if that is allowed, and in any case say so once.
fn escalate(
    machine: &mut Machine,
    stopping: &mut Stopping,
    agents: &mut Agents,
    ctx: &mut Ctx<'_>,
) {
    let asked = stopping.tries > 0 || matches!(stopping.step, Step::GoingDown { .. });
    if !asked
        || !ctx.due(
            stopping
                .started_ms
                .saturating_add(machine.spec.timeouts.stop_ms),
        )
    {
        return;
    }
    if !stopping.told_late {
        stopping.told_late = true;
        let message = format!(
            "Still not confirmed off {} s after the order",
            machine.spec.timeouts.stop_ms / 1000
        );
        machine.event(Severity::Warning, "StopTimedOut", message.clone(), ctx);
        machine.explain("StopTimedOut", message);
        machine.touch();
    }
    let cut = machine.spec.force_off == ForceOff::AfterTimeout;
    // Cutting power needs the same proof that nothing runs there: only an order that had passed the pod list counts.
    if cut && order_bmc(machine, stopping, agents, ctx, Verb::RedfishForceOff) {
        stopping.started_ms = ctx.now.boot_ms;
    }
}

/// Why a stop waits, and for how long.
struct Hold {
    for_ms: u64,
    why: &'static str,
    message: String,
}

fn hold(machine: &mut Machine, stopping: &mut Stopping, held: Hold, ctx: &mut Ctx<'_>) {
    let again_ms = ctx.now.boot_ms.saturating_add(held.for_ms);
    ctx.at(again_ms);
    stopping.step = Step::Held { again_ms };
    if machine.why != held.why {
        machine.event(Severity::Warning, held.why, held.message.clone(), ctx);
    }
    machine.explain(held.why, held.message);
}
