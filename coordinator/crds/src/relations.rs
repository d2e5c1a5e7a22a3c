//! What must hold between objects, in a lab and in a cluster alike.
//!
//! In: all Groups and Nodes that are watched. Out: one [`Broken`] for each object that is concerned.
//! Holds: a machine that shares its name, MAC, core Node, agent or provider id with another is named, and so is the other.
//! Not here: what becomes of them (an exit at start, a condition and an Event in the cluster).

use std::{collections::BTreeMap, time::Duration};

use kube::Resource;

use crate::{Group, Node, duration};

/// The cluster-autoscaler's `--max-node-provision-time` unless a group says otherwise.
const PROVISION_TIME: Duration = Duration::from_secs(15 * 60);

/// A relation that does not hold, seen from one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which relation.
    pub relation: Relation,
    /// Namespace of the object, `default` if it names none.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// The field to look at.
    pub field: &'static str,
    /// What is wrong and what would be right, without the field.
    pub what: String,
}

/// The relations between objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// A machine's group exists.
    GroupExists,
    /// No two machines have one name, not even in two namespaces: it is the machine's id.
    UniqueName,
    /// No two machines have one hardware address.
    UniqueMac,
    /// No two machines are one core Node.
    UniqueNodeName,
    /// No two machines have one agent.
    UniqueAgent,
    /// No two machines have one provider id.
    UniqueProviderId,
    /// A machine boots faster than the autoscaler gives up.
    BootBelowProvisionTime,
}

/// What a broken relation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The machine cannot be managed.
    Error,
    /// It can, but not well.
    Warning,
}

impl Relation {
    /// One stable word for conditions, Events and metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::GroupExists => "UnknownGroup",
            Self::UniqueName => "DuplicateName",
            Self::UniqueMac => "DuplicateMAC",
            Self::UniqueNodeName => "DuplicateNodeName",
            Self::UniqueAgent => "DuplicateAgent",
            Self::UniqueProviderId => "DuplicateProviderID",
            Self::BootBelowProvisionTime => "BootAboveProvisionTime",
        }
    }

    /// What it means for the machine.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::BootBelowProvisionTime => Severity::Warning,
            Self::GroupExists | Self::UniqueName | Self::UniqueMac => Severity::Error,
            Self::UniqueNodeName | Self::UniqueAgent | Self::UniqueProviderId => Severity::Error,
        }
    }
}

/// Every relation that does not hold, in the order of the nodes.
#[must_use]
pub fn broken(groups: &[Group], nodes: &[Node]) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        let group = group_of(groups, node);
        let found = if group.is_none() {
            Some(lost(groups, node))
        } else {
            slow_boot(group, node)
        };
        broken.extend(found.map(|found| (place, found)));
    }
    for unique in &UNIQUE {
        broken.extend(duplicates(nodes, unique));
    }
    broken.sort_by_key(|(place, found)| (*place, found.relation));
    broken.into_iter().map(|(_, found)| found).collect()
}

impl Broken {
    fn new(relation: Relation, node: &Node, field: &'static str, what: String) -> Self {
        let (namespace, name) = (namespace(node).to_owned(), name(node).to_owned());
        Self {
            relation,
            namespace,
            name,
            field,
            what,
        }
    }
}

/// Namespace of an object; documents outside a cluster need not name one.
fn namespace(object: &impl Resource) -> &str {
    object.meta().namespace.as_deref().unwrap_or("default")
}

/// Name of an object; one without a name has not been validated.
fn name(object: &impl Resource) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

fn group_of<'a>(groups: &'a [Group], node: &Node) -> Option<&'a Group> {
    let is_it =
        |group: &&Group| name(*group) == node.spec.group && namespace(*group) == namespace(node);
    groups.iter().find(is_it)
}

/// A machine in no group.
fn lost(groups: &[Group], node: &Node) -> Broken {
    let here = namespace(node);
    let mut known: Vec<_> = groups
        .iter()
        .filter(|group| namespace(*group) == here)
        .map(name)
        .collect();
    known.sort_unstable();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    let group = &node.spec.group;
    let what = format!(
        "Not found: {group:?}: namespace {here} has no such Group (it has: {known}); create it, or correct the name"
    );
    Broken::new(Relation::GroupExists, node, "spec.group", what)
}

/// A machine that the autoscaler gives up before it can be there.
fn slow_boot(group: Option<&Group>, node: &Node) -> Option<Broken> {
    let options = group.and_then(|group| group.spec.scale_down.as_ref());
    let limit = options
        .and_then(crate::group::ScaleDown::provision_time)
        .unwrap_or(PROVISION_TIME);
    let boot = node.spec.timeouts.boot;
    if boot <= limit {
        return None;
    }
    let (boot, limit) = (duration::text(boot), duration::text(limit));
    let what = format!(
        "Invalid value: {boot:?}: the cluster-autoscaler gives up after {limit}; write at most {limit}, or raise its provision time"
    );
    Some(Broken::new(
        Relation::BootBelowProvisionTime,
        node,
        "spec.timeouts.boot",
        what,
    ))
}

/// A value that no two machines may share.
struct Unique {
    relation: Relation,
    field: &'static str,
    /// True if the machine's name stands in where nothing is written.
    has_default: bool,
    value: fn(&Node) -> Option<String>,
    right: &'static str,
}

const UNIQUE: [Unique; 5] = [
    Unique {
        relation: Relation::UniqueName,
        field: "metadata.name",
        has_default: true,
        value: |node| Some(name(node).to_owned()),
        right: "a machine's name is its id in all namespaces; rename one",
    },
    Unique {
        relation: Relation::UniqueMac,
        field: "spec.wakeOnLAN.mac",
        has_default: false,
        value: |node| {
            node.spec
                .wake_on_lan
                .as_ref()
                .map(|wol| wol.mac.replace('-', ":").to_ascii_lowercase())
        },
        right: "a hardware address belongs to one machine; look it up with `ip link` on each",
    },
    Unique {
        relation: Relation::UniqueNodeName,
        field: "spec.nodeName",
        has_default: true,
        value: |node| {
            Some(
                node.spec
                    .node_name
                    .clone()
                    .unwrap_or_else(|| name(node).to_owned()),
            )
        },
        right: "a core Node is one machine; give one another nodeName",
    },
    Unique {
        relation: Relation::UniqueAgent,
        field: "spec.agent",
        has_default: true,
        value: |node| {
            Some(
                node.spec
                    .agent
                    .clone()
                    .unwrap_or_else(|| name(node).to_owned()),
            )
        },
        right: "an agent runs on one machine; give one another agent",
    },
    Unique {
        relation: Relation::UniqueProviderId,
        field: "spec.providerID",
        has_default: false,
        value: |node| node.spec.provider_id.clone(),
        right: "a provider id names one machine; correct one, or leave it out",
    },
];

/// Holders of a value that others hold too, each with its place among the nodes.
fn duplicates(nodes: &[Node], unique: &Unique) -> Vec<(usize, Broken)> {
    let mut holders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, node) in nodes.iter().enumerate() {
        if let Some(value) = (unique.value)(node) {
            holders.entry(value).or_default().push(place);
        }
    }
    let mut broken = Vec::new();
    for (value, holders) in holders.iter().filter(|(_, holders)| holders.len() > 1) {
        // One name twice brings along its defaults; the name alone is reported.
        let one_name = holders
            .iter()
            .all(|place| name(&nodes[*place]) == name(&nodes[holders[0]]));
        if one_name && unique.relation != Relation::UniqueName && unique.has_default {
            continue;
        }
        for place in holders {
            let others = holders
                .iter()
                .filter(|other| *other != place)
                .map(|other| &nodes[*other]);
            let others: Vec<_> = others
                .map(|node| format!("{}/{}", namespace(node), name(node)))
                .collect();
            let what = format!(
                "Duplicate value: {value:?}: {} has it too; {}",
                others.join(", "),
                unique.right
            );
            broken.push((
                *place,
                Broken::new(unique.relation, &nodes[*place], unique.field, what),
            ));
        }
    }
    broken
}

#[cfg(test)]
mod tests;
