//! Volumes that exist on one machine alone: a pod with one of them could come back nowhere else.
//!
//! In: bound volumes by the host name that they are pinned to. Out: whether the cluster-autoscaler must leave a machine alone.
//! Holds: until somebody has looked, a mark that an earlier process has set stays as it is.
//! Not here: what a mark looks like (`node`), and which volumes are pinned (the shell).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::groups::Group;
use crate::lab::Lab;
use crate::machine::{Machine, list};
use crate::node::{HOSTNAME_LABEL, LOCAL_VOLUME, Mark};
use crate::spec::{Joins, LocalVolumePolicy, Mode, PowerPolicy};

/// Claims, as `namespace/name`, that are bound to volumes which exist on one Node alone, by that Node's host name label.
pub type LocalVolumes = BTreeMap<String, Vec<String>>;

/// What a machine's Node must say because of them.
pub(crate) fn mark(lab: &Lab, machine: &Machine, group: &Group) -> Mark {
    match &lab.local_volumes {
        // Whatever a look would find: not even the right to look is needed.
        _ if !is_its_to_stop(machine, group) => Mark::NotDue,
        None => Mark::Open,
        Some(known) if of(known, machine, group).is_some() => Mark::Due(LOCAL_VOLUME),
        Some(_) => Mark::NotDue,
    }
}

/// What people should know about them.
pub(crate) fn concern(known: &LocalVolumes, machine: &Machine, group: &Group) -> Option<String> {
    let claims = of(known, machine, group)?;
    let held = if claims.len() == 1 {
        "is bound to a volume that exists"
    } else {
        "are bound to volumes that exist"
    };
    Some(format!(
        "{} {held} on this machine alone, so that a pod with it could come back nowhere else: the cluster-autoscaler is told to \
         leave its Node alone. That ends with the claim; localVolumePolicy: Ignore in its Group ends it too",
        list(claims)
    ))
}

/// The claims that keep a machine out of the autoscaler's hands.
fn of<'a>(known: &'a LocalVolumes, machine: &Machine, group: &Group) -> Option<&'a Vec<String>> {
    known
        .get(host(machine))
        .filter(|_| is_its_to_stop(machine, group))
}

/// Whether local volumes count: the autoscaler may stop the machine, and the group does not ignore them.
fn is_its_to_stop(machine: &Machine, group: &Group) -> bool {
    machine.spec.joins == Joins::Kubelet
        && machine.spec.power != PowerPolicy::Unmanaged
        && matches!(group.spec.mode, Mode::Autoscaler)
        && group.spec.local_volume_policy == LocalVolumePolicy::Protect
}

/// What its Node calls its host, or called it when it was there last.
fn host(machine: &Machine) -> &str {
    let seen = machine.seen.node.as_deref().map(|node| &node.labels);
    let learned = machine.record.learned.as_deref();
    let labels = seen.or_else(|| learned.map(|learned| &learned.labels));
    let named = labels.and_then(|labels| labels.get(HOSTNAME_LABEL));
    named.map_or(&*machine.spec.node_name, String::as_str)
}
