//! How many Nodes may be unready before the cluster-autoscaler does nothing at all: neither wakes nor stops.
//!
//! In: its flags, core Nodes, machines. Out: findings.
//! Holds: both limits must be passed, a count and a share of all Nodes, autoscaled or not.

use coordinator_crds::{
    Node,
    node::{Joins, PowerPolicy},
};
use k8s_openapi::api::core::v1::Node as CoreNode;

use super::{Found, WHAT, unclear};
use crate::{
    check::{Finding, listed, places},
    lab::Lab,
};

const OK_UNREADY: &str = "ok-total-unready-count";
const MOST_UNREADY: &str = "max-total-unready-percentage";
/// What it does without these flags.
const OK_UNREADY_DEFAULT: f64 = 3.0;
const MOST_UNREADY_DEFAULT: f64 = 45.0;

pub(super) fn judge(lab: &Lab, nodes: &[CoreNode], one: &Found) -> Vec<Finding> {
    let name = &one.name;
    let ok = one.flags.number(OK_UNREADY).or_default(OK_UNREADY_DEFAULT);
    let most = one
        .flags
        .number(MOST_UNREADY)
        .or_default(MOST_UNREADY_DEFAULT);
    let (ok, most) = match (ok, most) {
        (Ok(ok), Ok(most)) => (ok, most),
        (Err(flag), _) | (_, Err(flag)) => return vec![unclear(name, &flag)],
    };
    let stops_at = |unready: usize, all: usize| {
        let (unready, all) = (as_number(unready), as_number(all));
        unready > ok && unready > all * most / 100.0
    };
    let now: Vec<&str> = nodes
        .iter()
        .filter(|node| is_unready(node))
        .filter_map(name_of)
        .collect();
    if stops_at(now.len(), nodes.len()) {
        return vec![Finding::fail(
            WHAT,
            format!(
                "{} of {} Nodes are not ready ({}), so {name} neither wakes nor stops anything",
                now.len(),
                nodes.len(),
                listed(now.iter().copied())
            ),
            format!("bring them back or delete those Nodes, or raise --{OK_UNREADY}"),
        )];
    }
    let managed = lab.nodes.iter().filter(|machine| has_node(machine));
    let managed: Vec<&str> = managed.map(places::node_name).collect();
    let others = nodes
        .iter()
        .filter_map(name_of)
        .filter(|name| !managed.contains(name));
    let all = others.count() + managed.len();
    if stops_at(managed.len(), all) {
        return vec![Finding::warn(
            WHAT,
            format!(
                "if all {} machines fell silent at once, {name} would do nothing until most are back: --{OK_UNREADY} is {ok}",
                managed.len()
            ),
            format!("start it with --{OK_UNREADY}={}", managed.len()),
        )];
    }
    Vec::new()
}

/// Whether a machine that runs is a Node.
fn has_node(machine: &Node) -> bool {
    machine.spec.power != PowerPolicy::Unmanaged && machine.spec.joins == Joins::Kubelet
}

fn as_number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn name_of(node: &CoreNode) -> Option<&str> {
    node.metadata.name.as_deref()
}

/// As the autoscaler counts: a Node that says that it sleeps is not unready.
fn is_unready(node: &CoreNode) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let is = |kind: &str| {
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == kind && c.status == "True"))
    };
    !is("Ready") && !is("Suspended")
}
