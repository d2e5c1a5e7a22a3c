//! Whether a machine may be stopped or given back, and by whom.
//!
//! In: a machine, the lab around it. Out: yes, or why not.
//! Holds: nothing here changes anything.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::actions::RejectedKind;
use crate::agents;
use crate::choice;
use crate::facts::AgentInfo;
use crate::identity;
use crate::ids::{AgentId, GroupId, MachineId};
use crate::lab::Lab;
use crate::machine::{Machine, Phase};
use crate::node;
use crate::record::{OverridePower, PowerState};
use crate::removal;
use crate::spec::{PowerPolicy, WakeMethod};

/// Why a machine must not be stopped by anybody but a person at its power button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Its Node belongs to the control plane.
    ControlPlane,
    /// This process runs on it.
    OwnMachine,
    /// The agents' broker runs on it.
    BrokerMachine,
    /// Some machine could not be woken any more.
    LastRelay,
    /// It could not be woken again: what is to wake it is no network card of it.
    ForeignMac,
    /// Its pods run under another Node's name, so nobody knows which it has.
    NodeRenamed,
}

impl Protection {
    /// For people.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::ControlPlane => "its Node belongs to the control plane (ControlPlane)",
            Self::OwnMachine => "the coordinator runs on it (OwnMachine)",
            Self::BrokerMachine => "the agents' broker runs on it (BrokerMachine)",
            Self::LastRelay => {
                "no other relay is heard that could wake it, or another machine of its segment or BMC credentials (LastRelay)"
            }
            Self::ForeignMac => {
                "it has no network card with the declared wakeOnLAN.mac, so nobody could wake it again (ForeignMAC)"
            }
            Self::NodeRenamed => {
                "its pods run under another Node's name, so nobody knows which they are (NodeRenamed)"
            }
        }
    }

    /// The stable word.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ControlPlane => "ControlPlane",
            Self::OwnMachine => "OwnMachine",
            Self::BrokerMachine => "BrokerMachine",
            Self::LastRelay => "LastRelay",
            Self::ForeignMac => "ForeignMAC",
            Self::NodeRenamed => "NodeRenamed",
        }
    }
}

/// A member that has joined: the minimum protects it.
pub(crate) fn is_registered(machine: &Machine) -> bool {
    let node = machine.seen.node.as_deref();
    match machine.phase {
        Phase::Running => true,
        Phase::Unknown(_) => {
            machine.record.power.state == PowerState::Running || machine.seen.node.is_some()
        }
        // Its kubelet has registered: the autoscaler counts it as one that came, ready or not.
        Phase::Waking(_) => node.is_some_and(|n| n.ready || !n.suspended),
        Phase::WakeFailed(_) => node.is_some_and(|n| n.ready),
        // A proof stops it once and wakes it again: all that while it is one that came.
        Phase::Stopping(_) => machine.record.order.as_ref().is_some_and(|o| o.then_wake),
        Phase::Off => false,
    }
}

/// What protects a machine from being stopped, if anything does.
pub(crate) fn protected(lab: &Lab, machine: &Machine) -> Option<Protection> {
    let node = machine.seen.node.as_deref();
    if node.is_some_and(node::is_control_plane) {
        return Some(Protection::ControlPlane);
    }
    let is_it = |name: &String| **name == *machine.spec.node_name;
    if lab.policy.own_node.as_ref().is_some_and(is_it) {
        return Some(Protection::OwnMachine);
    }
    if lab.policy.broker_node.as_ref().is_some_and(is_it) {
        return Some(Protection::BrokerMachine);
    }
    if last_relay(lab, machine) {
        return Some(Protection::LastRelay);
    }
    if identity::cannot_be_woken(machine, &lab.agents) {
        return Some(Protection::ForeignMac);
    }
    let scheme = lab.policy.provider_scheme;
    let other = identity::other_node(machine, &lab.agents, &lab.orphan_nodes, scheme);
    other.is_some().then_some(Protection::NodeRenamed)
}

/// Whether a machine, this one too, could be woken by nobody any more without this machine's agent.
fn last_relay(lab: &Lab, machine: &Machine) -> bool {
    let agent = &machine.spec.agent;
    let info = lab.agents.get(agent).and_then(|a| a.info.as_deref());
    let Some(info) = info.filter(|info| agents::is_relay(info)) else {
        return false;
    };
    let stays = |id: &AgentId| *id != *agent && !lab.machines_of_agent(id).any(|m| leaves(lab, m));
    let others = || {
        let heard = lab.agents.relays_at(lab.now_ms, lab.policy.agent_silent_ms);
        heard.filter(|(id, _)| stays(id))
    };
    // Spares a look at all machines where every host is a relay for the same ones.
    if others().any(|(_, other)| agents::does_all_of(other, info)) {
        return false;
    }
    let others: Vec<(&AgentId, &AgentInfo)> = others().collect();
    // The only other one who can wake this machine is kept running for that, so nobody need wake it.
    let mut wakers = others.iter().filter(|(_, other)| wakes(other, machine));
    let kept = match (wakers.next(), wakers.next()) {
        (Some((id, _)), None) => Some(*id),
        (Some(_), Some(_)) | (None, _) => None,
    };
    lab.machines.values().any(|woken| {
        woken.spec.power != PowerPolicy::Unmanaged
            && kept != Some(&woken.spec.agent)
            && wakes(info, woken)
            && !others.iter().any(|(_, other)| wakes(other, woken))
    })
}

/// Whether a relay can carry out one of the ways to wake a machine.
fn wakes(info: &AgentInfo, machine: &Machine) -> bool {
    let spec = &machine.spec;
    spec.wake.iter().any(|by| match by {
        WakeMethod::WakeOnLan => {
            let card = spec.wake_on_lan.as_ref();
            card.is_some_and(|card| agents::serves(info, &card.segment))
        }
        WakeMethod::Redfish => {
            let bmc = spec.redfish.as_ref();
            bmc.is_some_and(|bmc| agents::holds(info, &bmc.credentials))
        }
    })
}

/// Whether a machine is on its way down, or down: what was heard of it last is no sign any more.
fn leaves(lab: &Lab, machine: &Machine) -> bool {
    machine.record.order.is_some()
        || matches!(machine.phase, Phase::Stopping(_) | Phase::Off)
        || removal::takes(lab, machine.id())
}

/// Whether the coordinator may stop a machine at all.
pub(crate) fn may_stop(lab: &Lab, machine: &Machine) -> Result<(), String> {
    let id = machine.id();
    if let Some(protection) = protected(lab, machine) {
        return Err(format!("{id} is not stopped: {}", protection.in_words()));
    }
    if machine.spec.wake.is_empty() {
        return Err(format!("{id} has no way to be woken again"));
    }
    if let Some(fault) = &machine.spec.fault {
        return Err(format!("{id} is not managed: {fault}"));
    }
    let proof = lab
        .groups
        .get(&machine.spec.group)
        .is_none_or(|g| g.spec.require_proof);
    if proof && machine.record.proven_at_ms.is_none() && is_registered(machine) {
        return Err(format!("{id} has never been woken by us: prove it first"));
    }
    Ok(())
}

/// Whether the cluster-autoscaler may give a machine back.
///
/// From a paused group it may take the wish for one that has not joined: no power moves by that before the pause ends, and an
/// autoscaler that cannot do it ends each of its loops there, for every group.
pub(crate) fn may_delete(lab: &Lab, machine: &Machine) -> Result<(), (RejectedKind, String)> {
    let refuse = |message: String| Err((RejectedKind::FailedPrecondition, message));
    let group = &machine.spec.group;
    let paused = lab.groups.get(group).is_some_and(|g| g.spec.paused);
    if paused && is_registered(machine) {
        return refuse(format!(
            "group {group} is paused, and {} has joined: it is left as it is",
            machine.id()
        ));
    }
    match machine.spec.power {
        PowerPolicy::Auto => {}
        PowerPolicy::AlwaysOn => return refuse(format!("{} has power: AlwaysOn", machine.id())),
        PowerPolicy::AlwaysOff | PowerPolicy::Unmanaged => {
            return refuse(format!("{} is not the autoscaler's", machine.id()));
        }
    }
    if let Some(o) = machine
        .record
        .override_
        .as_ref()
        .filter(|o| o.power == OverridePower::Running)
    {
        return refuse(format!("{} is kept running by {}", machine.id(), o.by));
    }
    may_stop(lab, machine).or_else(refuse)
}

/// Joined machines are never removed below the minimum; those that have not joined may be.
pub(crate) fn check_minimum(
    lab: &Lab,
    id: &GroupId,
    wanted: &[MachineId],
    machines: &[MachineId],
) -> Result<(), (RejectedKind, String)> {
    let Some(group) = lab.groups.get(id) else {
        return Ok(());
    };
    let leaving: Vec<&MachineId> = machines.iter().filter(|m| wanted.contains(m)).collect();
    let after = choice::members(lab, id, wanted).saturating_sub(leaving.len());
    let min = usize::try_from(group.spec.min_size).unwrap_or(usize::MAX);
    let joined = leaving
        .iter()
        .any(|m| lab.machines.get(*m).is_some_and(|m| is_registered(m)));
    if joined && after < min {
        let message = format!("group {id} would have {after} machines, its minSize is {min}");
        return Err((RejectedKind::FailedPrecondition, message));
    }
    Ok(())
}
