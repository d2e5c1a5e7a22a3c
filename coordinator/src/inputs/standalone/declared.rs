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
        let mut old_groups: BTreeMap<GroupId, GroupSpec> = old.group_specs().collect();
        let mut old_machines: BTreeMap<MachineId, MachineSpec> = old.machine_specs().collect();
        let mut facts = Vec::new();
        for (id, spec) in self.group_specs() {
            if old_groups.remove(&id).as_ref() != Some(&spec) {
                facts.push(Fact::GroupApplied(spec));
            }
        }
        for (id, spec) in self.machine_specs() {
            if old_machines.remove(&id).as_ref() != Some(&spec) {
                facts.push(Fact::MachineApplied(spec));
            }
        }
        facts.extend(old_machines.into_keys().map(Fact::MachineRemoved));
        facts.extend(old_groups.into_keys().map(Fact::GroupRemoved));
        facts
    }

    fn group_specs(&self) -> impl Iterator<Item = (GroupId, GroupSpec)> {
        self.groups
            .iter()
            .map(|(id, group)| (id.clone(), documents::group_spec(group)))
    }

    /// One after the other: all declarations taken apart are the most that the process ever holds, so they go before the specs come.
    fn machine_specs(&self) -> impl Iterator<Item = (MachineId, MachineSpec)> {
        let judged = {
            let groups: Vec<Group> = self.groups.values().cloned().collect();
            let nodes: Vec<Node> = self.nodes.values().map(Declaration::to_node).collect();
            documents::judge(&groups, &nodes)
        };
        self.nodes.iter().map(move |(id, declaration)| {
            let node = declaration.to_node();
            let namespace = node.metadata.namespace.as_deref();
            let key = (
                namespace.unwrap_or(documents::DEFAULT_NAMESPACE).to_owned(),
                id.to_string(),
            );
            let spec = documents::machine_spec(&node, Place::Standalone, judged.get(&key));
            (id.clone(), spec)
        })
    }
}
