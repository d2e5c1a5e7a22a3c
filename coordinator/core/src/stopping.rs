//! Stopping a machine: fence its Node, see that nothing needs it, order the stop, and prove that it is off.
//!
//! In: a machine in phase Stopping. Out: fence, pod list, evictions, one power-off (repeated under the same id), escalation.
//! Holds: the operation is stored before the order is sent; nothing is stopped that runs pods which do not belong
//! there; off is confirmed, never assumed.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

mod answers;
mod drain;
mod orders;
mod verdict;

pub(crate) use answers::{list_again, not_sent, pods_listed, reported};
use drain::Drain;
pub(crate) use drain::evicted;
use orders::{executor, hold_back, no_way, order_bmc, order_once_stored, resend};
use verdict::{attributed, verdict, withdrawn};

use crate::actions::{Action, Severity, Verb};
use crate::agents::Agents;
use crate::ids::{AgentId, CommandId};
use crate::lab::{Ctx, Links};
use crate::machine::{Machine, Phase};
use crate::node;
use crate::permission::Protection;
use crate::power::Power;
use crate::record::{OperationKind, PowerState, Witness};
use crate::spec::{ForceOff, Joins, StopMethod};
use crate::trace::Trace;
use crate::view::{DrainState, Wish};
use crate::why::Why;

/// A stop under way.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    /// The record version that must be stored before anything is sent.
    pub(crate) gate: u64,
    pub(crate) step: Step,
    /// When the stop began, or its first order was sent; the stop timeout runs from here.
    pub(crate) started_ms: u64,
    /// Orders sent.
    tries: u32,
    /// Refused or failed orders: the next method takes over.
    failures: u32,
    /// The latest order.
    last: Option<CommandId>,
    /// Whom an order may have reached that was not refused.
    told: Told,
    /// The same before the latest order, which may turn out not to have left.
    before_last: Told,
    /// It goes on from before a restart.
    resumed: bool,
    /// When the last order was sent, or may have been before a restart.
    last_sent_ms: u64,
    told_late: bool,
    /// Pods are in the way of a stop that is our own.
    drain: Option<Drain>,
}

/// By whom the machine may have been told to go down: what becomes of an order to one says nothing about those to the other.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    agent: bool,
    bmc: bool,
}

impl Stopping {
    /// An order may have reached the machine and was not refused: it cannot be called back.
    pub(crate) fn order_left(&self) -> bool {
        self.told.agent || self.told.bmc
    }

    /// It is to be stopped when it appears, and has not appeared.
    pub(crate) fn awaits_boot(&self) -> bool {
        matches!(self.step, Step::Appearing { .. })
    }

    /// No order is on its way: another one may wait.
    fn may_wait(&self) -> bool {
        matches!(
            self.step,
            Step::Fencing { .. }
                | Step::Listing { .. }
                | Step::Evicting { .. }
                | Step::Waiting { .. }
        )
    }

    /// How far its drain is, if it is not over.
    pub(crate) fn drain(&self) -> Option<DrainState> {
        let drain = self.drain.as_ref().filter(|_| self.may_wait())?;
        Some(drain.state)
    }
}

/// What a stop needs to know of the rest of the lab.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings {
    pub(crate) links: Links,
    /// Why the machine must not be stopped by us, if so.
    pub(crate) protected: Option<Protection>,
    /// What is wished for the machine by now, if power may be moved at all: the group is neither paused nor frozen, the
    /// declaration is sound.
    pub(crate) free: Option<Wish>,
}

/// A BMC may need as long to show the effect of a wake; readings of Off before that say nothing.
const WAKE_SHOWS_MS: u64 = 60_000;

/// How far a stop is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// It was being woken when the order came; it may still appear, until then.
    Appearing { until_ms: u64, trace: Trace },
    /// Its Node is being tainted and cordoned, and must settle.
    Fencing { asked_ms: Option<u64> },
    /// Its pods are being listed.
    Listing { asked_ms: Option<u64> },
    /// Pods are being asked to leave.
    Evicting { asked_ms: u64 },
    /// Pods, or its own refusal, stand in the way; looked at again then.
    Waiting { again_ms: u64 },
    /// An order was sent and is not accepted yet.
    Ordered { sent_ms: u64 },
    /// It goes down; from when silence counts.
    GoingDown { from_ms: u64 },
}

/// Orders a running machine down.
pub(crate) fn start(machine: &mut Machine, agents: &Agents, by: &str, ctx: &mut Ctx<'_>) {
    let floor = agents.high_water(machine.id(), &machine.spec.agent);
    let gate = machine.begin(OperationKind::Stop, by.to_string(), floor, ctx);
    let message = enter(machine, gate, Step::Fencing { asked_ms: None }, by, ctx);
    machine.event(Severity::Normal, "Stopping", message, ctx);
}

/// Takes back a wake that may already have had its effect.
pub(crate) fn start_before_boot(
    machine: &mut Machine,
    agents: &Agents,
    by: &str,
    trace: Trace,
    ctx: &mut Ctx<'_>,
) {
    let floor = agents.high_water(machine.id(), &machine.spec.agent);
    let gate = machine.begin(OperationKind::Stop, by.to_string(), floor, ctx);
    // After a restart the time of the wake tells its boot from an older one.
    let age_ms = ctx.now.boot_ms.saturating_sub(trace.first_ms);
    if let Some(operation) = machine.record.operation.as_mut() {
        operation.started_at_ms = ctx.now.wall_ms.saturating_sub_unsigned(age_ms);
    }
    let until_ms = ctx
        .now
        .boot_ms
        .saturating_add(machine.spec.timeouts.boot_ms);
    let message = enter(machine, gate, Step::Appearing { until_ms, trace }, by, ctx);
    machine.event(Severity::Normal, "Stopping", message, ctx);
}

/// Goes on with a stop that was stored before a restart.
pub(crate) fn resume(machine: &mut Machine, ctx: &Ctx<'_>) {
    let Some(operation) = machine.record.operation.clone() else {
        return;
    };
    let now_ms = ctx.now.boot_ms;
    let was_running = machine.record.power.state == PowerState::Running;
    let step = if operation.going_down {
        Step::GoingDown { from_ms: now_ms }
    } else if machine.is_ordered()
        || was_running
        || machine.record.boot_id.is_some() && machine.record.power.state != PowerState::Off
    {
        Step::Fencing { asked_ms: None }
    } else {
        // It was not running when it was ordered off: the order takes a wake back.
        let age_ms = ctx.now.wall_ms.saturating_sub(operation.started_at_ms);
        let first_ms = now_ms.saturating_sub(u64::try_from(age_ms).unwrap_or(0));
        Step::Appearing {
            until_ms: now_ms.saturating_add(machine.spec.timeouts.boot_ms),
            trace: Trace {
                first_ms,
                last_ms: now_ms,
                node_absent: false,
            },
        }
    };
    enter(machine, 0, step, &operation.by, ctx);
    if let Phase::Stopping(stopping) = &mut machine.phase {
        stopping.resumed = true;
        // Nobody remembers by which way it went.
        stopping.told.agent = operation.ordered_at_ms.is_some();
    }
}

/// Returns what people are told.
fn enter(machine: &mut Machine, gate: u64, step: Step, by: &str, ctx: &Ctx<'_>) -> String {
    let stopping = Stopping {
        gate,
        step,
        started_ms: ctx.now.boot_ms,
        tries: 0,
        failures: 0,
        last: None,
        told: Told::default(),
        before_last: Told::default(),
        resumed: false,
        last_sent_ms: ctx.now.boot_ms,
        told_late: false,
        drain: None,
    };
    let message = format!("Ordered off by {by}");
    let phase = Phase::Stopping(Box::new(stopping));
    machine.enter(phase, Why::StopOrdered, message.clone(), ctx);
    message
}

/// What became of a stop in this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It goes on.
    Pending,
    /// Confirmed off.
    Off { by: Witness },
    /// It went down and is up again under another boot.
    CameBack,
    /// It was to be stopped when it appears, and was on all along, or must not be stopped.
    WasOn,
    /// It was to be stopped when it appears, and never did.
    NeverCame,
    /// It did not heed an order that nobody stands behind any more, and will not.
    NotHeeded,
}

/// Does what is due.
pub(crate) fn drive(
    machine: &mut Machine,
    agents: &mut Agents,
    around: Surroundings,
    power: &Power,
    ctx: &mut Ctx<'_>,
) -> Outcome {
    let Phase::Stopping(mut stopping) = machine.phase.clone() else {
        return Outcome::Pending;
    };
    let outcome = verdict(machine, agents, around, power, ctx);
    let (Outcome::Pending, Some(wish)) = (outcome, around.free) else {
        return outcome;
    };
    if stopping.order_left() && wish != Wish::Off {
        return withdrawn(machine, &stopping, power, ctx);
    }
    if let Some(protection) = around.protected.filter(|_| stopping.may_wait()) {
        hold_back(machine, &mut stopping, protection, ctx);
    } else if machine.is_recorded(stopping.gate) {
        advance(machine, &mut stopping, agents, power, ctx);
    }
    escalate(machine, &mut stopping, agents, power, ctx);
    machine.phase = Phase::Stopping(stopping);
    Outcome::Pending
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
    let not_sent = stopping.may_wait() && !stopping.order_left();
    // Its power alone was seen when it was ordered off: an agent that shows up now gets no order for whatever boot.
    let unbound = decided_for.is_none() && !matches!(stopping.step, Step::Appearing { .. });
    if (not_sent || unbound) && power.boot_id.is_some() && decided_for != power.boot_id.as_ref() {
        return adopt_boot(machine, stopping, power);
    }
    match stopping.step.clone() {
        Step::Appearing { until_ms, trace } => {
            let ours = attributed(machine, (until_ms, &trace), power, ctx) == Some(true);
            if power.on.is_some() && ours {
                stopping.step = Step::Fencing { asked_ms: None };
                adopt_boot(machine, stopping, power);
            }
            return;
        }
        Step::Fencing { .. } => fence(machine, stopping, ctx),
        Step::Listing { asked_ms } => {
            if asked_ms.is_some_and(|at| ctx.due(at.saturating_add(ctx.policy.pods_retry_ms))) {
                stopping.step = Step::Listing { asked_ms: None };
            }
        }
        Step::Evicting { asked_ms } => {
            look_if_due(
                machine,
                stopping,
                asked_ms.saturating_add(drain::ANSWER_MS),
                ctx,
            );
        }
        Step::Waiting { again_ms } => look_if_due(machine, stopping, again_ms, ctx),
        Step::Ordered { sent_ms } => {
            let unanswered = ctx.due(sent_ms.saturating_add(ctx.policy.accept_ms));
            if unanswered && is_unfenced(machine) {
                stopping.step = Step::Fencing { asked_ms: None };
                fence(machine, stopping, ctx);
            } else if unanswered {
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

/// A round begins anew once it is time, with the fence.
fn look_if_due(machine: &mut Machine, stopping: &mut Stopping, at_ms: u64, ctx: &mut Ctx<'_>) {
    if ctx.due(at_ms) {
        stopping.step = Step::Fencing { asked_ms: None };
        fence(machine, stopping, ctx);
    }
}

/// The order stands for the boot that is seen now, which is stored before it is sent.
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
        .as_deref()
        .cloned()
        .filter(|_| machine.spec.joins == Joins::Kubelet)
    else {
        stopping.step = Step::Listing { asked_ms: None };
        return;
    };
    if !node::is_fenced(&seen) {
        let asked_ms = if let Step::Fencing { asked_ms } = stopping.step {
            asked_ms
        } else {
            None
        };
        if asked_ms.is_none_or(|at| ctx.due(at.saturating_add(ctx.policy.accept_ms))) {
            stopping.step = Step::Fencing {
                asked_ms: Some(ctx.now.boot_ms),
            };
            ctx.at(ctx.now.boot_ms.saturating_add(ctx.policy.accept_ms));
            ctx.out.push(Action::Fence {
                machine: machine.id().clone(),
                node: seen.name,
                cordon: machine.seen.cordon(),
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
    if executors.is_empty() {
        return no_way(machine, stopping, ctx);
    }
    let ready = executors
        .iter()
        .any(|agent| agents.challenge(agent, ctx).is_some());
    if !ready {
        return;
    }
    let node = machine
        .seen
        .node
        .as_deref()
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
        order_once_stored(machine, stopping, agents, ctx);
    }
}

/// After the stop timeout: cut power if that is allowed, and in any case say so once.
fn escalate(
    machine: &mut Machine,
    stopping: &mut Stopping,
    agents: &mut Agents,
    power: &Power,
    ctx: &mut Ctx<'_>,
) {
    // Only an order that passed the pod list and was not refused may be pressed home.
    let asked = matches!(stopping.step, Step::Ordered { .. } | Step::GoingDown { .. });
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
        machine.explain(Why::StopTimedOut, message);
        machine.touch();
    }
    // A Node that has shown up since the order may have taken pods.
    let cut = machine.spec.force_off == ForceOff::AfterTimeout && !is_unfenced(machine);
    if cut && order_bmc(machine, stopping, agents, ctx, Verb::RedfishForceOff) {
        stopping.started_ms = ctx.now.boot_ms;
    } else if power.on.is_some() && (is_unfenced(machine) || !said_so_itself(machine)) {
        ask_again(machine, stopping, ctx);
    }
}

/// Its Node is there, and nothing keeps pods off it.
fn is_unfenced(machine: &Machine) -> bool {
    let node = machine.seen.node.as_deref();
    machine.spec.joins == Joins::Kubelet && node.is_some_and(|node| !node::is_fenced(node))
}

/// The machine itself has said, signed, that it goes down.
pub(crate) fn said_so_itself(machine: &Machine) -> bool {
    let operation = machine.record.operation.as_ref();
    operation.is_some_and(|op| op.going_down)
}

/// A BMC has passed the order on, and the system has not heeded it: it may not have been up yet.
fn ask_again(machine: &Machine, stopping: &mut Stopping, ctx: &mut Ctx<'_>) {
    let methods = &machine.spec.stop;
    let turn = usize::try_from(stopping.failures).unwrap_or(0);
    let by_bmc = turn
        .checked_rem(methods.len())
        .and_then(|turn| methods.get(turn))
        .is_some_and(|method| *method == StopMethod::Redfish);
    stopping.failures += u32::from(by_bmc);
    stopping.tries = 0;
    stopping.step = Step::Fencing { asked_ms: None };
    ctx.at(ctx.now.boot_ms);
}
