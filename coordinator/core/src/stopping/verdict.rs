//! What became of a stop: what is seen of its machine decides, never the order itself.
//!
//! Out: off, back, never came, not heeded; or that it goes on.
//! Holds: silence counts only after the machine itself has said that it goes down, and never where a BMC could be asked.

use super::{Outcome, Step, Stopping, Surroundings, WAKE_SHOWS_MS};
use crate::agents::Agents;
use crate::lab::Ctx;
use crate::machine::{Machine, Phase};
use crate::power::{self, Power};
use crate::record::Witness;
use crate::seen::BmcReading;
use crate::sightings;
use crate::trace::Trace;

/// An order that has left and that nobody stands behind any more: it is not pressed home, and not forgotten before the machine
/// has been up for so long that it would have heeded it.
pub(super) fn withdrawn(
    machine: &Machine,
    stopping: &Stopping,
    power: &Power,
    ctx: &mut Ctx<'_>,
) -> Outcome {
    let over_ms = stopping
        .last_sent_ms
        .saturating_add(machine.spec.timeouts.stop_ms);
    if ctx.due(over_ms) && sightings::is_sight(machine, power) {
        Outcome::NotHeeded
    } else {
        Outcome::Pending
    }
}

pub(super) fn verdict(
    machine: &Machine,
    agents: &Agents,
    around: Surroundings,
    power: &Power,
    ctx: &mut Ctx<'_>,
) -> Outcome {
    let Phase::Stopping(stopping) = &machine.phase else {
        return Outcome::Pending;
    };
    if let Step::Appearing { until_ms, trace } = &stopping.step {
        return appearing(machine, (*until_ms, trace), around, power, ctx);
    }
    if power.off_read {
        return Outcome::Off { by: Witness::Bmc };
    }
    let operation = machine.record.operation.as_ref();
    let meant = operation.and_then(|op| op.boot_id.as_ref());
    if stopping.order_left() && power::rebooted(meant, power.boot_id.as_ref()) {
        return Outcome::CameBack;
    }
    let silent = |from_ms, ctx: &mut Ctx<'_>| {
        machine.spec.redfish.is_none()
            && power::silent_for_hold(machine, agents, around.links, from_ms, ctx)
    };
    match stopping.step {
        Step::GoingDown { from_ms } if silent(from_ms, ctx) => Outcome::Off {
            by: Witness::Silence,
        },
        Step::GoingDown { .. }
        | Step::Appearing { .. }
        | Step::Fencing { .. }
        | Step::Listing { .. }
        | Step::Evicting { .. }
        | Step::Waiting { .. }
        | Step::Ordered { .. } => Outcome::Pending,
    }
}

/// What shows after a wake was taken back: the machine came because of it, was on all along, or never came.
fn appearing(
    machine: &Machine,
    (until_ms, trace): (u64, &Trace),
    around: Surroundings,
    power: &Power,
    ctx: &mut Ctx<'_>,
) -> Outcome {
    let boot_ms = machine.spec.timeouts.boot_ms;
    if power.on.is_some() {
        return match attributed(machine, (until_ms, trace), power, ctx) {
            Some(true) if around.protected.is_none() => Outcome::Pending,
            Some(_) => Outcome::WasOn,
            None => Outcome::Pending,
        };
    }
    let shows_ms = trace.last_ms.saturating_add(WAKE_SHOWS_MS.min(boot_ms));
    if power.off_read
        && let Some(BmcReading::Off { first_ms, .. }) = machine.seen.bmc
        && first_ms >= shows_ms
    {
        return Outcome::Off { by: Witness::Bmc };
    }
    // Only who has listened all the time can say that it did not come.
    let listened = around.links.listening_since(machine.spec.joins);
    let over = listened.is_some_and(|since| ctx.due(until_ms.max(since.saturating_add(boot_ms))));
    if over {
        Outcome::NeverCame
    } else {
        Outcome::Pending
    }
}

/// Whether a machine that has power came because of our wake. Where only its BMC says anything until its boot is overdue, its
/// system hangs: a machine that we have woken before counts as ours then, any other is left alone.
pub(super) fn attributed(
    machine: &Machine,
    (until_ms, trace): (u64, &Trace),
    power: &Power,
    ctx: &mut Ctx<'_>,
) -> Option<bool> {
    let explained = trace.explains(machine, power);
    if explained.is_none() && ctx.due(until_ms) {
        return Some(machine.record.proven_at_ms.is_some());
    }
    explained
}
