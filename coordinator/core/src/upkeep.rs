//! What a machine needs besides power: its core Node kept right, its template learned, its BMC read.
//!
//! Out: [`Action::PatchNode`], [`Action::RetireNode`], status reads of BMCs.
//! Holds: a Node is deleted or suspended only after power-off is confirmed and its backup stored.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::actions::{Action, NodePatch, Verb};
use crate::facts::NodeSeen;
use crate::ids::MachineId;
use crate::lab::{Ctx, Lab};
use crate::machine::{Executor, Machine, Phase, Presence};
use crate::node::{self, Mark, Wanted};
use crate::permission;
use crate::policy::ProviderScheme;
use crate::power::{self, Power};
use crate::spec::{Joins, NodeObjectPolicy, PowerPolicy};
use crate::template;
use crate::view::{HeldNode, Template};
use crate::volumes;
use crate::why::Why;

/// A Node goes within seconds of its machine, unless something holds it; a kubelet is heard as soon after it has registered.
const OLD_NODE_MS: u64 = 60_000;
/// A change of a Node that nobody has answered is planned anew after this.
const NODE_ANSWER_MS: u64 = 15_000;

pub(crate) fn run(lab: &mut Lab, id: &MachineId, power: &Power, ctx: &mut Ctx<'_>) {
    read_bmc(lab, id, power, ctx);
    note_old_node(lab, id, ctx);
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    hold_node(machine, ctx);
    if machine.spec.joins == Joins::Agent || machine.spec.fault.is_some() {
        return;
    }
    if machine.seen.node.is_none() || !machine.seen.node_busy_until_ms.is_none_or(|at| ctx.due(at))
    {
        return;
    }
    if machine.spec.power == PowerPolicy::Unmanaged {
        return unfence(machine, ctx);
    }
    match machine.phase {
        Phase::Off => retire(lab, id, ctx),
        Phase::Running => restore(lab, id, power, ctx),
        // A Node that was kept must look suspended until its kubelet is back.
        Phase::Waking(_) if power.kubelet => restore(lab, id, power, ctx),
        Phase::Unknown(_) | Phase::Waking(_) | Phase::WakeFailed(_) | Phase::Stopping(_) => {}
    }
}

/// Notes whether a kept Node stands for a machine that is away, and since when it does not any more.
pub(crate) fn hold_node(machine: &mut Machine, ctx: &Ctx<'_>) {
    let is_suspended = || machine.seen.node.as_deref().is_some_and(|n| n.suspended);
    let is_away = match &machine.phase {
        Phase::Off | Phase::Waking(_) | Phase::WakeFailed(_) => true,
        Phase::Stopping(stopping) => stopping.awaits_boot() || is_suspended(),
        Phase::Unknown(_) | Phase::Running => is_suspended(),
    };
    machine.seen.held = match machine.seen.held {
        _ if is_away => Some(HeldNode::Away),
        Some(HeldNode::Away) => Some(HeldNode::BackSince(ctx.now.boot_ms)),
        back @ (Some(HeldNode::BackSince(_)) | None) => back,
    };
}

/// Whether a Node stands there for a machine that is off, and would have gone by itself.
fn note_old_node(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let listening_ms = lab.links.cluster_ms;
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let seen = &machine.seen;
    let is_there = |node: &NodeSeen| !node.suspended && !node::is_control_plane(node);
    let stands = matches!(machine.phase, Phase::Off)
        && machine.spec.joins == Joins::Kubelet
        && machine.spec.power != PowerPolicy::Unmanaged
        && machine.spec.fault.is_none()
        && seen.node.as_deref().is_some_and(is_there);
    let since_ms = seen.node_ms.max(seen.off_ms).max(listening_ms).unwrap_or(0);
    machine.old_node = stands && ctx.due(since_ms.saturating_add(OLD_NODE_MS));
}

/// Whether nothing is left to change on the Node of a machine that has just come.
pub(crate) fn node_is_right(lab: &Lab, machine: &Machine) -> bool {
    machine.spec.joins == Joins::Agent || plan(lab, machine).is_none()
}

fn plan(lab: &Lab, machine: &Machine) -> Option<NodePatch> {
    let seen = machine.seen.node.as_deref()?;
    let group = lab.groups.get(&machine.spec.group)?;
    let provider_id = machine.provider_id(lab.policy.provider_scheme);
    if !seen.provider_id.is_empty() && seen.provider_id != provider_id {
        return None;
    }
    // A pending removal has fenced the Node on purpose.
    if machine.record.order.is_some() {
        return None;
    }
    let backup = machine.record.node_backup.as_deref();
    let cordoned = backup.map_or(machine.seen.cordoned_by_person, |b| b.cordoned);
    let wanted = Wanted {
        provider_id: &provider_id,
        group: group_label(&group.spec.id),
        labels: &group.spec.declared.labels,
        backup,
        cordoned,
        // A mark that shows up after its backup was done with is as stale as one of before.
        returning: backup.is_some() || seen.suspended || matches!(machine.phase, Phase::Waking(_)),
        mark: permission::protected(lab, machine).map_or_else(
            || volumes::mark(lab, machine, group),
            |protection| Mark::Due(protection.reason()),
        ),
    };
    node::change(seen, &wanted)
}

/// A machine that is only watched is stopped no further: what its stop has left on its Node goes, all else stays.
fn unfence(machine: &mut Machine, ctx: &mut Ctx<'_>) {
    let cordoned = machine.seen.cordoned_by_person;
    let seen = machine.seen.node.as_deref();
    let patch = seen.and_then(|seen| node::unfence(seen, cordoned));
    if let Some(patch) = patch
        && matches!(machine.phase, Phase::Running)
        && machine.record.order.is_none()
    {
        change(machine, patch, ctx);
    }
}

fn change(machine: &mut Machine, patch: NodePatch, ctx: &mut Ctx<'_>) {
    machine.seen.node_busy_until_ms = Some(ctx.now.boot_ms.saturating_add(NODE_ANSWER_MS));
    ctx.out.push(Action::PatchNode {
        machine: machine.id().clone(),
        patch,
    });
}

fn restore(lab: &mut Lab, id: &MachineId, power: &Power, ctx: &mut Ctx<'_>) {
    adopt_provider_id(lab, id);
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let patch = plan(lab, machine);
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    match patch {
        Some(patch) => change(machine, patch, ctx),
        None if matches!(machine.phase, Phase::Running) && power.joined => settle(lab, id, ctx),
        None => {}
    }
}

/// The Node is as it shall be: what was kept for it is done with, and it teaches what its like will bring.
pub(crate) fn settle(lab: &mut Lab, id: &MachineId, ctx: &Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    if machine.record.node_backup.take().is_some() {
        machine.touch();
    }
    let Some(seen) = machine.seen.node.as_deref() else {
        return;
    };
    let known = machine.record.learned.as_deref();
    if known.is_some_and(|known| node::is_learned(seen, known)) {
        return;
    }
    let learned = node::learn(seen, ctx.now.wall_ms);
    let short = promised(lab, id)
        .and_then(|promised| template::shortfall(&promised.allocatable, &learned.allocatable));
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    if short.is_some() {
        machine.fell_short = short;
    }
    machine.record.learned = Some(Box::new(learned));
    machine.touch();
}

/// What the group of a machine promises of it, before it has taught anything else.
fn promised(lab: &Lab, id: &MachineId) -> Option<Template> {
    let group = lab.groups.get(&lab.machines.get(id)?.spec.group)?;
    let members: Vec<&Machine> = lab
        .machines
        .values()
        .map(|machine| &**machine)
        .filter(|machine| machine.spec.group == group.spec.id)
        .collect();
    template::of(&group.spec, &members, &lab.agents)
}

/// A machine that brings its own provider id keeps it, unless another one was promised or declared.
fn adopt_provider_id(lab: &mut Lab, id: &MachineId) {
    let scheme = lab.policy.provider_scheme;
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let brings_one = |node: &NodeSeen| !node.provider_id.is_empty();
    if !machine.seen.node.as_deref().is_some_and(brings_one) {
        return;
    }
    if let Some(message) = foreign_provider_id(machine, scheme) {
        // What was promised for a wake stands after it.
        if machine.record.provider_id.is_none() {
            machine.record.provider_id = Some(machine.provider_id(scheme));
            machine.touch();
        }
        // Told by its own Event, as a concern.
        return machine.explain(Why::ForeignProviderId, message);
    }
    if machine.why == Why::ForeignProviderId && matches!(machine.phase, Phase::Running) {
        let message = String::from("Its Node has the provider id that was promised again");
        machine.explain(Why::Running, message);
    }
    if machine.record.provider_id.is_none()
        && let Some(seen) = machine.seen.node.as_deref()
    {
        machine.record.provider_id = Some(seen.provider_id.clone());
        machine.touch();
    }
}

/// What to do about a Node that goes by another provider id than the one that the cluster-autoscaler was promised. `None`
/// where that is so, or nothing was promised.
pub(crate) fn foreign_provider_id(machine: &Machine, scheme: ProviderScheme) -> Option<String> {
    let brought = &machine.seen.node.as_deref()?.provider_id;
    let kept = machine.spec.joins == Joins::Kubelet
        && machine.spec.power != PowerPolicy::Unmanaged
        && machine.spec.fault.is_none();
    let promised = match machine.phase {
        Phase::Waking(_) | Phase::WakeFailed(_) => true,
        Phase::Running => {
            machine.spec.provider_id.is_some() || machine.record.provider_id.is_some()
        }
        Phase::Unknown(_) | Phase::Off | Phase::Stopping(_) => false,
    };
    if !kept || !promised || brought.is_empty() {
        return None;
    }
    (!machine.has_provider_id(brought, scheme)).then(|| {
        let expected = machine.provider_id(scheme);
        alloc::format!(
            "Its Node has provider id {brought}, {expected} was promised, so it does not count as running: delete the Node and \
             start its kubelet again, or declare providerID: {brought}"
        )
    })
}

fn retire(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let Some(policy) = lab
        .groups
        .get(&machine.spec.group)
        .map(|g| g.spec.node_object_policy)
    else {
        return;
    };
    let Some(seen) = machine.seen.node.as_deref().cloned() else {
        return;
    };
    let done = policy == NodeObjectPolicy::Retain && seen.suspended;
    let since = lab.links.cluster_ms;
    if done || node::is_control_plane(&seen) || !is_left_over(machine, &seen, since, ctx) {
        return;
    }
    if machine.record.node_backup.is_none() {
        machine.record.node_backup = Some(Box::new(node::backup(
            &seen,
            machine.seen.cordoned_by_person,
        )));
        machine.touch();
    }
    if !machine.is_recorded(machine.pending_version()) {
        return;
    }
    machine.seen.node_busy_until_ms = Some(ctx.now.boot_ms.saturating_add(NODE_ANSWER_MS));
    ctx.out.push(Action::RetireNode {
        machine: id.clone(),
        node: seen.name,
        uid: seen.uid,
        policy,
    });
}

/// Whether a Node is the one that its machine left behind when it went off, and not one that it has just registered anew.
fn is_left_over(
    machine: &Machine,
    seen: &NodeSeen,
    listening_ms: Option<u64>,
    ctx: &mut Ctx<'_>,
) -> bool {
    if let Some(uid) = &machine.seen.off_uid {
        return *uid == seen.uid;
    }
    // Off was confirmed before this process started: a kubelet that lives has had the time to renew its Lease by then.
    let silent_ms = ctx.policy.lease_silent_ms;
    let listened = listening_ms.is_some_and(|since| ctx.due(since.saturating_add(silent_ms)));
    let other_boot = machine
        .record
        .boot_id
        .as_ref()
        .is_some_and(|boot| **boot != *seen.boot_id);
    listened && machine.seen.lease_ms.is_none() && (seen.boot_id.is_empty() || !other_boot)
}

/// Reads a BMC's power state: often while power moves, now and then otherwise, never while the machine is heard.
fn read_bmc(lab: &mut Lab, id: &MachineId, power: &Power, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let Some(redfish) = &machine.spec.redfish else {
        return;
    };
    let heard = power.presence() != Presence::Silent;
    if heard && !matches!(machine.phase, Phase::Stopping(_)) {
        return;
    }
    let period_ms = power::bmc_period_ms(machine, ctx.policy);
    if !machine
        .seen
        .bmc_asked_ms
        .is_none_or(|at| ctx.due(at.saturating_add(period_ms)))
    {
        return;
    }
    let relays = lab.agents.relays_with(&redfish.credentials, ctx);
    let Some(relay) = relays
        .into_iter()
        .find(|relay| *relay != machine.spec.agent)
    else {
        return;
    };
    let Some(challenge) = lab.agents.challenge(&relay, ctx) else {
        return;
    };
    let verb = Verb::RedfishStatus((**redfish).clone());
    machine.raise(lab.agents.high_water(id, &machine.spec.agent), ctx);
    machine.seen.bmc_asked_ms = Some(ctx.now.boot_ms);
    ctx.at(ctx.now.boot_ms.saturating_add(period_ms));
    machine.send(
        Executor {
            agent: relay,
            challenge,
        },
        verb,
        None,
        ctx,
    );
}

/// The group's name as Nodes carry it in their label.
pub(crate) fn group_label(id: &crate::ids::GroupId) -> &str {
    let name = id.as_str();
    name.rsplit('/').next().unwrap_or(name)
}
