//! The snapshot for readers, made from everything the lab holds.
//!
//! Out: [`View`].
//! Holds: a group's target is the number of its listed instances that are not deleting, in every snapshot.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::choice;
use crate::groups::Group;
use crate::ids::{GroupId, MachineId};
use crate::lab::{Ctx, Lab};
use crate::machine::{Machine, Phase};
use crate::policy::{Policy, ProviderScheme};
use crate::record::PowerState;
use crate::spec::{Joins, Mode, NodeObjectPolicy, WakeMethod};
use crate::stopping::Step;
use crate::template;
use crate::view::{AgentView, GroupView, Instance, InstanceState, MachineView, View, Wish};
use crate::wishes;

pub(crate) fn view(lab: &Lab, ctx: &mut Ctx<'_>) -> View {
    let mut members: BTreeMap<&GroupId, Vec<Member<'_>>> = BTreeMap::new();
    for machine in lab.machines.values() {
        let group = members.entry(&machine.spec.group).or_default();
        group.push(member(lab, machine));
    }
    let mut view = View {
        serving: lab.serving(),
        waiting_for: lab.waiting_for(),
        broker_up: lab.links.broker_ms.is_some(),
        cluster_up: lab.links.cluster_ms.is_some(),
        ..View::default()
    };
    for (id, group) in &lab.groups {
        let members = members.get(id).map_or(&[][..], Vec::as_slice);
        let shown = group_view(lab, group, members, ctx);
        if shown.autoscaled {
            index(&shown, members, &mut view);
        }
        let shown = shared(lab.view.groups.get(id), shown);
        view.groups.insert(id.clone(), shown);
    }
    let of_group = |members: &Vec<Member<'_>>| -> Vec<(MachineId, Arc<MachineView>)> {
        let shown = members.iter().map(|member| {
            let shown = machine_view(lab, member, (members, &view.groups), ctx);
            let last = member.last;
            (member.machine.id().clone(), shared(last, shown))
        });
        shown.collect()
    };
    // Collected at once, because a map that grows keeps half of its places free.
    view.machines = members.values().flat_map(of_group).collect();
    let agents = lab.agents.iter().map(|(id, agent)| {
        let shown = AgentView {
            key: agent.key.clone(),
            live: agent.live(ctx),
            info: agent.info.clone(),
            boot_id: agent.beat.as_ref().map(|b| Arc::clone(&b.boot_id)),
        };
        (id.clone(), shared(lab.view.agents.get(id), shown))
    });
    view.agents = agents.collect();
    view
}

/// A machine with what is shown of it in several places.
struct Member<'a> {
    machine: &'a Machine,
    /// Its provider id, the same value in all of them.
    provider_id: Arc<str>,
    /// It in the last snapshot.
    last: Option<&'a Arc<MachineView>>,
}

fn member<'a>(lab: &'a Lab, machine: &'a Machine) -> Member<'a> {
    let scheme = lab.policy.provider_scheme;
    let last = lab.view.machines.get(machine.id());
    let provider_id = match last {
        Some(last) if machine.has_provider_id(&last.provider_id, scheme) => {
            Arc::clone(&last.provider_id)
        }
        Some(_) | None => machine.provider_id(scheme).into(),
    };
    Member {
        machine,
        provider_id,
        last,
    }
}

/// What has not changed since the last snapshot is the same value: readers hold several snapshots at once.
fn shared<T: PartialEq>(last: Option<&Arc<T>>, now: T) -> Arc<T> {
    match last {
        Some(last) if **last == now => Arc::clone(last),
        Some(_) | None => Arc::new(now),
    }
}

/// Which group answers for which name: listed and deleting machines, and nobody else.
fn index(group: &GroupView, members: &[Member<'_>], view: &mut View) {
    let listed: BTreeSet<&MachineId> = group.instances.iter().map(|i| &i.machine).collect();
    for Member {
        machine,
        provider_id,
        ..
    } in members
    {
        if let Some(held) = machine.seen.held
            && group.node_object_policy == NodeObjectPolicy::Retain
        {
            view.held_nodes
                .insert(Arc::clone(&machine.spec.node_name), held);
        }
        if listed.contains(machine.id()) {
            view.by_provider_id
                .insert(Arc::clone(provider_id), group.id.clone());
            view.by_node_name
                .insert(Arc::clone(&machine.spec.node_name), group.id.clone());
        }
    }
}

fn group_view(lab: &Lab, group: &Group, members: &[Member<'_>], ctx: &Ctx<'_>) -> GroupView {
    let spec = &group.spec;
    let machines: Vec<&Machine> = members.iter().map(|member| member.machine).collect();
    let instances: Vec<Instance> = members
        .iter()
        .filter_map(|m| instance(lab, m, group.wants(m.machine.id())))
        .collect();
    let deleting = instances
        .iter()
        .filter(|i| i.state == InstanceState::Deleting)
        .count();
    let target = count(instances.len() - deleting);
    let ready = count(
        instances
            .iter()
            .filter(|i| i.state == InstanceState::Running)
            .count(),
    );
    let spare = machines
        .iter()
        .filter(|m| !group.wants(m.id()) && choice::usable(m, ctx.now.wall_ms))
        .count();
    // A machine on its way off will be usable again; leaving it out would make the bound flicker.
    let leaving = machines
        .iter()
        .filter(|m| matches!(m.phase, Phase::Stopping(_)) && !group.wants(m.id()))
        .count();
    let usable = if spec.paused {
        target
    } else {
        target + count(spare) + count(leaving)
    };
    let max_size = spec
        .max_size
        .map_or(usable, |max| max.min(usable))
        .max(target);
    GroupView {
        id: spec.id.clone(),
        autoscaled: matches!(spec.mode, Mode::Autoscaler),
        min_size: spec.min_size,
        max_size,
        target,
        ready,
        sequence: group.record.sequence,
        template: template::of(spec, &machines, &lab.agents),
        scale_down: spec.scale_down.clone(),
        energy: spec.energy.clone(),
        node_object_policy: spec.node_object_policy,
        debug: format!(
            "{}: {ready} of {target} wanted machines run, {max_size} usable",
            spec.id
        ),
        frozen: group.frozen_until_ms.is_some(),
        concerns: group.concerns.clone(),
        instances,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn instance(lab: &Lab, member: &Member<'_>, wanted: bool) -> Option<Instance> {
    let machine = member.machine;
    let state = if wanted {
        match &machine.phase {
            Phase::Off | Phase::Waking(_) => InstanceState::Creating,
            Phase::WakeFailed(failed) => InstanceState::Failed {
                code: failed.failure.code(),
                message: failed.message.as_str().into(),
                out_of_resources: failed.failure.out_of_resources(),
            },
            Phase::Unknown(_) if machine.record.boot_id.is_none() => InstanceState::Creating,
            Phase::Running
                if !machine.has_joined()
                    && machine.spec.joins == Joins::Kubelet
                    && !has_promised_node(machine, lab.policy.provider_scheme) =>
            {
                InstanceState::Creating
            }
            Phase::Unknown(_) | Phase::Running | Phase::Stopping(_) => InstanceState::Running,
        }
    } else {
        match &machine.phase {
            Phase::Stopping(_) => InstanceState::Deleting,
            Phase::Running | Phase::Unknown(_) if machine.record.order.is_some() => {
                InstanceState::Deleting
            }
            // Off, but its Node is still there: it maps to the group until it is gone.
            Phase::Off
                if machine.seen.node.as_deref().is_some_and(|n| !n.suspended)
                    && machine.record.node_backup.is_some() =>
            {
                InstanceState::Deleting
            }
            Phase::Unknown(_)
            | Phase::Off
            | Phase::Waking(_)
            | Phase::WakeFailed(_)
            | Phase::Running => return None,
        }
    };
    Some(Instance {
        machine: machine.id().clone(),
        provider_id: Arc::clone(&member.provider_id),
        state,
    })
}

/// Its Node is there under the provider id that it is listed with: under another one, or none yet, it is no Node of ours to the
/// cluster-autoscaler.
fn has_promised_node(machine: &Machine, scheme: ProviderScheme) -> bool {
    let node = machine.seen.node.as_deref();
    node.is_some_and(|node| machine.has_provider_id(&node.provider_id, scheme))
}

fn machine_view(
    lab: &Lab,
    member: &Member<'_>,
    (members, groups): (&[Member<'_>], &BTreeMap<GroupId, Arc<GroupView>>),
    ctx: &Ctx<'_>,
) -> MachineView {
    let machine = member.machine;
    let group = lab.groups.get(&machine.spec.group);
    let listed = group.is_some_and(|g| g.wants(machine.id()));
    let wished = wishes::wish(machine, group, listed);
    let operation_by = machine.record.operation.as_ref().map(|op| op.by.clone());
    let does_what_is_wanted = match (wished.wish, &machine.phase) {
        (Wish::Running, Phase::Running) => machine.has_joined(),
        (Wish::Off, Phase::Off) => true,
        (Wish::None, Phase::Off | Phase::Running) => true,
        (Wish::Running | Wish::Off | Wish::None, _) => false,
    };
    let quarantined = machine.quarantined(ctx.now.wall_ms);
    let mut power = machine.record.power.clone();
    if matches!(machine.phase, Phase::Unknown(_)) {
        power.state = PowerState::Unknown;
    }
    MachineView {
        id: machine.id().clone(),
        namespace: machine.spec.namespace.clone(),
        group: machine.spec.group.clone(),
        node_name: machine.spec.node_name.clone(),
        agent: machine.spec.agent.clone(),
        wanted: wished.wish,
        power,
        phase: machine.phase_name(),
        since_ms: machine.since_ms,
        why: machine.why.reason(),
        message: machine.message.clone(),
        by: operation_by.map_or(wished.by, Cow::Owned),
        drain: match &machine.phase {
            Phase::Stopping(stopping) => stopping.drain(),
            Phase::Unknown(_)
            | Phase::Off
            | Phase::Waking(_)
            | Phase::WakeFailed(_)
            | Phase::Running => None,
        },
        provider_id: Arc::clone(&member.provider_id),
        proven_at_ms: machine.record.proven_at_ms,
        deadline_ms: deadline(machine, ctx.policy),
        max_sizes: quarantined
            .then(|| max_sizes(lab, machine, groups))
            .flatten(),
        instead: if quarantined {
            instead(machine, members)
        } else {
            Vec::new()
        },
        quarantined_until_ms: machine
            .record
            .quarantine
            .as_ref()
            .map(|q| q.until_ms)
            .filter(|_| quarantined),
        wake_armed: lab
            .agents
            .get(&machine.spec.agent)
            .filter(|_| machine.spec.wake.contains(&WakeMethod::WakeOnLan))
            .and_then(|a| a.info.as_deref())
            .and_then(|i| i.wake_armed.clone()),
        ready: machine.spec.fault.is_none() && !machine.is_refused() && does_what_is_wanted,
        fault: machine.spec.fault.clone(),
        concerns: machine.concerns.clone(),
    }
}

/// Counted from when the operation began as people see it; the coordinator's own deadline runs on its boot clock.
fn deadline(machine: &Machine, policy: &Policy) -> Option<i64> {
    let timeouts = machine.spec.timeouts;
    let (waited_ms, limit_ms) = match &machine.phase {
        Phase::Waking(waking) => {
            let sent_ms = waking.first_sent_ms.unwrap_or(waking.started_ms);
            let waited_ms = sent_ms.saturating_sub(waking.started_ms);
            let limit_ms = waking.limit_ms(machine, policy);
            (waited_ms.saturating_add(waking.blind_ms), limit_ms)
        }
        Phase::Stopping(stopping) => match stopping.step {
            Step::Appearing { .. } => (0, timeouts.boot_ms),
            Step::Fencing { .. }
            | Step::Listing { .. }
            | Step::Evicting { .. }
            | Step::Waiting { .. }
                if stopping.drain().is_some() =>
            {
                (0, timeouts.drain_ms)
            }
            Step::Fencing { .. }
            | Step::Listing { .. }
            | Step::Evicting { .. }
            | Step::Waiting { .. }
            | Step::Ordered { .. }
            | Step::GoingDown { .. } => (0, timeouts.stop_ms),
        },
        Phase::Unknown(_) | Phase::Off | Phase::WakeFailed(_) | Phase::Running => return None,
    };
    let after_ms = waited_ms.saturating_add(limit_ms);
    Some(machine.since_ms.saturating_add_unsigned(after_ms))
}

/// The bound of a machine's group if it were usable, and as it is.
fn max_sizes(
    lab: &Lab,
    machine: &Machine,
    groups: &BTreeMap<GroupId, Arc<GroupView>>,
) -> Option<(u32, u32)> {
    let group = lab.groups.get(&machine.spec.group)?;
    let without = groups.get(&machine.spec.group)?.max_size;
    // While it is wanted it still counts; it leaves the bound once it is given back.
    let counted = group.wants(machine.id());
    let with = group
        .spec
        .max_size
        .map_or(without + 1, |max| max.min(without + 1));
    (!counted && with > without).then_some((with, without))
}

/// Machines of its group whose wake began after it had failed.
fn instead(machine: &Machine, members: &[Member<'_>]) -> Vec<MachineId> {
    let others = members.iter().map(|member| member.machine);
    let woken_since = others.filter(|other| {
        matches!(other.phase, Phase::Waking(_)) && other.since_ms >= machine.since_ms
    });
    woken_since.map(|other| other.id().clone()).collect()
}
