//! Segments on which nobody could wake a machine, or only machines that may sleep themselves.
//!
//! In: machines woken by magic packet, agents that were heard. Out: findings.
//! Holds: a machine never counts as its own relay.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_crds::{
    Node,
    node::{PowerPolicy, WakeMethod},
};

use super::{Finding, listed, places};
use crate::lab::{Agent, Lab};

const WHAT: &str = "relays";
const CURE: &str = "start an agent with [relay] on a device on that segment that always runs";

/// `sleepers` are the agents whose machines may sleep.
pub(super) fn judge(lab: &Lab, sleepers: &BTreeSet<String>) -> Vec<Finding> {
    let mut segments: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for machine in lab
        .nodes
        .iter()
        .filter(|machine| is_woken_by_packet(machine))
    {
        if let Some(wol) = &machine.spec.wake_on_lan {
            segments.entry(&wol.segment).or_default().push(machine);
        }
    }
    if segments.is_empty() {
        return vec![Finding::ok(WHAT, "no machine is woken by magic packet")];
    }
    let found = segments.iter().map(|(segment, machines)| {
        let relays = lab.agents.iter();
        let relays: Vec<&Agent> = relays
            .filter(|agent| agent.segments.iter().any(|served| served == segment))
            .collect();
        of_segment(segment, machines, &relays, sleepers)
    });
    found.collect()
}

fn is_woken_by_packet(machine: &Node) -> bool {
    let listed = machine.spec.wake.as_ref();
    machine.spec.power != PowerPolicy::Unmanaged
        && listed.is_none_or(|methods| methods.contains(&WakeMethod::WakeOnLan))
}

fn of_segment(
    segment: &str,
    machines: &[&Node],
    relays: &[&Agent],
    sleepers: &BTreeSet<String>,
) -> Finding {
    let woken = listed(machines.iter().filter_map(|m| m.metadata.name.as_deref()));
    if relays.is_empty() {
        let found = format!("no agent is a relay on segment {segment}: nobody can wake {woken}");
        return Finding::fail(WHAT, found, CURE);
    }
    let names = |relays: &[&Agent]| listed(relays.iter().map(|relay| relay.name.as_str()));
    let awake = relays.iter().filter(|relay| relay.live == Some(true));
    let awake: Vec<&Agent> = awake.copied().collect();
    if awake.is_empty() {
        let found = format!(
            "no relay is awake on segment {segment} ({} not heard lately): nobody can wake {woken}",
            names(relays)
        );
        return Finding::fail(WHAT, found, "see whether its host and its agent run");
    }
    let helpless = machines.iter().filter(|machine| {
        awake
            .iter()
            .all(|relay| relay.name == places::agent_of(machine))
    });
    let helpless = listed(helpless.filter_map(|m| m.metadata.name.as_deref()));
    if !helpless.is_empty() {
        let found = format!(
            "{helpless} is the only relay awake on segment {segment}, and nobody else could wake it"
        );
        return Finding::warn(WHAT, found, CURE);
    }
    if awake.iter().all(|relay| sleepers.contains(&relay.name)) {
        let found = format!(
            "every relay awake on segment {segment} is a machine that may sleep ({}); the last of them is kept running",
            names(&awake)
        );
        return Finding::warn(WHAT, found, CURE);
    }
    Finding::ok(
        WHAT,
        format!("segment {segment} has {} awake", names(&awake)),
    )
}
