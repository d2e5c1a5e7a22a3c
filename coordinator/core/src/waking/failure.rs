//! A wake that failed: why, what the cluster-autoscaler is told, and how long the machine is left out.
//!
//! Holds: the record keeps all of it, so that a restart changes nothing of what is told.

use alloc::boxed::Box;
use alloc::string::String;

use super::Waking;
use crate::actions::Severity;
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
    /// Every wake was refused or failed.
    Refused,
}

impl WakeFailure {
    const ALL: [Self; 3] = [Self::BootTimeout, Self::NoRelay, Self::Refused];

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

/// Boot timeout: the machine is left out for a while, and the cluster-autoscaler is told.
pub(super) fn fail(machine: &mut Machine, waking: &Waking, ctx: &mut Ctx<'_>) {
    let why = match (waking.sends, waking.failures) {
        (0, _) => WakeFailure::NoRelay,
        (sends, failures) if failures >= sends => WakeFailure::Refused,
        (_, _) => WakeFailure::BootTimeout,
    };
    let failure = waking.failed_with.as_ref();
    let message = telling::boot_timeout(machine, waking.sends, failure, why.code());
    let failures = machine.record.quarantine.as_ref().map_or(0, |q| q.failures) + 1;
    let doubled = ctx
        .policy
        .quarantine_ms
        .saturating_mul(1 << failures.saturating_sub(1).min(16));
    let length_ms = doubled.min(ctx.policy.quarantine_max_ms);
    machine.record.quarantine = Some(Box::new(Quarantine {
        until_ms: ctx.now.wall_ms.saturating_add_unsigned(length_ms),
        failures,
        reason: String::from(why.reason()),
        message: message.clone(),
    }));
    machine.end();
    machine.touch();
    machine.event(Severity::Warning, "BootTimeout", message.clone(), ctx);
    let failed = WakeFailed {
        failure: why,
        message: message.clone(),
        was_sent: waking.first_sent_ms.is_some(),
    };
    machine.enter(Phase::WakeFailed(failed), Why::BootTimeout, message, ctx);
}
