//! What comes back while a machine is being stopped: its pods, and the reports of whoever carries the stop out.
//!
//! Holds: only an empty, current pod list lets the order go out; a refusal is retried under a new id, never forgotten.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::orders::{Obstacle, order_once_stored, wait_out};
use super::{Step, Stopping, drain, said_so_itself};
use crate::agents::Agents;
use crate::facts::{Report, ReportState};
use crate::ids::CommandId;
use crate::lab::Ctx;
use crate::machine::{Machine, Phase};
use crate::pods::{PodSeen, names};
use crate::record::OperationKind;
use crate::why::Why;
use crate::wishes::Drainer;

/// A pod list came back while the machine must be left alone: it says nothing about later.
pub(crate) fn list_again(machine: &mut Machine) {
    if let Phase::Stopping(stopping) = &mut machine.phase
        && matches!(stopping.step, Step::Listing { .. })
    {
        stopping.step = Step::Listing { asked_ms: None };
    }
}

/// Takes in a pod list. Only an empty one lets the order go out, at once; from any other a drain of our own goes on.
pub(crate) fn pods_listed(
    machine: &mut Machine,
    outcome: Result<Vec<PodSeen>, String>,
    drainer: Drainer,
    agents: &mut Agents,
    ctx: &mut Ctx<'_>,
) {
    let Phase::Stopping(mut stopping) = machine.phase.clone() else {
        return;
    };
    if !matches!(stopping.step, Step::Listing { asked_ms: Some(_) }) {
        return;
    }
    match outcome {
        Ok(pods) if pods.is_empty() => {
            stopping.drain = None;
            order_once_stored(machine, &mut stopping, agents, ctx);
        }
        // It came from another boot than the one that is stored: the next list is of this one.
        Ok(_) if drainer == Drainer::Coordinator && !machine.is_recorded(stopping.gate) => {
            stopping.step = Step::Listing { asked_ms: None };
        }
        Ok(pods) if drainer == Drainer::Coordinator => {
            drain::go_on(machine, &mut stopping, pods, ctx);
        }
        Ok(pods) => {
            stopping.drain = None;
            let message = format!("Not stopped: {} still run on it", names(&pods));
            wait_out(
                machine,
                &mut stopping,
                Obstacle {
                    again_in_ms: ctx.policy.pods_retry_ms,
                    why: Why::PodsStillRunning,
                    message,
                },
                ctx,
            );
        }
        Err(fault) => {
            let message = format!("Not stopped: its pods could not be listed ({fault})");
            wait_out(
                machine,
                &mut stopping,
                Obstacle {
                    again_in_ms: ctx.policy.pods_retry_ms,
                    why: Why::PodsUnknown,
                    message,
                },
                ctx,
            );
        }
    }
    machine.phase = Phase::Stopping(stopping);
}

/// The latest order has not left, so it cannot be heeded. An earlier one may have been.
pub(crate) fn not_sent(machine: &mut Machine, command: &CommandId) {
    let Phase::Stopping(stopping) = &mut machine.phase else {
        return;
    };
    if stopping.last.as_ref() == Some(command) {
        stopping.told = stopping.before_last;
    }
}

/// Takes in a report about this machine's stop. `stopping.last` or the operation's own id name the command.
pub(crate) fn reported(machine: &mut Machine, report: &Report, agents: &Agents, ctx: &mut Ctx<'_>) {
    let Phase::Stopping(mut stopping) = machine.phase.clone() else {
        return;
    };
    let operation = machine.record.operation.clone();
    let ours = stopping.last.as_ref() == Some(&report.command)
        || operation.as_ref().is_some_and(|op| op.id == report.command);
    if !ours {
        return;
    }
    // Whoever takes it up has received it, whatever was said of its way.
    if matches!(
        report.state,
        ReportState::Accepted | ReportState::Running | ReportState::Done
    ) {
        if report.agent == machine.spec.agent {
            stopping.told.agent = true;
        } else {
            stopping.told.bmc = true;
        }
    }
    match report.state {
        ReportState::Accepted => machine.explain(
            Why::StopAccepted,
            format!("{} has accepted the stop", report.agent),
        ),
        ReportState::Running | ReportState::Done => going_down(machine, &mut stopping, report, ctx),
        ReportState::Refused
        | ReportState::Failed
        | ReportState::Aborted
        | ReportState::Interrupted => {
            // Another order may have taken the place of this one already.
            if stopping
                .last
                .as_ref()
                .is_none_or(|last| *last == report.command)
            {
                refused(machine, &mut stopping, report, agents, ctx);
            }
        }
    }
    machine.phase = Phase::Stopping(stopping);
}

fn going_down(machine: &mut Machine, stopping: &mut Stopping, report: &Report, ctx: &mut Ctx<'_>) {
    if matches!(stopping.step, Step::GoingDown { .. }) {
        return;
    }
    stopping.step = Step::GoingDown {
        from_ms: ctx.now.boot_ms,
    };
    // Only the machine's own signed word, not a relay's, lets silence count as off after a restart.
    if let Some(operation) = machine.record.operation.as_mut()
        && report.agent == machine.spec.agent
    {
        operation.going_down = true;
        machine.touch();
    }
    machine.explain(
        Why::GoingDown,
        format!("{} has said that it goes down", report.agent),
    );
}

/// A refusal is not the end: the same order under a new id, by the next method, after a while.
fn refused(
    machine: &mut Machine,
    stopping: &mut Stopping,
    report: &Report,
    agents: &Agents,
    ctx: &mut Ctx<'_>,
) {
    let by = machine
        .record
        .operation
        .as_ref()
        .map_or_else(String::new, |op| op.by.clone());
    let floor = agents.high_water(machine.id(), &machine.spec.agent);
    let said_so = said_so_itself(machine);
    stopping.gate = machine.begin(OperationKind::Stop, by, floor, ctx);
    stopping.last = None;
    stopping.tries = 0;
    // It takes nothing back from what went another way, nor from an earlier order to a BMC: each of those has its own id.
    if report.agent == machine.spec.agent {
        stopping.told.agent = false;
    } else {
        stopping.told.bmc = stopping.before_last.bmc;
    }
    if let Some(operation) = machine
        .record
        .operation
        .as_mut()
        .filter(|_| stopping.order_left())
    {
        operation.ordered_at_ms = Some(ctx.now.wall_ms);
        operation.going_down = said_so;
    }
    stopping.failures += 1;
    let stale = matches!(
        report.code.as_str(),
        "stale_chal" | "expired" | "seq_stale" | "no_ack_path"
    );
    let wait_ms = if stale {
        ctx.policy.store_retry_ms
    } else {
        ctx.policy.accept_ms.saturating_mul(6)
    };
    if stale {
        stopping.failures -= 1;
    }
    let message = format!(
        "{} refused the stop: {} ({})",
        report.agent, report.message, report.code
    );
    wait_out(
        machine,
        stopping,
        Obstacle {
            again_in_ms: wait_ms,
            why: Why::StopRefused,
            message,
        },
        ctx,
    );
}
