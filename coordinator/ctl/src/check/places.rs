//! What must not sleep, on machines that may.
//!
//! In: pods by the Node they run on, or the coordinator's own host. Out: findings; the agents whose machines may sleep.
//! Holds: a Node that the coordinator marks as its own or the broker's is never stopped, which is a warning; without the mark it
//! may be, which is a failure. An autoscaler on such a machine is a warning: it comes back elsewhere, or with the machine.

use std::collections::BTreeSet;

use coordinator_crds::{Node, node::PowerPolicy};
use k8s_openapi::api::core::v1::{Node as CoreNode, Pod};

use super::{ClusterFacts, Finding, HostFacts, autoscaler::Found, listed};
use crate::lab::Lab;

const WHAT: &str = "places";
/// Why the coordinator keeps the autoscaler off a Node.
const PROTECTED: &str = "homelab-autoscaler.dev/scale-down-disabled-by";
/// The reasons that hold for as long as the pods stay; a machine has one of them, even where both are true.
const BECAUSE_OF_US: [&str; 2] = ["OwnMachine", "BrokerMachine"];
/// What is installed, by its label `app`.
const COORDINATOR: &str = "homelab-coordinator";
const BROKER: &str = "homelab-broker";
/// What is found by its program, in any namespace.
const AUTOSCALER: &str = "cluster-autoscaler";
/// The relay in the cluster, and what its agent is called.
const RELAY: (&str, &str) = ("homelab-relay", "cluster-relay");
/// Nodes of the control plane are never stopped.
const CONTROL_PLANE: [&str; 3] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
    "node-role.kubernetes.io/etcd",
];

/// Where the coordinator's and the broker's pods run.
pub(super) fn in_cluster(
    lab: &Lab,
    nodes: &[CoreNode],
    pods: &[Pod],
    namespace: &str,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for app in [COORDINATOR, BROKER] {
        for name in nodes_of(app, pods, namespace) {
            seen.push(format!("{app} on {name}"));
            let core = nodes
                .iter()
                .find(|node| node.metadata.name.as_deref() == Some(name));
            let machine = lab.nodes.iter().find(|machine| node_name(machine) == name);
            let Some(machine) = machine.filter(|machine| may_sleep(machine, core)) else {
                continue;
            };
            let why = core.and_then(|core| core.metadata.annotations.as_ref()?.get(PROTECTED));
            found.push(on_a_sleeper(
                app,
                machine,
                why.is_some_and(|why| BECAUSE_OF_US.contains(&why.as_str())),
            ));
        }
    }
    if seen.is_empty() {
        let cure = "name its namespace with --system-namespace; if it runs outside of the cluster, see that its host never sleeps";
        let told = format!("no pod of coordinator or broker in namespace {namespace}");
        found.push(Finding::warn(WHAT, told, cure));
    }
    let (of_autoscaler, safe) = autoscaler(lab, nodes, pods);
    found.extend(of_autoscaler);
    seen.extend(safe);
    if found.is_empty() {
        found.push(Finding::ok(
            WHAT,
            format!("{}: none of these may sleep", seen.join(", ")),
        ));
    }
    found
}

/// Whether every autoscaler that runs is on a machine that may sleep; those that are not, as `what on where`.
fn autoscaler(lab: &Lab, nodes: &[CoreNode], pods: &[Pod]) -> (Option<Finding>, Vec<String>) {
    let placed = pods.iter().filter_map(|pod| {
        let on = pod.spec.as_ref()?.node_name.as_deref()?;
        Some((Found::running(pod)?.name, on))
    });
    let (sleepy, safe): (Vec<_>, Vec<_>) = placed.partition(|(_, on)| sleeps(lab, nodes, on));
    if sleepy.is_empty() || !safe.is_empty() {
        let safe = safe.iter();
        let safe = safe.map(|(_, on)| format!("{AUTOSCALER} on {on}"));
        return (None, safe.collect());
    }
    let names = listed(sleepy.iter().map(|(name, _)| name.as_str()));
    let places: BTreeSet<&str> = sleepy.iter().map(|(_, on)| *on).collect();
    let runs = if sleepy.len() == 1 { "runs" } else { "run" };
    let found = Finding::warn(
        WHAT,
        format!(
            "{AUTOSCALER} {names} {runs} on {}, which may be stopped: then nothing asks for machines until it runs elsewhere",
            listed(places)
        ),
        "move it to a host that always runs, by affinity as in deploy/cluster-autoscaler.yaml, or write power: AlwaysOn",
    );
    (Some(found), Vec::new())
}

/// Whether a Node of this name is a machine that may sleep.
fn sleeps(lab: &Lab, nodes: &[CoreNode], name: &str) -> bool {
    let core = nodes
        .iter()
        .find(|node| node.metadata.name.as_deref() == Some(name));
    let mut machines = lab.nodes.iter();
    machines.any(|machine| node_name(machine) == name && may_sleep(machine, core))
}

/// Whether a coordinator without Kubernetes, or its broker, shares a host with a machine.
pub(super) fn on_host(lab: &Lab, host: &HostFacts) -> Vec<Finding> {
    let broker = broker_host(&host.broker);
    let mut found = Vec::new();
    for machine in lab.nodes.iter().filter(|machine| may_sleep(machine, None)) {
        let boot = machine.status.as_ref().and_then(|s| s.boot_id.as_ref());
        if boot.is_some() && boot == host.boot_id.as_ref() {
            found.push(on_a_sleeper(
                COORDINATOR,
                machine,
                host.name == node_name(machine),
            ));
        }
        let called = [
            Some(node_name(machine)),
            Some(agent_of(machine)),
            name(machine),
        ];
        if broker.is_some() && called.contains(&broker.as_deref()) {
            let known = broker.as_deref() == Some(node_name(machine));
            found.push(on_a_sleeper(BROKER, machine, known));
        }
    }
    if found.is_empty() {
        let told = "neither coordinator nor broker is seen on a machine that may sleep";
        found.push(Finding::ok(WHAT, told));
    }
    found
}

fn on_a_sleeper(app: &str, machine: &Node, protected: bool) -> Finding {
    let name = name(machine).unwrap_or_default();
    if protected {
        return Finding::warn(
            WHAT,
            format!("{app} runs on {name}, so that machine is never stopped"),
            "move it to a host that always runs, or write power: AlwaysOn",
        );
    }
    let flag = if app == BROKER {
        "--broker-node-name"
    } else {
        "--node-name"
    };
    Finding::fail(
        WHAT,
        format!("{app} runs on {name}, which may be stopped: then nobody can be woken any more"),
        format!(
            "move it to a host that always runs, or tell the coordinator {flag} {}",
            node_name(machine)
        ),
    )
}

/// The agents whose machines may sleep.
pub(super) fn sleepers(lab: &Lab, nodes: &[CoreNode]) -> BTreeSet<String> {
    let sleepy = lab.nodes.iter().filter(|machine| {
        let name = node_name(machine);
        let core = nodes
            .iter()
            .find(|node| node.metadata.name.as_deref() == Some(name));
        may_sleep(machine, core)
    });
    sleepy.map(|machine| agent_of(machine).to_owned()).collect()
}

/// The same with the relay in the cluster, where its pod runs on such a machine.
pub(super) fn with_relay_pods(
    mut sleepers: BTreeSet<String>,
    lab: &Lab,
    cluster: &ClusterFacts,
) -> BTreeSet<String> {
    let nodes = cluster.nodes.as_deref().unwrap_or_default();
    let pods = cluster.pods.as_deref().unwrap_or_default();
    let on: Vec<&str> = nodes_of(RELAY.0, pods, &cluster.system_namespace).collect();
    if !on.is_empty() && on.iter().all(|name| sleeps(lab, nodes, name)) {
        sleepers.insert(RELAY.1.to_owned());
    }
    sleepers
}

fn nodes_of<'a>(app: &str, pods: &'a [Pod], namespace: &str) -> impl Iterator<Item = &'a str> {
    let of_app = pods.iter().filter(move |pod| {
        let labels = pod.metadata.labels.as_ref();
        pod.metadata.namespace.as_deref() == Some(namespace)
            && labels.is_some_and(|labels| labels.get("app").is_some_and(|is| is == app))
    });
    of_app.filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref())
}

fn may_sleep(machine: &Node, core: Option<&CoreNode>) -> bool {
    let labels = core.and_then(|core| core.metadata.labels.as_ref());
    let protected = labels.is_some_and(|labels| {
        CONTROL_PLANE
            .iter()
            .any(|label| labels.contains_key(*label))
    });
    match machine.spec.power {
        PowerPolicy::Auto | PowerPolicy::AlwaysOff => !protected,
        PowerPolicy::AlwaysOn | PowerPolicy::Unmanaged => false,
    }
}

fn name(machine: &Node) -> Option<&str> {
    machine.metadata.name.as_deref()
}

pub(super) fn node_name(machine: &Node) -> &str {
    let named = machine.spec.node_name.as_deref();
    named.or_else(|| name(machine)).unwrap_or_default()
}

pub(super) fn agent_of(machine: &Node) -> &str {
    let named = machine.spec.agent.as_deref();
    named.or_else(|| name(machine)).unwrap_or_default()
}

/// The host in `mqtt://user@host:1883`.
fn broker_host(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    url.host().map(str::to_owned)
}
