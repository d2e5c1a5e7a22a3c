//! A lab as declared: its Groups and Nodes by their ids.
//!
//! In: a valid lab. Out: the facts that lead from one lab to the next.
//! Holds: an object that has not changed causes no fact.

use std::collections::BTreeMap;

use coordinator_core::{Fact, GroupId, GroupSpec, MachineId, MachineSpec};
use coordinator_crds::{Group, Node};

use crate::documents::{self, Place};
use crate::inputs::declaration::Declaration;

/// A lab.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// Every Group by its id.
    pub groups: BTreeMap<GroupId, Group>,
    /// Every Node by its name, which no two of a valid lab share.
    pub nodes: BTreeMap<MachineId, Declaration>,
}

impl Declared {
    pub(super) fn new(groups: Vec<Group>, nodes: Vec<Node>) -> Self {
        let group_id = |group: &Group| {
            let name = group.metadata.name.as_deref().unwrap_or_default();
            documents::group_id(group.metadata.namespace.as_deref(), name)
        };
        Self {
            groups: groups
                .into_iter()
                .map(|group| (group_id(&group), group))
                .collect(),
            nodes: nodes
                .into_iter()
                .map(|node| (documents::machine_id(&node), Declaration::of(&node)))
                .collect(),
        }
    }

    /// What must be told to somebody who knows `old`: groups before their machines, and what is gone at the end.
    #[must_use]
    pub fn facts_since(&self, old: &Self) -> Vec<Fact> {
        let (old_groups, new_groups) = (old.group_specs(), self.group_specs());
        let (old_machines, new_machines) = (old.machine_specs(), self.machine_specs());
        let mut facts = Vec::new();
        for (id, spec) in &new_groups {
            if old_groups.get(id) != Some(spec) {
                facts.push(Fact::GroupApplied(spec.clone()));
            }
        }
        for (id, spec) in &new_machines {
            if old_machines.get(id) != Some(spec) {
                facts.push(Fact::MachineApplied(spec.clone()));
            }
        }
        let gone = old_machines
            .into_keys()
            .filter(|id| !new_machines.contains_key(id));
        facts.extend(gone.map(Fact::MachineRemoved));
        let gone = old_groups
            .into_keys()
            .filter(|id| !new_groups.contains_key(id));
        facts.extend(gone.map(Fact::GroupRemoved));
        facts
    }

    fn group_specs(&self) -> BTreeMap<GroupId, GroupSpec> {
        self.groups
            .iter()
            .map(|(id, group)| (id.clone(), documents::group_spec(group)))
            .collect()
    }

    fn machine_specs(&self) -> BTreeMap<MachineId, MachineSpec> {
        let groups: Vec<Group> = self.groups.values().cloned().collect();
        let nodes: Vec<Node> = self.nodes.values().map(Declaration::to_node).collect();
        let judged = documents::judge(&groups, &nodes);
        self.nodes
            .keys()
            .zip(&nodes)
            .map(|(id, node)| {
                let namespace = node.metadata.namespace.as_deref();
                let key = (
                    namespace.unwrap_or(documents::DEFAULT_NAMESPACE).to_owned(),
                    id.to_string(),
                );
                let spec = documents::machine_spec(node, Place::Standalone, judged.get(&key));
                (id.clone(), spec)
            })
            .collect()
    }
}
