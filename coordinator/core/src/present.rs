//! The snapshot for readers, made from everything the lab holds.
//!
//! Out: [`View`].
//! Holds: a group's target is the number of its listed instances that are not deleting, in every snapshot.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::choice;
use crate::groups::Group;
use crate::ids::{GroupId, MachineId};
use crate::lab::{Ctx, Lab};
use crate::machine::{Machine, Phase};
use crate::node;
use crate::record::{Learned, PowerState};
use crate::spec::{GroupSpec, Joins, Mode, NodeObjectPolicy, PowerPolicy};
use crate::upkeep::group_label;
use crate::view::{
    AgentView, GroupView, Instance, InstanceState, MachineView, Template, View, Wish,
};
use crate::wishes;

pub(crate) fn view(lab: &Lab, ctx: &mut Ctx<'_>) -> View {
    let mut members: BTreeMap<&GroupId, Vec<&Machine>> = BTreeMap::new();
    for machine in lab.machines.values() {
        members
            .entry(&machine.spec.group)
            .or_default()
            .push(machine);
    }
    let mut view = View {
        serving: lab.serving(),
        waiting_for: lab.waiting_for(),
        broker_up: lab.links.broker_ms.is_some(),
        cluster_up: lab.links.cluster_ms.is_some(),
        ..View::default()
    };
    for (id, group) in &lab.groups {
        let machines = members.get(id).map_or(&[][..], Vec::as_slice);
        let shown = group_view(lab, group, machines, ctx);
        if shown.autoscaled {
            index(lab, &shown, machines, &mut view);
        }
        let shown = shared(lab.view.groups.get(id), shown);
        view.groups.insert(id.clone(), shown);
    }
    for (id, machine) in &lab.machines {
        let shown = machine_view(lab, machine, ctx);
        let shown = shared(lab.view.machines.get(id), shown);
        view.machines.insert(id.clone(), shown);
    }
    for (id, agent) in lab.agents.iter() {
        let info = agent.info.as_ref();
        view.agents.insert(
            id.clone(),
            AgentView {
                key: agent.key.clone(),
                live: lab.agents.live(id, ctx),
                segments: info.map_or_else(Vec::new, |i| i.segments.clone()),
                macs: info.map_or_else(Vec::new, |i| i.macs.clone()),
                boot_id: agent.beat.as_ref().map(|b| b.boot_id.clone()),
            },
        );
    }
    view
}

/// What has not changed since the last snapshot is the same value: readers hold several snapshots at once.
fn shared<T: PartialEq>(last: Option<&Arc<T>>, now: T) -> Arc<T> {
    match last {
        Some(last) if **last == now => Arc::clone(last),
        Some(_) | None => Arc::new(now),
    }
}

/// Which group answers for which name: listed and deleting machines, and nobody else.
fn index(lab: &Lab, group: &GroupView, machines: &[&Machine], view: &mut View) {
    let listed: BTreeSet<&MachineId> = group.instances.iter().map(|i| &i.machine).collect();
    for machine in machines {
        let held = matches!(
            machine.phase,
            Phase::Off | Phase::Waking(_) | Phase::WakeFailed(_)
        );
        if held && group.node_object_policy == NodeObjectPolicy::Retain {
            view.held_nodes.insert(machine.spec.node_name.clone());
        }
        if listed.contains(machine.id()) {
            let provider_id = machine.provider_id(lab.policy.provider_scheme);
            view.by_provider_id.insert(provider_id, group.id.clone());
            view.by_node_name
                .insert(machine.spec.node_name.clone(), group.id.clone());
        }
    }
}

fn group_view(lab: &Lab, group: &Group, machines: &[&Machine], ctx: &Ctx<'_>) -> GroupView {
    let spec = &group.spec;
    let wanted: BTreeSet<&MachineId> = group.record.wanted.iter().collect();
    let instances: Vec<Instance> = machines
        .iter()
        .filter_map(|m| instance(lab, m, wanted.contains(m.id())))
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
        .filter(|m| !wanted.contains(m.id()) && choice::usable(m, ctx.now.wall_ms))
        .count();
    // A machine on its way off will be usable again; leaving it out would make the bound flicker.
    let leaving = machines
        .iter()
        .filter(|m| matches!(m.phase, Phase::Stopping(_)) && !wanted.contains(m.id()))
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
        template: template(spec, machines),
        scale_down: spec.scale_down.clone(),
        node_object_policy: spec.node_object_policy,
        debug: format!(
            "{}: {ready} of {target} wanted machines run, {max_size} usable",
            spec.id
        ),
        frozen: group.frozen_until_ms.is_some(),
        instances,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn instance(lab: &Lab, machine: &Machine, wanted: bool) -> Option<Instance> {
    let state = if wanted {
        match &machine.phase {
            Phase::Off | Phase::Waking(_) => InstanceState::Creating,
            Phase::WakeFailed(failed) => InstanceState::Failed {
                code: failed.code.to_string(),
                message: failed.message.clone(),
                out_of_resources: failed.out_of_resources,
            },
            Phase::Unknown if machine.record.boot_id.is_none() => InstanceState::Creating,
            Phase::Running
                if !machine.joined
                    && machine.spec.joins == Joins::Kubelet
                    && machine.seen.node.is_none() =>
            {
                InstanceState::Creating
            }
            Phase::Unknown | Phase::Running | Phase::Stopping(_) => InstanceState::Running,
        }
    } else {
        match &machine.phase {
            Phase::Stopping(_) => InstanceState::Deleting,
            Phase::Running | Phase::Unknown if machine.record.order.is_some() => {
                InstanceState::Deleting
            }
            // Off, but its Node is still there: it maps to the group until it is gone.
            Phase::Off
                if machine.seen.node.as_ref().is_some_and(|n| !n.suspended)
                    && machine.record.node_backup.is_some() =>
            {
                InstanceState::Deleting
            }
            Phase::Unknown
            | Phase::Off
            | Phase::Waking(_)
            | Phase::WakeFailed(_)
            | Phase::Running => return None,
        }
    };
    Some(Instance {
        machine: machine.id().clone(),
        provider_id: machine.provider_id(lab.policy.provider_scheme),
        state,
    })
}

/// The least that any machine which may be woken next will bring; what is declared fills what nobody has learned.
fn template(spec: &GroupSpec, machines: &[&Machine]) -> Option<Template> {
    let candidates = machines
        .iter()
        .filter(|m| m.spec.power == PowerPolicy::Auto && m.spec.fault.is_none());
    let learned: Vec<&Learned> = candidates
        .filter_map(|m| m.record.learned.as_ref())
        .collect();
    let mut template = Template {
        capacity: spec.declared.capacity.clone(),
        allocatable: spec.declared.capacity.clone(),
        labels: spec.declared.labels.clone(),
        taints: spec.declared.taints.clone(),
    };
    if let Some(first) = learned.first() {
        merge_least(&mut template.capacity, learned.iter().map(|l| &l.capacity));
        merge_least(
            &mut template.allocatable,
            learned.iter().map(|l| &l.allocatable),
        );
        let common = first
            .labels
            .iter()
            .filter(|(key, value)| learned.iter().all(|l| l.labels.get(*key) == Some(*value)));
        for (key, value) in common {
            if key != "kubernetes.io/hostname" {
                template
                    .labels
                    .entry(key.clone())
                    .or_insert_with(|| value.clone());
            }
        }
        for taint in &first.taints {
            if !template.taints.contains(taint) {
                template.taints.push(taint.clone());
            }
        }
    }
    template
        .labels
        .insert(node::GROUP_LABEL.to_string(), group_label(&spec.id));
    let complete = ["cpu", "memory"]
        .iter()
        .all(|key| template.allocatable.contains_key(*key));
    complete.then(|| {
        // A Node without a number of pods takes none; the kubelet's own default is 110.
        for resources in [&mut template.capacity, &mut template.allocatable] {
            resources
                .entry("pods".to_string())
                .or_insert_with(|| "110".to_string());
        }
        template
    })
}

fn merge_least<'a>(
    into: &mut BTreeMap<String, String>,
    learned: impl Iterator<Item = &'a BTreeMap<String, String>>,
) {
    let mut least: BTreeMap<&String, &String> = BTreeMap::new();
    for resources in learned {
        for (key, value) in resources {
            let lower = least
                .get(key)
                .is_none_or(|seen| amount(value) < amount(seen));
            if lower {
                least.insert(key, value);
            }
        }
    }
    for (key, value) in least {
        into.insert(key.clone(), value.clone());
    }
}

/// A quantity's amount in thousandths, as Kubernetes writes quantities; what cannot be read counts as nothing.
fn amount(quantity: &str) -> u128 {
    let digits = quantity
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    let thousandths =
        whole.parse::<u128>().unwrap_or(0) * 1000 + fraction.parse::<u128>().unwrap_or(0);
    let factor: u128 = match suffix {
        "m" => return thousandths / 1000,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => 1,
    };
    thousandths.saturating_mul(factor)
}

fn machine_view(lab: &Lab, machine: &Machine, ctx: &Ctx<'_>) -> MachineView {
    let group = lab.groups.get(&machine.spec.group);
    let listed = group.is_some_and(|g| g.wants(machine.id()));
    let wished = wishes::wish(machine, group, listed);
    let operation_by = machine.record.operation.as_ref().map(|op| op.by.clone());
    let does_what_is_wanted = match (wished.wish, &machine.phase) {
        (Wish::Running, Phase::Running) => machine.joined,
        (Wish::Off, Phase::Off) => true,
        (Wish::None, Phase::Off | Phase::Running) => true,
        (Wish::Running | Wish::Off | Wish::None, _) => false,
    };
    let quarantined = machine.quarantined(ctx.now.wall_ms);
    let mut power = machine.record.power.clone();
    if matches!(machine.phase, Phase::Unknown) {
        power.state = PowerState::Unknown;
    }
    MachineView {
        id: machine.id().clone(),
        namespace: machine.spec.namespace.clone(),
        group: machine.spec.group.clone(),
        node_name: machine.spec.node_name.clone(),
        wanted: wished.wish,
        power,
        phase: machine.phase_name(),
        since_ms: machine.since_ms,
        why: machine.why,
        message: machine.message.clone(),
        by: operation_by.unwrap_or(wished.by),
        provider_id: machine.provider_id(lab.policy.provider_scheme),
        proven_at_ms: machine.record.proven_at_ms,
        quarantined_until_ms: machine
            .record
            .quarantine
            .as_ref()
            .map(|q| q.until_ms)
            .filter(|_| quarantined),
        wake_armed: lab
            .agents
            .get(&machine.spec.agent)
            .and_then(|a| a.info.as_ref())
            .and_then(|i| i.wake_armed),
        ready: machine.spec.fault.is_none() && does_what_is_wanted,
        fault: machine.spec.fault.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::amount;

    #[test]
    fn quantities_compare_by_amount() {
        assert!(amount("900m") < amount("1"));
        assert!(amount("1.5") > amount("1"));
        assert!(amount("7Gi") > amount("7G"));
        assert_eq!(amount("1024Ki"), amount("1Mi"));
    }
}
