//! What people have declared in the cluster, and what of it the core has been told.
//!
//! In: Groups and Nodes as they come and go. Out: the facts that bring the core up to date.
//! Holds: a machine that somebody else has locked is told with a fault for as long.
//! Holds: an object made anew under the name of one that was told is told as gone first: what was stored went with that one.
//! Holds: a machine is known by its name alone, so of two Nodes with one name the older is told, both with a fault.
//! Not here: what is stored in their status (`mirror`), and which relations must hold (coordinator-crds).

use std::collections::BTreeMap;

use coordinator_core::{AgentId, Fact, GroupId, GroupSpec, MachineId, MachineSpec};
use coordinator_crds::{Group, Node};
use kube::core::ObjectMeta;

use super::locks::Locks;
use crate::documents::{
    self, Fault, Judgement, Place, group_id, group_spec, judge, machine_id, machine_spec,
};
use crate::inputs::declaration::Declaration;

/// Namespace and name.
pub(super) type Key = (String, String);

/// Everything declared.
#[derive(Default)]
pub(super) struct Declared {
    groups: BTreeMap<Key, Group>,
    nodes: BTreeMap<Key, Declaration>,
    told_groups: BTreeMap<GroupId, GroupSpec>,
    told: BTreeMap<MachineId, MachineSpec>,
    locks: Locks,
    /// There may be something to tell.
    changed: bool,
}

impl Declared {
    /// It is so late now, milliseconds on the boot clock.
    pub(super) fn at(&mut self, now_ms: u64) {
        let ends = self.locks.next_end_ms();
        self.locks.at(now_ms);
        self.changed |= ends.is_some_and(|end| end <= now_ms);
    }

    /// When what is declared changes by itself: the end of the next lock, milliseconds on the boot clock.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        self.locks.next_end_ms()
    }

    pub(super) fn put_group(&mut self, group: &Group) {
        let bare = Group {
            metadata: bare(&group.metadata),
            spec: group.spec.clone(),
            status: None,
        };
        let key = key_of(&bare.metadata);
        self.changed |= self.groups.insert(key, bare.clone()) != Some(bare);
    }

    pub(super) fn remove_group(&mut self, key: &Key) {
        self.changed |= self.groups.remove(key).is_some();
    }

    /// The object that the core knows this group from is gone. `None` where it knows of none.
    pub(super) fn forget_group(&mut self, id: &GroupId) -> Option<Fact> {
        let (id, _) = self.told_groups.remove_entry(id)?;
        self.changed = true;
        Some(Fact::GroupRemoved(id))
    }

    pub(super) fn put_node(&mut self, node: &Node) {
        let bare = Node {
            metadata: bare(&node.metadata),
            spec: node.spec.clone(),
            status: None,
        };
        let key = key_of(&bare.metadata);
        let locked = node.metadata.annotations.clone().unwrap_or_default();
        let other_lock = self.locks.see(&key, &locked);
        let declared = Declaration::of(&bare);
        self.changed |= self.nodes.insert(key, declared.clone()) != Some(declared) || other_lock;
    }

    pub(super) fn remove_node(&mut self, key: &Key) {
        self.changed |= self.nodes.remove(key).is_some();
        self.locks.forget(key);
    }

    /// The object that the core knows this machine from is gone. `None` where it knows of none.
    pub(super) fn forget_machine(&mut self, id: &MachineId) -> Option<Fact> {
        let (id, _) = self.told.remove_entry(id)?;
        self.changed = true;
        Some(Fact::MachineRemoved(id))
    }

    /// Whether this Node is the machine of its name, and no older one is.
    pub(super) fn is_owner(&self, key: &Key) -> bool {
        self.owner_of(&MachineId::new(&key.1)).as_ref() == Some(key)
    }

    /// The Node that is this machine: the oldest of the name.
    pub(super) fn owner_of(&self, id: &MachineId) -> Option<Key> {
        self.nodes
            .iter()
            .filter(|((_, name), _)| name == id.as_str())
            .map(|(owner, declared)| (owner, declared.to_node()))
            .min_by(|(_, a), (_, b)| age(a).cmp(&age(b)))
            .map(|(owner, _)| owner.clone())
    }

    /// A machine's own agent: the declared one, else that of the machine's name.
    pub(super) fn agent_of(&self, key: &Key) -> AgentId {
        let declared = self
            .nodes
            .get(key)
            .and_then(|node| node.to_node().spec.agent);
        AgentId::new(declared.as_ref().unwrap_or(&key.1))
    }

    pub(super) fn node_keys(&self) -> Vec<Key> {
        self.nodes.keys().cloned().collect()
    }

    pub(super) fn group_keys(&self) -> Vec<Key> {
        self.groups.keys().cloned().collect()
    }

    /// What is wrong with a Node beside other objects.
    pub(super) fn fault_of(&self, key: &Key) -> Option<Fault> {
        self.judged(&self.declared()).remove(key)?.fault
    }

    /// What the core does not know yet: groups before their machines. What is gone is told by `forget_…`.
    pub(super) fn changes(&mut self) -> Vec<Fact> {
        if !std::mem::take(&mut self.changed) {
            return Vec::new();
        }
        let groups: BTreeMap<GroupId, GroupSpec> = self
            .groups
            .iter()
            .map(|((namespace, name), group)| (group_id(Some(namespace), name), group_spec(group)))
            .collect();
        let nodes = self.declared();
        let mut judged = self.judged(&nodes);
        for key in self.nodes.keys() {
            if let Some(lock) = self.locks.fault_of(key) {
                let judgement = judged.entry(key.clone()).or_default();
                judgement.fault.get_or_insert(lock);
            }
        }
        let mut owners: BTreeMap<MachineId, (&Key, &Node)> = BTreeMap::new();
        for (key, node) in self.nodes.keys().zip(&nodes) {
            let owner = owners.entry(machine_id(node)).or_insert((key, node));
            if age(node) < age(owner.1) {
                *owner = (key, node);
            }
        }
        let machines: BTreeMap<MachineId, MachineSpec> = owners
            .into_iter()
            .map(|(id, (key, node))| (id, machine_spec(node, Place::Cluster, judged.get(key))))
            .collect();
        let mut facts = Vec::new();
        facts.extend(differing(&groups, &self.told_groups).map(Fact::GroupApplied));
        facts.extend(differing(&machines, &self.told).map(Fact::MachineApplied));
        self.told_groups = groups;
        self.told = machines;
        facts
    }

    /// Every Node, in the order of the keys.
    fn declared(&self) -> Vec<Node> {
        self.nodes.values().map(Declaration::to_node).collect()
    }

    fn judged(&self, nodes: &[Node]) -> BTreeMap<Key, Judgement> {
        let groups: Vec<Group> = self.groups.values().cloned().collect();
        judge(&groups, nodes)
    }
}

fn differing<K: Ord, V: Clone + PartialEq>(
    now: &BTreeMap<K, V>,
    told: &BTreeMap<K, V>,
) -> impl Iterator<Item = V> {
    now.iter()
        .filter(|(id, spec)| told.get(id) != Some(spec))
        .map(|(_, spec)| spec.clone())
}

pub(super) fn key_of(metadata: &ObjectMeta) -> Key {
    (
        metadata
            .namespace
            .clone()
            .unwrap_or_else(|| documents::DEFAULT_NAMESPACE.to_owned()),
        metadata.name.clone().unwrap_or_default(),
    )
}

/// What of the metadata a declaration is judged by.
fn bare(metadata: &ObjectMeta) -> ObjectMeta {
    let (namespace, name) = key_of(metadata);
    ObjectMeta {
        namespace: Some(namespace),
        name: Some(name),
        creation_timestamp: metadata.creation_timestamp.clone(),
        ..ObjectMeta::default()
    }
}

/// Orders Nodes of one name: the older first, by namespace at ties.
fn age(node: &Node) -> (i64, Option<&str>) {
    let created = node.metadata.creation_timestamp.as_ref();
    (
        created.map_or(i64::MAX, coordinator_crds::time::unix_ms),
        node.metadata.namespace.as_deref(),
    )
}
