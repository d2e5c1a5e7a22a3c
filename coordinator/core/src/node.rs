//! What must be true of a machine's core Node: pure comparisons that end in a [`NodePatch`], a backup, a template.
//!
//! In: the Node as seen, the machine's record, its group's declaration. Out: the smallest change, or nothing.
//! Holds: what a person put on a Node is never taken away, and comes back when the Node returns.
//! Holds: the startup taint goes last, once provider id and labels are right.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::actions::{NodePatch, TaintChange};
use crate::facts::{NodeSeen, Taint};
use crate::record::{Learned, NodeBackup};

/// Stands on a Node exactly while its machine is ordered off.
pub const POWER_OFF_TAINT: &str = "homelab-autoscaler.dev/power-off";
/// Stands on a fenced Node that a person had cordoned before: the cordon stays when the fence goes.
pub const CORDONED_BY_PERSON: &str = "homelab-autoscaler.dev/cordoned-by-person";
/// Names the group; part of every template, so that selectors work before a machine has joined.
pub const GROUP_LABEL: &str = "homelab-autoscaler.dev/group";
/// A kubelet may register with it; the cluster-autoscaler then counts the Node as not started yet.
const STARTUP_TAINT: &str = "startup-taint.cluster-autoscaler.kubernetes.io/homelab-autoscaler";
const AUTOSCALER_TAINTS: [&str; 2] = [
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
];
/// Keys that others manage on a Node: never backed up, never part of a template.
const FOREIGN_TAINT_PREFIXES: [&str; 3] = [
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "startup-taint.cluster-autoscaler.kubernetes.io/",
];
const FOREIGN_ANNOTATION_PREFIXES: [&str; 5] = [
    "node.alpha.kubernetes.io/",
    "volumes.kubernetes.io/",
    "csi.volume.kubernetes.io/",
    "cluster-autoscaler.kubernetes.io/",
    "kubeadm.alpha.kubernetes.io/",
];
/// Tells the cluster-autoscaler to leave a Node alone.
pub const SCALE_DOWN_DISABLED: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
/// Marks that the annotation above is ours and may be taken away again.
pub const SCALE_DOWN_DISABLED_BY: &str = "homelab-autoscaler.dev/scale-down-disabled-by";

/// Names the host that volumes are pinned to.
pub const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
/// Why a Node is marked that holds volumes which exist nowhere else.
pub(crate) const LOCAL_VOLUME: &str = "LocalVolume";

/// What we write onto Nodes ourselves: no person's, so it does not come back with a returning Node.
const OWN_ANNOTATIONS: [&str; 2] = [SCALE_DOWN_DISABLED_BY, CORDONED_BY_PERSON];

/// Labels that make a Node part of the control plane: never stopped, never deleted.
const CONTROL_PLANE_LABELS: [&str; 3] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
    "node-role.kubernetes.io/etcd",
];

pub(crate) fn is_fenced(node: &NodeSeen) -> bool {
    node.unschedulable && node.taints.iter().any(|t| t.key == POWER_OFF_TAINT)
}

pub(crate) fn keeps_cordon(node: &NodeSeen) -> bool {
    node.annotations.contains_key(CORDONED_BY_PERSON)
}

pub(crate) fn has_our_taint(node: &NodeSeen) -> bool {
    node.taints.iter().any(|t| t.key == POWER_OFF_TAINT)
}

pub(crate) fn has_autoscaler_taint(node: &NodeSeen) -> bool {
    node.taints.iter().any(|t| t.key == AUTOSCALER_TAINTS[0])
}

/// Whether the cluster itself still keeps pods off the Node, although its kubelet says Ready: the taints go a moment later.
/// Counting it as joined before that would have the cluster-autoscaler ask for another machine.
pub(crate) fn repels(node: &NodeSeen) -> bool {
    let keys = [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ];
    node.taints.iter().any(|t| keys.contains(&t.key.as_str()))
}

pub(crate) fn is_control_plane(node: &NodeSeen) -> bool {
    CONTROL_PLANE_LABELS
        .iter()
        .any(|label| node.labels.contains_key(*label))
}

/// What a Node shall be like.
pub(crate) struct Wanted<'a> {
    /// The promised provider id.
    pub(crate) provider_id: &'a str,
    /// Name of the group, without its namespace.
    pub(crate) group: &'a str,
    /// Labels the group declares.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Kept from before the Node went.
    pub(crate) backup: Option<&'a NodeBackup>,
    /// A person wants it cordoned.
    pub(crate) cordoned: bool,
    /// Its machine comes back: whatever marked it for removal is stale.
    pub(crate) returning: bool,
    /// Whether the cluster-autoscaler must leave it alone.
    pub(crate) mark: Mark,
}

/// Whether a Node must tell the cluster-autoscaler to leave it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It must, for this reason.
    Due(&'static str),
    /// It must not, as far as we are concerned.
    NotDue,
    /// Nobody has looked for local volumes yet: a mark for them stays.
    Open,
}

/// The change that makes a Node of a machine which shall run what it shall be; `None` where it is already.
pub(crate) fn change(node: &NodeSeen, wanted: &Wanted<'_>) -> Option<NodePatch> {
    let provider_id = node
        .provider_id
        .is_empty()
        .then(|| wanted.provider_id.to_string());
    let labels = missing_labels(node, wanted);
    let (annotations, mut remove_annotations) = annotations(node, wanted);
    let rolled_back = wanted.returning || has_our_taint(node);
    if rolled_back && keeps_cordon(node) {
        remove_annotations.push(CORDONED_BY_PERSON.to_string());
    }
    let settled = provider_id.is_none() && labels.is_empty();
    let taints = taints(node, wanted, rolled_back, settled);
    let unschedulable =
        (rolled_back && node.unschedulable != wanted.cordoned).then_some(wanted.cordoned);
    let resume = wanted.returning && node.suspended;
    let patch = NodePatch {
        node: node.name.clone(),
        uid: node.uid.clone(),
        provider_id,
        labels,
        annotations,
        remove_annotations,
        taints,
        unschedulable,
        resume,
    };
    (!is_empty(&patch)).then_some(patch)
}

/// Takes back what a stop has put on a Node, and nothing else; `None` where none of it is there.
pub(crate) fn unfence(node: &NodeSeen, cordoned: bool) -> Option<NodePatch> {
    let theirs = |taint: &&Taint| taint.key != POWER_OFF_TAINT;
    let taints = TaintChange {
        from: node.taints.clone(),
        to: node.taints.iter().filter(theirs).cloned().collect(),
    };
    let mark = keeps_cordon(node).then(|| CORDONED_BY_PERSON.to_string());
    has_our_taint(node).then(|| NodePatch {
        node: node.name.clone(),
        uid: node.uid.clone(),
        remove_annotations: mark.into_iter().collect(),
        taints: Some(taints),
        unschedulable: (node.unschedulable != cordoned).then_some(cordoned),
        ..NodePatch::default()
    })
}

fn is_empty(patch: &NodePatch) -> bool {
    patch.provider_id.is_none()
        && patch.labels.is_empty()
        && patch.annotations.is_empty()
        && patch.remove_annotations.is_empty()
        && patch.taints.is_none()
        && patch.unschedulable.is_none()
        && !patch.resume
}

fn missing_labels(node: &NodeSeen, wanted: &Wanted<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if node.labels.get(GROUP_LABEL).map(String::as_str) != Some(wanted.group) {
        labels.insert(GROUP_LABEL.to_string(), wanted.group.to_string());
    }
    let kept = wanted
        .backup
        .filter(|_| wanted.returning)
        .into_iter()
        .flat_map(|b| &*b.labels);
    for (key, value) in wanted.labels.iter().chain(kept) {
        if !node.labels.contains_key(key) {
            labels.insert(key.clone(), value.clone());
        }
    }
    labels
}

fn annotations(node: &NodeSeen, wanted: &Wanted<'_>) -> (BTreeMap<String, String>, Vec<String>) {
    let mut add = BTreeMap::new();
    let mut remove = Vec::new();
    for (key, value) in wanted
        .backup
        .filter(|_| wanted.returning)
        .into_iter()
        .flat_map(|b| &b.annotations)
    {
        if !node.annotations.contains_key(key) {
            add.insert(key.clone(), value.clone());
        }
    }
    let ours = node.annotations.get(SCALE_DOWN_DISABLED_BY);
    let is_over = match wanted.mark {
        Mark::Due(reason) => {
            if !node.annotations.contains_key(SCALE_DOWN_DISABLED) {
                add.insert(SCALE_DOWN_DISABLED.to_string(), "true".to_string());
                add.insert(SCALE_DOWN_DISABLED_BY.to_string(), reason.to_string());
            } else if ours.is_some_and(|before| before != reason) {
                add.insert(SCALE_DOWN_DISABLED_BY.to_string(), reason.to_string());
            }
            false
        }
        Mark::NotDue => ours.is_some(),
        Mark::Open => ours.is_some_and(|reason| reason != LOCAL_VOLUME),
    };
    if is_over {
        remove.extend([
            SCALE_DOWN_DISABLED.to_string(),
            SCALE_DOWN_DISABLED_BY.to_string(),
        ]);
    }
    (add, remove)
}

fn taints(
    node: &NodeSeen,
    wanted: &Wanted<'_>,
    rolled_back: bool,
    settled: bool,
) -> Option<TaintChange> {
    let stale = |t: &Taint| {
        (rolled_back
            && (t.key == POWER_OFF_TAINT
                || t.key
                    .starts_with("node.cloudprovider.kubernetes.io/shutdown")))
            || (wanted.returning && AUTOSCALER_TAINTS.contains(&t.key.as_str()))
            || (settled && t.key == STARTUP_TAINT)
    };
    let mut to: Vec<Taint> = node.taints.iter().filter(|t| !stale(t)).cloned().collect();
    for taint in wanted
        .backup
        .filter(|_| wanted.returning)
        .into_iter()
        .flat_map(|b| &b.taints)
    {
        if !to
            .iter()
            .any(|t| t.key == taint.key && t.effect == taint.effect)
        {
            to.push(taint.clone());
        }
    }
    (to != node.taints).then(|| TaintChange {
        from: node.taints.clone(),
        to,
    })
}

/// What must come back when the Node returns.
pub(crate) fn backup(node: &NodeSeen, cordoned_by_person: bool) -> NodeBackup {
    let foreign = |key: &str| {
        FOREIGN_ANNOTATION_PREFIXES
            .iter()
            .any(|p| key.starts_with(p))
    };
    NodeBackup {
        labels: Arc::clone(&node.labels),
        annotations: node
            .annotations
            .iter()
            .filter(|(key, _)| !foreign(key) && !OWN_ANNOTATIONS.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        taints: permanent(&node.taints),
        cordoned: cordoned_by_person,
    }
}

/// What the next machine like this one can be expected to bring.
pub(crate) fn learn(node: &NodeSeen, at_ms: i64) -> Learned {
    Learned {
        capacity: Arc::clone(&node.capacity),
        allocatable: Arc::clone(&node.allocatable),
        labels: Arc::clone(&node.labels),
        taints: permanent(&node.taints),
        at_ms,
    }
}

/// Whether a Node brings what was learned from it before.
pub(crate) fn is_learned(node: &NodeSeen, known: &Learned) -> bool {
    node.capacity == known.capacity
        && node.allocatable == known.allocatable
        && node.labels == known.labels
        && permanent(&node.taints) == known.taints
}

/// Lets a Node hold what it brings as before together with what was learned from it.
pub(crate) fn share(node: &mut NodeSeen, known: &Learned) {
    for (brought, before) in [
        (&mut node.capacity, &known.capacity),
        (&mut node.allocatable, &known.allocatable),
        (&mut node.labels, &known.labels),
    ] {
        if brought == before {
            *brought = Arc::clone(before);
        }
    }
}

fn permanent(taints: &[Taint]) -> Vec<Taint> {
    let passing = |key: &str| {
        key == POWER_OFF_TAINT
            || AUTOSCALER_TAINTS.contains(&key)
            || FOREIGN_TAINT_PREFIXES
                .iter()
                .any(|prefix| key.starts_with(prefix))
    };
    taints
        .iter()
        .filter(|t| !passing(&t.key))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
