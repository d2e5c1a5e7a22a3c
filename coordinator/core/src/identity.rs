//! Whether a machine is the one that was declared: its network card, its core Node's name, the Node that stands for it.
//!
//! In: what its agent and the cluster tell. Out: sentences that name what does not fit, and what would be right.
//! Holds: nothing here changes anything. Not here: provider ids (`upkeep`), and two declarations of one thing (the shell).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use crate::agents::Agents;
use crate::concerns::Concern;
use crate::facts::NodeSeen;
use crate::machine::{Machine, Phase, Presence, list};
use crate::policy::ProviderScheme;
use crate::spec::{Joins, WakeMethod};

/// Everything about a machine that does not fit. `strangers` are the core Nodes of no declared machine.
pub(crate) fn concerns(
    machine: &Machine,
    agents: &Agents,
    strangers: &BTreeMap<String, NodeSeen>,
    scheme: ProviderScheme,
) -> impl Iterator<Item = (Concern, String)> {
    let told = [
        (Concern::ForeignMac, foreign_mac(machine, agents)),
        (
            Concern::NodeRenamed,
            renamed_node(machine, agents, strangers, scheme),
        ),
        (Concern::OldNode, old_node(machine)),
    ];
    told.into_iter()
        .filter_map(|(concern, message)| Some((concern, message?)))
}

/// Whether no card of its host has the address that magic packets for it go to. Nobody knows while its agent tells no cards.
fn has_foreign_mac(machine: &Machine, agents: &Agents) -> bool {
    let Some(declared) = &machine.spec.wake_on_lan else {
        return false;
    };
    let info = agents
        .get(&machine.spec.agent)
        .and_then(|a| a.info.as_deref());
    info.is_some_and(|info| !info.macs.is_empty() && !info.macs.contains(&declared.mac))
}

/// Whether nothing but such a packet would wake it again.
pub(crate) fn cannot_be_woken(machine: &Machine, agents: &Agents) -> bool {
    let other_way = machine.spec.wake.contains(&WakeMethod::Redfish);
    !machine.spec.wake.is_empty() && !other_way && has_foreign_mac(machine, agents)
}

/// What to do about a machine with another network card than the one that was declared.
fn foreign_mac(machine: &Machine, agents: &Agents) -> Option<String> {
    if !has_foreign_mac(machine, agents) {
        return None;
    }
    let declared = &machine.spec.wake_on_lan.as_ref()?.mac;
    let info = agents.get(&machine.spec.agent)?.info.as_deref()?;
    let holds = |macs: &[String]| macs.contains(declared);
    let holder = agents.iter().find_map(|(id, agent)| {
        let held = agent
            .info
            .as_deref()
            .is_some_and(|other| holds(&other.macs));
        held.then(|| format!("; agent {id} has it"))
    });
    let stopped = if cannot_be_woken(machine, agents) {
        ", so it is not stopped"
    } else {
        ""
    };
    Some(format!(
        "wakeOnLAN.mac {declared} is no network card of {} (its agent tells {}){}. Magic packets would not wake it{stopped}: \
         write the address of the card that is plugged in, see `ip link` on the machine",
        machine.id(),
        list(&info.macs),
        holder.unwrap_or_default(),
    ))
}

/// The core Node that a machine's kubelet registers instead of the declared one: it runs in the boot that its agent tells, or has
/// its provider id. Pods run there that nobody finds under the declared name.
pub(crate) fn other_node<'a>(
    machine: &Machine,
    agents: &Agents,
    strangers: &'a BTreeMap<String, NodeSeen>,
    scheme: ProviderScheme,
) -> Option<&'a NodeSeen> {
    let expects_none = machine.spec.joins == Joins::Agent || matches!(machine.phase, Phase::Off);
    if strangers.is_empty() || expects_none || machine.presence == Presence::Joined {
        return None;
    }
    let heard = machine.presence == Presence::Heard;
    let beat = agents
        .get(&machine.spec.agent)
        .and_then(|agent| agent.beat.as_ref())
        .filter(|_| heard);
    let same_boot = |node: &NodeSeen| {
        beat.is_some_and(|b| *b.boot_id == *node.boot_id && !b.boot_id.is_empty())
    };
    strangers
        .values()
        .find(|node| machine.has_provider_id(&node.provider_id, scheme) || same_boot(node))
}

/// What to do about a machine whose kubelet goes by another name than the one that was declared.
fn renamed_node(
    machine: &Machine,
    agents: &Agents,
    strangers: &BTreeMap<String, NodeSeen>,
    scheme: ProviderScheme,
) -> Option<String> {
    let node = other_node(machine, agents, strangers, scheme)?;
    let (id, expected) = (machine.id(), &machine.spec.node_name);
    Some(format!(
        "Its kubelet goes by the name of Node {}, {expected} was declared, so {id} does not count as running and is not stopped: \
         write nodeName: {}, or give the kubelet its name back (--hostname-override={expected}) and delete Node {}",
        node.name, node.name, node.name
    ))
}

/// What to do about a core Node that stands there for a machine that is off.
fn old_node(machine: &Machine) -> Option<String> {
    let node = machine.seen.node.as_deref().filter(|_| machine.old_node)?;
    Some(format!(
        "Its core Node {} is still there, or there again, although {} is off: until that is gone the machine is not woken, and the \
         group does without it. `kubectl delete node {}`; if it stays, see metadata.finalizers. Switched on by hand the machine \
         takes the Node over",
        node.name,
        machine.id(),
        node.name
    ))
}
