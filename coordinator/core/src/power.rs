//! What counts as on, as joined, and as off.
//!
//! In: a machine's sightings and the agents'. Out: [`Power`].
//! Holds: silence alone is never off; off is read twice from a BMC, or concluded from silence after the machine
//! itself has said that it goes down.

use alloc::sync::Arc;

use crate::agents::Agents;
use crate::facts::NodeSeen;
use crate::lab::{Ctx, Links};
use crate::machine::{Machine, Phase, Presence};
use crate::node;
use crate::policy::Policy;
use crate::record::Witness;
use crate::seen::BmcReading;
use crate::spec::Joins;

/// What the evidence says of a machine right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Power {
    /// It has power; who says so.
    pub(crate) on: Option<Witness>,
    /// Its kubelet renews its Lease.
    pub(crate) kubelet: bool,
    /// It has joined: it can do what it is wanted for.
    pub(crate) joined: bool,
    /// A BMC has said Off twice, far enough apart, and nobody has heard the machine since.
    pub(crate) off_read: bool,
    /// The boot that the evidence for on belongs to.
    pub(crate) boot_id: Option<Arc<str>>,
    /// When the host of the heartbeat was booted, boot clock of this process, milliseconds.
    pub(crate) booted_ms: Option<u64>,
    /// Its kubelet, which tells no time of boot, was heard before its agent, and the agent still has time to speak.
    pub(crate) agent_may_tell: bool,
}

impl Power {
    pub(crate) fn presence(&self) -> Presence {
        match self.on {
            Some(Witness::Agent | Witness::Kubelet) if self.joined => Presence::Joined,
            Some(Witness::Agent | Witness::Kubelet) => Presence::Heard,
            Some(Witness::Bmc | Witness::Person | Witness::Silence) | None => Presence::Silent,
        }
    }
}

/// Weighs what was seen of a machine.
pub(crate) fn assess(machine: &Machine, agents: &Agents, links: Links, ctx: &mut Ctx<'_>) -> Power {
    let agent = agents.get(&machine.spec.agent);
    let off_ms = machine.seen.off_ms.unwrap_or(0);
    let agent_live = agent.is_some_and(|a| a.live(ctx) && a.beat_ms > off_ms);
    let kubelet_live = kubelet_live(machine, ctx);
    let bmc_on = bmc_says_on(machine, ctx);
    let beat = agent
        .filter(|_| agent_live)
        .and_then(|a| a.beat.as_ref().map(|b| (a.beat_ms, b)));
    let on = if agent_live {
        Some(Witness::Agent)
    } else if kubelet_live {
        Some(Witness::Kubelet)
    } else if bmc_on {
        Some(Witness::Bmc)
    } else {
        None
    };
    let node = machine.seen.node.as_deref();
    let joined = match machine.spec.joins {
        Joins::Agent => agent_live,
        Joins::Kubelet => {
            let scheme = ctx.policy.provider_scheme;
            let is_its_own = |n: &NodeSeen| machine.has_provider_id(&n.provider_id, scheme);
            let usable = |n: &NodeSeen| n.ready && is_its_own(n) && !node::repels(n);
            kubelet_live && node.is_some_and(usable)
        }
    };
    let node_boot = node
        .filter(|n| kubelet_live && !n.boot_id.is_empty())
        .map(|n| Arc::from(&*n.boot_id));
    Power {
        on,
        kubelet: kubelet_live,
        joined,
        off_read: off_read(machine, ctx),
        boot_id: beat.map(|(_, b)| b.boot_id.clone()).or(node_boot),
        booted_ms: beat.map(|(at, b)| at.saturating_sub(b.up_ms)),
        agent_may_tell: kubelet_live && !agent_live && agent_has_time(machine, links, ctx),
    }
}

/// Agent and kubelet of a host start in any order; and a process that has just begun to listen hears a kubelet first.
fn agent_has_time(machine: &Machine, links: Links, ctx: &mut Ctx<'_>) -> bool {
    let kubelet_ms = machine.seen.kubelet_since_ms.unwrap_or(ctx.now.boot_ms);
    let listening_ms = links.listening_since(Joins::Agent);
    !listening_ms
        .is_some_and(|since| ctx.due(since.max(kubelet_ms).saturating_add(ctx.policy.grace_ms)))
}

/// When its agent or its kubelet was heard last; 0 if never.
fn heard_ms(machine: &Machine, agents: &Agents) -> u64 {
    let beat_ms = agents.get(&machine.spec.agent).map_or(0, |a| a.beat_ms);
    beat_ms.max(machine.seen.lease_ms.unwrap_or(0))
}

/// Since when nothing has shown that a machine runs, to the best of those who listen.
pub(crate) fn silent_since(machine: &Machine, agents: &Agents, listening_ms: u64) -> u64 {
    let read_on_ms = match machine.seen.bmc {
        Some(BmcReading::On { at_ms }) => at_ms,
        Some(BmcReading::Off { .. } | BmcReading::Other) | None => 0,
    };
    heard_ms(machine, agents).max(read_on_ms).max(listening_ms)
}

/// A reading of Off from before the machine was last heard says nothing about what comes after.
pub(crate) fn forget_outdated_readings(machine: &mut Machine, agents: &Agents) {
    let heard_ms = heard_ms(machine, agents);
    machine.seen.bmc = match machine.seen.bmc {
        Some(BmcReading::Off { first_ms, last_ms }) if first_ms <= heard_ms => (last_ms > heard_ms)
            .then_some(BmcReading::Off {
                first_ms: last_ms,
                last_ms,
            }),
        kept => kept,
    };
}

/// Everything has been silent for a machine's hold time, and somebody was listening all along.
pub(crate) fn silent_for_hold(
    machine: &Machine,
    agents: &Agents,
    links: Links,
    from_ms: u64,
    ctx: &mut Ctx<'_>,
) -> bool {
    let Some(listening_ms) = links.listening_since(machine.spec.joins) else {
        return false;
    };
    let since = heard_ms(machine, agents).max(from_ms).max(listening_ms);
    ctx.due(since.saturating_add(machine.spec.timeouts.off_hold_ms))
}

fn kubelet_live(machine: &Machine, ctx: &mut Ctx<'_>) -> bool {
    let silent_ms = ctx.policy.lease_silent_ms;
    machine.seen.node.is_some()
        && machine.seen.lease_ms.is_some_and(|at| {
            machine.seen.off_ms.is_none_or(|off| at > off) && !ctx.due(at.saturating_add(silent_ms))
        })
}

fn bmc_says_on(machine: &Machine, ctx: &mut Ctx<'_>) -> bool {
    // A reading counts for three polls; after that nobody knows.
    let fresh_ms = bmc_period_ms(machine, ctx.policy).saturating_mul(3);
    match machine.seen.bmc {
        Some(BmcReading::On { at_ms }) if machine.seen.off_ms.is_none_or(|off| at_ms > off) => {
            !ctx.due(at_ms.saturating_add(fresh_ms))
        }
        Some(BmcReading::On { .. } | BmcReading::Off { .. } | BmcReading::Other) | None => false,
    }
}

/// How often a machine's BMC is read: idle ones a sixth as often, because BMCs are slow and some break under steady polling.
pub(crate) fn bmc_period_ms(machine: &Machine, policy: &Policy) -> u64 {
    match machine.phase {
        Phase::Waking(_) | Phase::Stopping(_) => policy.bmc_poll_ms,
        Phase::Unknown(_) | Phase::Off | Phase::WakeFailed(_) | Phase::Running => {
            policy.bmc_poll_ms.saturating_mul(6)
        }
    }
}

fn off_read(machine: &Machine, ctx: &Ctx<'_>) -> bool {
    match machine.seen.bmc {
        Some(BmcReading::Off { first_ms, last_ms }) => {
            last_ms.saturating_sub(first_ms) >= ctx.policy.off_reads_apart_ms
        }
        Some(BmcReading::On { .. } | BmcReading::Other) | None => false,
    }
}

/// Whether the stored boot id and the present one show that the machine has booted since.
pub(crate) fn rebooted(before: Option<&Arc<str>>, now: Option<&Arc<str>>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before != now,
        (None, _) | (_, None) => false,
    }
}
