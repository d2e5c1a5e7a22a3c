//! What a machine needs besides power: its core Node kept right, its template learned, its BMC read.
//!
//! Out: [`Action::PatchNode`], [`Action::RetireNode`], status reads of BMCs.
//! Holds: a Node is deleted or suspended only after power-off is confirmed and its backup stored.

use alloc::string::String;

use crate::actions::{Action, Verb};
use crate::facts::NodeSeen;
use crate::ids::MachineId;
use crate::lab::{Ctx, Lab};
use crate::machine::{Executor, Machine, Phase, Presence};
use crate::node::{self, Wanted};
use crate::permission::{self, Protection};
use crate::power::{self, Power};
use crate::spec::{Joins, NodeObjectPolicy, PowerPolicy};
use crate::why::Why;

/// A change of a Node that nobody has answered is planned anew after this.
const NODE_ANSWER_MS: u64 = 15_000;

pub(crate) fn run(lab: &mut Lab, id: &MachineId, power: &Power, ctx: &mut Ctx<'_>) {
    read_bmc(lab, id, power, ctx);
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    if machine.spec.joins == Joins::Agent
        || machine.spec.power == PowerPolicy::Unmanaged
        || machine.spec.fault.is_some()
    {
        return;
    }
    if machine.seen.node.is_none() || !machine.seen.node_busy_until_ms.is_none_or(|at| ctx.due(at))
    {
        return;
    }
    match machine.phase {
        Phase::Off => retire(lab, id, ctx),
        Phase::Running => restore(lab, id, power, ctx),
        // A Node that was kept must look suspended until its kubelet is back.
        Phase::Waking(_) if power.kubelet => restore(lab, id, power, ctx),
        Phase::Unknown(_) | Phase::Waking(_) | Phase::WakeFailed(_) | Phase::Stopping(_) => {}
    }
}

/// Whether nothing is left to change on the Node of a machine that has just come.
pub(crate) fn node_is_right(lab: &Lab, id: &MachineId) -> bool {
    lab.machines
        .get(id)
        .is_none_or(|machine| machine.spec.joins == Joins::Agent || plan(lab, machine).is_none())
}

fn plan(lab: &Lab, machine: &Machine) -> Option<crate::actions::NodePatch> {
    let seen = machine.seen.node.as_ref()?;
    let group = lab.groups.get(&machine.spec.group)?;
    let provider_id = machine.provider_id(lab.policy.provider_scheme);
    if !seen.provider_id.is_empty() && seen.provider_id != provider_id {
        return None;
    }
    // A pending removal has fenced the Node on purpose.
    if machine.record.order.is_some() {
        return None;
    }
    let backup = machine.record.node_backup.as_ref();
    let cordoned = backup.map_or(machine.seen.cordoned_by_person, |b| b.cordoned);
    let label = group_label(&group.spec.id);
    let wanted = Wanted {
        provider_id: &provider_id,
        group: &label,
        labels: &group.spec.declared.labels,
        backup,
        cordoned,
        // A mark that shows up after its backup was done with is as stale as one of before.
        returning: backup.is_some() || seen.suspended || matches!(machine.phase, Phase::Waking(_)),
        protected: permission::protected(lab, machine).map(Protection::reason),
    };
    node::change(seen, &wanted)
}

fn restore(lab: &mut Lab, id: &MachineId, power: &Power, ctx: &mut Ctx<'_>) {
    adopt_provider_id(lab, id, ctx);
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let patch = plan(lab, machine);
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    match patch {
        Some(patch) => {
            machine.seen.node_busy_until_ms = Some(ctx.now.boot_ms.saturating_add(NODE_ANSWER_MS));
            ctx.out.push(Action::PatchNode {
                machine: id.clone(),
                patch,
            });
        }
        None if matches!(machine.phase, Phase::Running) && power.joined => settle(machine, ctx),
        None => {}
    }
}

/// The Node is as it shall be: what was kept for it is done with, and it teaches what its like will bring.
pub(crate) fn settle(machine: &mut Machine, ctx: &Ctx<'_>) {
    if machine.record.node_backup.take().is_some() {
        machine.touch();
    }
    let Some(seen) = machine.seen.node.as_ref() else {
        return;
    };
    let mut learned = node::learn(seen, ctx.now.wall_ms);
    let old = machine.record.learned.as_ref();
    if let Some(old) = old {
        learned.at_ms = old.at_ms;
    }
    let changed = old.is_none_or(|old| {
        old.allocatable != learned.allocatable
            || old.capacity != learned.capacity
            || old.taints != learned.taints
    });
    if changed {
        learned.at_ms = ctx.now.wall_ms;
        machine.record.learned = Some(learned);
        machine.touch();
    }
}

/// A machine that brings its own provider id keeps it, unless another one was promised or declared.
fn adopt_provider_id(lab: &mut Lab, id: &MachineId, ctx: &mut Ctx<'_>) {
    let scheme = lab.policy.provider_scheme;
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let Some(brought) = machine
        .seen
        .node
        .as_ref()
        .map(|n| n.provider_id.clone())
        .filter(|p| !p.is_empty())
    else {
        return;
    };
    let expected = machine.provider_id(scheme);
    if brought == expected {
        if machine.record.provider_id.is_none() {
            machine.record.provider_id = Some(brought);
            machine.touch();
        }
        return;
    }
    let promised = machine.spec.provider_id.is_some() || machine.record.provider_id.is_some();
    if promised || matches!(machine.phase, Phase::Waking(_)) {
        let message = alloc::format!(
            "Its Node has provider id {brought}, {expected} was promised; delete the Node or declare providerID"
        );
        machine.complain(Why::ForeignProviderId, message, ctx);
        return;
    }
    machine.record.provider_id = Some(brought);
    machine.touch();
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
    let Some(seen) = machine.seen.node.clone() else {
        return;
    };
    let done = policy == NodeObjectPolicy::Retain && seen.suspended;
    let since = lab.links.cluster_ms;
    if done || node::is_control_plane(&seen) || !is_left_over(machine, &seen, since, ctx) {
        return;
    }
    if machine.record.node_backup.is_none() {
        machine.record.node_backup = Some(node::backup(&seen, machine.seen.cordoned_by_person));
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
        .is_some_and(|boot| *boot != seen.boot_id);
    listened && machine.seen.lease_ms.is_none() && (seen.boot_id.is_empty() || !other_boot)
}

/// Reads a BMC's power state: often while power moves, now and then otherwise, never while the machine is heard.
fn read_bmc(lab: &mut Lab, id: &MachineId, power: &Power, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    let Some(redfish) = machine.spec.redfish.clone() else {
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
    machine.raise(lab.agents.high_water(id, &machine.spec.agent), ctx);
    machine.seen.bmc_asked_ms = Some(ctx.now.boot_ms);
    ctx.at(ctx.now.boot_ms.saturating_add(period_ms));
    machine.send(
        Executor {
            agent: relay,
            challenge,
        },
        Verb::RedfishStatus(redfish),
        None,
        ctx,
    );
}

/// The group's name as Nodes carry it in their label.
pub(crate) fn group_label(id: &crate::ids::GroupId) -> String {
    let name = id.as_str();
    String::from(name.rsplit('/').next().unwrap_or(name))
}
