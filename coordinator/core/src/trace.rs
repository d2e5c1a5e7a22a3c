//! What is remembered of a wake, to tell whether a machine that is seen later came because of it.
//!
//! In: a wake's times, and what the evidence says of the machine. Out: ours, not ours, or nobody can tell yet.
//! Holds: a machine's own agent knows when it booted; everything else stands in for it, and only where the machine had been
//! confirmed off before.

use crate::machine::Machine;
use crate::power::{self, Power};
use crate::record::{PowerState, Witness};

/// Boot loaders and clocks are not exact to the second.
const SLACK_MS: u64 = 2_000;

/// Times are on the boot clock, milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    /// When the first wake left, or was ordered before a restart.
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    /// There was no core Node when it was ordered: a kubelet that shows up has started since.
    pub(crate) node_absent: bool,
}

impl Trace {
    /// Whether the boot that is seen is younger than our first wake. `None` while nothing shows either way.
    pub(crate) fn explains(&self, machine: &Machine, power: &Power) -> Option<bool> {
        if let Some(booted_ms) = power.booted_ms {
            return Some(booted_ms.saturating_add(SLACK_MS) >= self.first_ms);
        }
        if power.agent_may_tell {
            return None;
        }
        let was_off = machine.record.power.state == PowerState::Off;
        let boot_id = machine.record.boot_id.as_ref();
        let new_boot = power::rebooted(boot_id, power.boot_id.as_ref());
        let new_kubelet = self.node_absent && power.kubelet;
        let bmc_only = power.on == Some(Witness::Bmc);
        if was_off && (new_boot || new_kubelet || bmc_only) {
            return Some(true);
        }
        power.kubelet.then_some(false)
    }
}
