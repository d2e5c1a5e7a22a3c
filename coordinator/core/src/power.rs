//! What counts as on, as joined, and as off.
//!
//! In: a machine's sightings and the agents'. Out: [`Power`].
//! Holds: silence alone is never off; off is read twice from a BMC, or concluded from silence after the machine
//! itself has said that it goes down.

use alloc::string::String;

use crate::agents::Agents;
use crate::facts::{NodeSeen, PowerRead};
use crate::lab::{Ctx, Links};
use crate::machine::Machine;
use crate::node;
use crate::spec::Joins;

/// What the evidence says of a machine right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Power {
    /// It has power; who says so.
    pub(crate) on: Option<&'static str>,
    /// Its kubelet renews its Lease.
    pub(crate) kubelet: bool,
    /// It has joined: it can do what it is wanted for.
    pub(crate) joined: bool,
    /// A BMC has said Off twice, far enough apart, and nobody has heard the machine since.
    pub(crate) off_read: bool,
    /// The boot that the evidence for on belongs to.
    pub(crate) boot_id: Option<String>,
    /// When the host of the heartbeat was booted, boot clock of this process, milliseconds.
    pub(crate) booted_ms: Option<u64>,
}

/// Weighs what was seen of a machine.
pub(crate) fn assess(
    machine: &Machine,
    agents: &Agents,
    scheme_id: &str,
    ctx: &mut Ctx<'_>,
) -> Power {
    let agent = &machine.spec.agent;
    let off_ms = machine.seen.off_ms.unwrap_or(0);
    let agent_live =
        agents.live(agent, ctx) && agents.get(agent).is_some_and(|a| a.beat_ms > off_ms);
    let kubelet_live = kubelet_live(machine, ctx);
    let bmc_on = bmc_says_on(machine, ctx);
    let beat = agents
        .get(agent)
        .filter(|_| agent_live)
        .and_then(|a| a.beat.as_ref().map(|b| (a.beat_ms, b)));
    let on = if agent_live {
        Some("agent heartbeat")
    } else if kubelet_live {
        Some("kubelet")
    } else if bmc_on {
        Some("BMC")
    } else {
        None
    };
    let node = machine.seen.node.as_ref();
    let joined = match machine.spec.joins {
        Joins::Agent => agent_live,
        Joins::Kubelet => {
            let usable = |n: &NodeSeen| n.ready && n.provider_id == scheme_id && !node::repels(n);
            kubelet_live && node.is_some_and(usable)
        }
    };
    let node_boot = node
        .filter(|n| kubelet_live && !n.boot_id.is_empty())
        .map(|n| n.boot_id.clone());
    Power {
        on,
        kubelet: kubelet_live,
        joined,
        off_read: off_read(machine, ctx),
        boot_id: beat.map(|(_, b)| b.boot_id.clone()).or(node_boot),
        booted_ms: beat.map(|(at, b)| at.saturating_sub(b.up_ms)),
    }
}

/// A reading of Off from before the machine was last heard says nothing about what comes after.
pub(crate) fn forget_outdated_readings(machine: &mut Machine, agents: &Agents) {
    let beat_ms = agents.get(&machine.spec.agent).map_or(0, |a| a.beat_ms);
    let heard_ms = beat_ms.max(machine.seen.lease_ms.unwrap_or(0));
    if machine
        .seen
        .bmc_off_since_ms
        .is_some_and(|at| at <= heard_ms)
    {
        machine.seen.bmc_off_since_ms = None;
        machine.seen.bmc = machine.seen.bmc.filter(|(_, at)| *at > heard_ms);
    }
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
    let heard = agents.get(&machine.spec.agent).map_or(0, |a| a.beat_ms);
    let leased = machine.seen.lease_ms.unwrap_or(0);
    let since = heard.max(leased).max(from_ms).max(listening_ms);
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
    let fresh_ms = ctx.policy.bmc_poll_ms.saturating_mul(3);
    match machine.seen.bmc {
        Some((PowerRead::On, at)) if machine.seen.off_ms.is_none_or(|off| at > off) => {
            !ctx.due(at.saturating_add(fresh_ms))
        }
        Some((PowerRead::On | PowerRead::Off | PowerRead::Other, _)) | None => false,
    }
}

fn off_read(machine: &Machine, ctx: &mut Ctx<'_>) -> bool {
    let (Some((PowerRead::Off, last)), Some(first)) =
        (machine.seen.bmc, machine.seen.bmc_off_since_ms)
    else {
        return false;
    };
    last.saturating_sub(first) >= ctx.policy.off_reads_apart_ms
}

/// Whether the stored boot id and the present one show that the machine has booted since.
pub(crate) fn rebooted(before: Option<&String>, now: Option<&String>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before != now,
        (None, _) | (_, None) => false,
    }
}
