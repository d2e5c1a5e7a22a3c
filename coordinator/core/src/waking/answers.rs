//! What comes back while a machine is being woken: the reports of the relays.
//!
//! Holds: a wake that was refused, or failed, has not left; what became of an earlier one is not asked any more.

use alloc::format;

use super::Waking;
use crate::actions::Severity;
use crate::facts::{NotSent, Repeat, Report, ReportState};
use crate::ids::{AgentId, CommandId};
use crate::lab::Ctx;
use crate::machine::{Machine, Phase};
use crate::spec::WakeMethod;
use crate::telling;
use crate::why::Why;

/// Takes in a relay's report about the latest wake command.
pub(crate) fn reported(machine: &mut Machine, report: &Report, ctx: &mut Ctx<'_>) {
    let Phase::Waking(mut waking) = machine.phase.clone() else {
        return;
    };
    if waking.last.as_ref() != Some(&report.command) {
        return;
    }
    match report.state {
        ReportState::Accepted | ReportState::Running => return,
        ReportState::Done => sent(machine, &mut waking, report, ctx),
        ReportState::Failed
        | ReportState::Refused
        | ReportState::Aborted
        | ReportState::Interrupted => {
            waking.failures += 1;
            forget_failed(machine, &mut waking);
            // A failed command may be tried another way soon; a relay must not be hammered.
            let again_ms = match report.repeat {
                Repeat::MayHelp => ctx.now.boot_ms.saturating_add(ctx.policy.accept_ms),
                Repeat::Useless => ctx.now.boot_ms,
            };
            waking.next_ms = waking.next_ms.min(again_ms);
            ctx.at(waking.next_ms);
            let what = telling::wake_refused(machine, waking.method, report);
            machine.explain(Why::WakeRefused, format!("Not woken by {what}"));
            waking.failed_with = Some(what);
            if let (Repeat::Useless, Some(method)) = (report.repeat, waking.method) {
                waking.barred.push((report.agent.clone(), method));
            }
        }
    }
    machine.phase = Phase::Waking(waking);
}

/// Unless an earlier wake went unanswered none has left so far, and whatever boots now was not woken by us.
fn forget_failed(machine: &mut Machine, waking: &mut Waking) {
    if waking.left_ms != waking.last_sent_ms {
        return;
    }
    waking.left_ms = None;
    // A machine that is proven already needs no further proof: that saves the store two writes for each attempt.
    if machine.record.proven_at_ms.is_none() && !waking.resumed {
        machine.order_stayed();
    }
}

/// The latest wake command has not left. Where its relay does not listen the next one need not wait for its turn.
pub(crate) fn not_sent(
    machine: &mut Machine,
    relay: &AgentId,
    (command, why): (&CommandId, NotSent),
    ctx: &mut Ctx<'_>,
) {
    let Phase::Waking(mut waking) = machine.phase.clone() else {
        return;
    };
    if waking.last.as_ref() != Some(command) {
        return;
    }
    forget_failed(machine, &mut waking);
    match why {
        NotSent::NobodyListens => {
            waking.next_ms = ctx.now.boot_ms;
            machine.explain(
                Why::RelayNotListening,
                format!("Relay {relay} sends heartbeats, but the broker knows of nobody who listens for its commands"),
            );
        }
        NotSent::NoWay => {
            let again_ms = ctx.now.boot_ms.saturating_add(ctx.policy.accept_ms);
            waking.next_ms = waking.next_ms.min(again_ms);
        }
    }
    ctx.at(waking.next_ms);
    machine.phase = Phase::Waking(waking);
}

/// It has left. Each way is told once as an Event, every train as the reason why it is where it is.
fn sent(machine: &mut Machine, waking: &mut Waking, report: &Report, ctx: &mut Ctx<'_>) {
    let Some(method) = waking.method else {
        return;
    };
    let message = telling::wake_sent(machine, method, waking.sends, report);
    let way = (report.agent.clone(), method);
    if !waking.told_sent.contains(&way) {
        waking.told_sent.push(way);
        machine.event(Severity::Normal, "WakeSent", message.clone(), ctx);
    }
    if method == WakeMethod::Redfish {
        waking.accepted_ms.get_or_insert(ctx.now.boot_ms);
    }
    waking.explain_sent(machine, message);
}
