//! Marks of ours where nothing is that they belong to.
//!
//! In: core Nodes, our Nodes. Out: findings, each with the commands that clear it away.
//! Holds: a cordon is ours only where our taint stands beside it, and then only if no person had set it before.

use coordinator_crds::{Node, time::unix_ms};
use k8s_openapi::api::core::v1::{Node as CoreNode, Taint};

use super::{Finding, places};
use crate::{lab::Lab, moments::age};

const WHAT: &str = "leftovers";
/// Everything that we write begins with it.
const OURS: &str = "homelab-autoscaler.dev/";
/// Stands on a Node exactly while its machine is ordered off.
const POWER_OFF: &str = "homelab-autoscaler.dev/power-off";
/// A person had cordoned the Node before we did.
const CORDONED_BY_PERSON: &str = "homelab-autoscaler.dev/cordoned-by-person";
/// Marks that the annotation after it is ours.
const DISABLED_BY: &str = "homelab-autoscaler.dev/scale-down-disabled-by";
const DISABLED: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
/// The group of a Node. Other labels of ours are for people to write.
const GROUP: &str = "homelab-autoscaler.dev/group";
/// A kubelet may register with it; the coordinator takes it off.
const STARTUP: &str = "startup-taint.cluster-autoscaler.kubernetes.io/homelab-autoscaler";
/// On our own object, while our marks stand on its core Node.
const FINALIZER: &str = "homelab-autoscaler.dev/node-taint";
/// The coordinator takes its marks off within seconds, unless the API server refuses that.
const UNDONE_MS: i64 = 120_000;

pub(super) fn judge(lab: &Lab, nodes: &[CoreNode]) -> Vec<Finding> {
    let strangers = nodes.iter().filter(|node| {
        let name = node.metadata.name.as_deref();
        let mut machines = lab.nodes.iter();
        machines.all(|machine| Some(places::node_name(machine)) != name)
    });
    let mut found: Vec<Finding> = strangers.filter_map(on_node).collect();
    found.extend(
        lab.nodes
            .iter()
            .filter_map(|machine| stuck(machine, lab.now_ms)),
    );
    if found.is_empty() {
        found.push(Finding::ok(
            WHAT,
            "no mark of ours on a Node without a machine",
        ));
    }
    found
}

/// Machines of other namespaces are not known.
pub(super) fn not_looked_for() -> Finding {
    let told = "not looked for, because with --namespace only a part of the machines is known";
    Finding::warn(WHAT, told, "leave --namespace out")
}

fn on_node(node: &CoreNode) -> Option<Finding> {
    let name = node.metadata.name.as_deref()?;
    let spec = node.spec.clone().unwrap_or_default();
    let taints: Vec<Taint> = spec.taints.unwrap_or_default();
    let taints = taints.iter().map(|taint| taint.key.as_str());
    let taints: Vec<&str> = taints
        .filter(|key| key.starts_with(OURS) || *key == STARTUP)
        .collect();
    let annotations = node.metadata.annotations.iter().flatten();
    let annotations: Vec<&str> = annotations
        .map(|(key, _)| key.as_str())
        .filter(|key| key.starts_with(OURS))
        .collect();
    let labelled = node
        .metadata
        .labels
        .as_ref()
        .is_some_and(|all| all.contains_key(GROUP));
    let cordoned = spec.unschedulable == Some(true)
        && taints.contains(&POWER_OFF)
        && !annotations.contains(&CORDONED_BY_PERSON);
    let mut left = Vec::new();
    let mut cures = Vec::new();
    let removed = |keys: &[&str]| {
        keys.iter()
            .map(|key| format!(" {key}-"))
            .collect::<String>()
    };
    if !taints.is_empty() {
        left.push(format!("taint {}", taints.join(", ")));
        cures.push(format!("`kubectl taint node {name}{}`", removed(&taints)));
    }
    if cordoned {
        left.push("our cordon".to_owned());
        cures.push(format!("`kubectl uncordon {name}`"));
    }
    if !annotations.is_empty() {
        left.push(format!("annotation {}", annotations.join(", ")));
        let mut keys = annotations.clone();
        keys.extend(annotations.contains(&DISABLED_BY).then_some(DISABLED));
        cures.push(format!("`kubectl annotate node {name}{}`", removed(&keys)));
    }
    if labelled {
        left.push(format!("label {GROUP}"));
        cures.push(format!("`kubectl label node {name} {GROUP}-`"));
    }
    let told = format!(
        "Node {name} belongs to no machine and has {}",
        left.join("; ")
    );
    let cure = format!("declare its machine, or {}", cures.join(" and "));
    match (taints.is_empty(), left.is_empty()) {
        (_, true) => None,
        // No pod can be scheduled there.
        (false, false) => Some(Finding::fail(WHAT, told, cure)),
        (true, false) => Some(Finding::warn(WHAT, told, cure)),
    }
}

/// An object of ours that is being deleted and waits for its marks to be taken off.
fn stuck(machine: &Node, now_ms: i64) -> Option<Finding> {
    let deleted_ms = unix_ms(machine.metadata.deletion_timestamp.as_ref()?);
    let finalizers = machine.metadata.finalizers.as_ref()?;
    let waits_ms = now_ms.saturating_sub(deleted_ms);
    if waits_ms < UNDONE_MS || !finalizers.iter().any(|name| name == FINALIZER) {
        return None;
    }
    let name = machine.metadata.name.as_deref()?;
    let namespace = machine.metadata.namespace.as_deref().unwrap_or("default");
    Some(Finding::fail(
        WHAT,
        format!(
            "homelabnode {name} is being deleted for {} and keeps its finalizer",
            age(waits_ms)
        ),
        format!(
            "see whether the coordinator runs: it takes its marks off the Node and then the finalizer; if it is gone for good, \
             `kubectl -n {namespace} patch hn {name} --type merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'`"
        ),
    ))
}
