//! A wake that failed: why, what the cluster-autoscaler is told, and how long the machine is left out.
//!
//! Holds: the record keeps all of it, so that a restart changes nothing of what is told.
//! Holds: each failure in a row doubles the time up to a bound; a boot, or a person's word, starts from nothing.

use alloc::boxed::Box;
use alloc::string::String;

use super::{Waking, limit, next_step};
use crate::actions::Severity;
use crate::agents::Agents;
use crate::lab::Ctx;
use crate::machine::{Machine, Phase};
use crate::record::Quarantine;
use crate::telling;
use crate::why::Why;

/// A machine that did not come.
#[derive(Clone, Debug)]
pub(crate) struct WakeFailed {
    pub(crate) failure: WakeFailure,
    /// For people.
    pub(crate) message: String,
    /// A wake of the attempt that failed may have left.
    pub(crate) was_sent: bool,
    /// It has power, and no kubelet: neither is news.
    pub(crate) hangs: bool,
}

impl WakeFailed {
    /// What the record says of a failure from before a restart.
    pub(crate) fn recorded(quarantine: &Quarantine) -> Option<Self> {
        let failure = WakeFailure::ALL
            .into_iter()
            .find(|failure| failure.reason() == quarantine.reason)?;
        Some(Self {
            failure,
            message: quarantine.message.clone(),
            was_sent: failure == WakeFailure::BootTimeout,
            hangs: false,
        })
    }
}

/// Why a machine did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeFailure {
    /// It was woken and was not seen within its boot timeout.
    BootTimeout,
    /// Nobody could send a wake.
    NoRelay,
    /// Every wake was refused or failed, and so would every other.
    Refused,
}

impl WakeFailure {
    const ALL: [Self; 3] = [Self::BootTimeout, Self::NoRelay, Self::Refused];

    /// What a wake whose time is over has failed of.
    pub(super) fn in_the_end(waking: &Waking) -> Self {
        match (waking.sends, waking.failures) {
            (0, _) if !waking.resumed => Self::NoRelay,
            (sends, failures) if sends > 0 && failures >= sends => Self::Refused,
            (_, _) => Self::BootTimeout,
        }
    }

    /// Why its machine is where it is.
    pub(crate) fn why(self) -> Why {
        match self {
            Self::BootTimeout => Why::BootTimeout,
            Self::NoRelay => Why::NoRelay,
            Self::Refused => Why::WakeRefused,
        }
    }

    /// The stable word in its quarantine.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::BootTimeout => "BootTimeout",
            Self::NoRelay => "NoRelay",
            Self::Refused => "WakeRefused",
        }
    }

    /// The stable word for the cluster-autoscaler.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::BootTimeout => "BOOT_TIMEOUT",
            Self::NoRelay => "NO_RELAY",
            Self::Refused => "WAKE_REFUSED",
        }
    }

    /// The cluster-autoscaler tells a lack of hardware from hardware that fails.
    pub(crate) fn out_of_resources(self) -> bool {
        match self {
            Self::BootTimeout => false,
            Self::NoRelay | Self::Refused => true,
        }
    }
}

/// The machine is left out for a while, and the cluster-autoscaler is told.
pub(super) fn fail(
    machine: &mut Machine,
    waking: &Waking,
    failure: WakeFailure,
    ctx: &mut Ctx<'_>,
) {
    let message = telling::wake_failed(machine, waking, failure, ctx);
    let limit_ms = waking.limit_ms(machine, ctx.policy);
    if failure == WakeFailure::BootTimeout && limit_ms < machine.spec.timeouts.boot_ms {
        limit::doubt(&mut machine.record.boots_s, ctx.policy);
    }
    let failures = machine.record.quarantine.as_ref().map_or(0, |q| q.failures) + 1;
    let doubled = ctx
        .policy
        .quarantine_ms
        .saturating_mul(1 << failures.saturating_sub(1).min(16));
    let length_ms = doubled.min(ctx.policy.quarantine_max_ms);
    machine.record.quarantine = Some(Box::new(Quarantine {
        until_ms: ctx.now.wall_ms.saturating_add_unsigned(length_ms),
        failures,
        reason: String::from(failure.reason()),
        message: message.clone(),
    }));
    machine.event(Severity::Warning, failure.reason(), message.clone(), ctx);
    machine.end();
    machine.touch();
    let failed = WakeFailed {
        failure,
        message: message.clone(),
        was_sent: waking.has_left(),
        hangs: machine.shows_power(),
    };
    machine.enter(Phase::WakeFailed(failed), failure.why(), message, ctx);
}

/// A machine that nobody could wake is left out no longer than that: the lack was not its own.
pub(crate) fn forgive(machine: &mut Machine, agents: &Agents, ctx: &mut Ctx<'_>) {
    if let Some(kept) = machine.record.quarantine.as_deref() {
        // Its group may need it then.
        ctx.due(ctx.on_boot_clock(kept.until_ms));
    }
    let for_want_of_relays = |kept: &Quarantine| kept.reason == WakeFailure::NoRelay.reason();
    let left_out = machine.quarantined(ctx.now.wall_ms)
        && machine
            .record
            .quarantine
            .as_deref()
            .is_some_and(for_want_of_relays);
    if !left_out || next_step(machine, &Waking::default(), agents, ctx).is_none() {
        return;
    }
    // The failures before it still count.
    if let Some(kept) = machine.record.quarantine.as_deref_mut() {
        kept.until_ms = ctx.now.wall_ms;
        machine.touch();
    }
}
