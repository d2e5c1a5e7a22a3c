//! From what the watches tell to what the engine is told.
//!
//! In: [`Seen`], one after the other. Out: [`Told`]: facts, requests of people, notices for the outputs.
//! Holds: nothing is told before every first list is complete; then everything at once, `Loaded` last.
//! Holds: after a list that starts over, what is not in it any more is told as gone.
//! Holds: the echo of our own writes is no fact.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use coordinator_core::{AgentId, Fact, GroupRecord, MachineId, MachineRecord, NodeSeen, Request};
use coordinator_crds::{Group, Node};
use kube::core::error_boundary::InvalidObject;

use super::{
    declared::{Declared, Key, key_of},
    mirror::{Mirror, Place, Stored},
    notices::{FINALIZER, Kind, Notice},
    watches::{Renewal, Seen, Watched},
};
use crate::documents::{self, Fault, Finding, group_id, machine_id};

/// One thing to pass on.
#[derive(Debug)]
pub(super) enum Told {
    /// To the engine.
    Fact(Box<Fact>),
    /// To the engine; its answer concerns the one who asked.
    Ask(Request),
    /// To the outputs.
    Notice(Notice),
}

impl Told {
    fn fact(fact: Fact) -> Self {
        Self::Fact(Box::new(fact))
    }
}

/// A list of one watch: its kind and its number.
type Source = (&'static str, usize);

/// Everything the watches have told so far.
pub(super) struct Intake {
    mirror: Arc<Mirror>,
    /// The namespace of each numbered watch; `None` stands for all.
    scopes: Vec<Option<String>>,
    declared: Declared,
    /// Known core Nodes. Their content is kept only until everything is loaded.
    core_nodes: BTreeMap<String, Option<NodeSeen>>,
    renewals: HashMap<String, Option<String>>,
    keys: BTreeMap<AgentId, String>,
    /// Lists that are not complete yet.
    awaited: BTreeSet<Source>,
    /// What the lists under way have shown so far.
    listing: BTreeMap<Source, BTreeSet<Key>>,
    asked: BTreeMap<MachineId, String>,
    complained: BTreeMap<(Kind, Key), String>,
    undoing: BTreeSet<String>,
    loaded: bool,
    leading: bool,
}

impl Intake {
    pub(super) fn new(mirror: Arc<Mirror>, scopes: Vec<Option<String>>) -> Self {
        let mut awaited = BTreeSet::from([(CORE, 0)]);
        for number in 0..scopes.len() {
            awaited.extend([(GROUPS, number), (MACHINES, number)]);
        }
        Self {
            mirror,
            scopes,
            declared: Declared::default(),
            core_nodes: BTreeMap::new(),
            renewals: HashMap::new(),
            keys: BTreeMap::new(),
            awaited,
            listing: BTreeMap::new(),
            asked: BTreeMap::new(),
            complained: BTreeMap::new(),
            undoing: BTreeSet::new(),
            loaded: false,
            leading: false,
        }
    }

    /// True once `Loaded` was told.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// It is so late now, milliseconds on the boot clock. What ends by itself is told with the next thing that is taken in.
    pub(super) fn at(&mut self, now_ms: u64) {
        self.declared.at(now_ms);
    }

    /// When something ends by itself, milliseconds on the boot clock.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        self.declared.next_end_ms()
    }

    /// Something has ended by itself.
    pub(super) fn ended(&mut self) -> Vec<Told> {
        self.changes(true)
    }

    /// Takes one event in.
    pub(super) fn take(&mut self, seen: Seen) -> Vec<Told> {
        match seen {
            Seen::Group(number, watched) => self.group((GROUPS, number), watched),
            Seen::Machine(number, watched) => self.machine((MACHINES, number), watched),
            Seen::CoreNode(watched) => self.core_node((CORE, 0), watched),
            Seen::Lease(renewal) => self.lease(renewal),
            Seen::Lead { epoch } => self.lead(epoch),
        }
    }

    fn group(&mut self, source: Source, watched: Watched<Group>) -> Vec<Told> {
        match watched {
            Watched::Begin => self.begin(source),
            Watched::Is(group) => {
                self.mark(source, key_of(&group.metadata));
                self.group_is(*group)
            }
            Watched::Unreadable(fault) => {
                self.mark(source, key_of(&fault.metadata));
                self.unreadable(Kind::Group, *fault)
            }
            Watched::Gone { namespace, name } => self.group_gone(&namespace, &name),
            Watched::Complete => {
                let known = self.declared.group_keys();
                let gone = self.missing(source, known);
                let mut told = Vec::new();
                for (namespace, name) in gone {
                    told.extend(self.group_gone(&namespace, &name));
                }
                told.extend(self.complete(source));
                told
            }
        }
    }

    fn machine(&mut self, source: Source, watched: Watched<Node>) -> Vec<Told> {
        match watched {
            Watched::Begin => self.begin(source),
            Watched::Is(node) => {
                self.mark(source, key_of(&node.metadata));
                self.machine_is(*node)
            }
            Watched::Unreadable(fault) => {
                self.mark(source, key_of(&fault.metadata));
                self.unreadable(Kind::Machine, *fault)
            }
            Watched::Gone { namespace, name } => self.machine_gone(&namespace, &name),
            Watched::Complete => {
                let known = self.declared.node_keys();
                let gone = self.missing(source, known);
                let mut told = Vec::new();
                for (namespace, name) in gone {
                    told.extend(self.machine_gone(&namespace, &name));
                }
                told.extend(self.complete(source));
                told
            }
        }
    }

    fn core_node(&mut self, source: Source, watched: Watched<NodeSeen>) -> Vec<Told> {
        match watched {
            Watched::Begin => self.begin(source),
            Watched::Is(node) => {
                self.mark(source, (String::new(), node.name.clone()));
                if self.loaded {
                    self.core_nodes.insert(node.name.clone(), None);
                    vec![Told::fact(Fact::NodeSeen(*node))]
                } else {
                    self.core_nodes.insert(node.name.clone(), Some(*node));
                    Vec::new()
                }
            }
            // Core Nodes are the API server's own kind: they always decode.
            Watched::Unreadable(_) => Vec::new(),
            Watched::Gone { name, .. } => self.core_node_gone(name),
            Watched::Complete => {
                let known = self
                    .core_nodes
                    .keys()
                    .map(|name| (String::new(), name.clone()))
                    .collect();
                let gone = self.missing(source, known);
                let mut told = Vec::new();
                for (_, name) in gone {
                    told.extend(self.core_node_gone(name));
                }
                told.extend(self.complete(source));
                told
            }
        }
    }

    fn group_is(&mut self, mut group: Group) -> Vec<Told> {
        let place = Place::of(&group.metadata);
        if group.metadata.deletion_timestamp.is_some() {
            return self.group_gone(&place.namespace, &place.name);
        }
        self.complained
            .remove(&(Kind::Group, key_of(&group.metadata)));
        let id = group_id(Some(&place.namespace), &place.name);
        let changed = self.declared.put_group(&group);
        let stored = self.mirror.saw_group(&id, place, group.status.take());
        let mut told = self.changes(changed);
        match stored {
            Stored::Foreign(record) if self.loaded => {
                told.push(Told::fact(Fact::GroupStored { group: id, record }));
            }
            Stored::Foreign(_) | Stored::Known => {}
        }
        told
    }

    fn group_gone(&mut self, namespace: &str, name: &str) -> Vec<Told> {
        let id = group_id(Some(namespace), name);
        self.declared
            .remove_group(&(namespace.to_owned(), name.to_owned()));
        self.mirror.forget_group(&id);
        self.changes(true)
    }

    fn machine_is(&mut self, mut node: Node) -> Vec<Told> {
        let place = Place::of(&node.metadata);
        let id = machine_id(&node);
        if node.metadata.deletion_timestamp.is_some() {
            let mut told = self.undo(&node, &place);
            told.extend(self.machine_gone(&place.namespace, &place.name));
            return told;
        }
        let key = key_of(&node.metadata);
        let changed = self.declared.put_node(&node);
        if !self.declared.is_owner(&key) {
            let mut told = self.changes(changed);
            let fault = self.declared.fault_of(&key);
            told.extend(
                fault.and_then(|fault| self.complain(Kind::Machine, place, &conflict(&fault))),
            );
            return told;
        }
        self.complained.remove(&(Kind::Machine, key));
        let agent = AgentId::new(node.spec.agent.as_deref().unwrap_or(id.as_str()));
        let pinned = documents::pinned_key(node.status.as_ref()).map(ToOwned::to_owned);
        self.mirror.owns(agent.clone(), id.clone());
        let stored = self.mirror.saw_machine(&id, place, node.status.take());
        let mut told = self.changes(changed);
        match stored {
            Stored::Foreign(record) if self.loaded => {
                let machine = id.clone();
                told.push(Told::fact(Fact::MachineStored { machine, record }));
            }
            Stored::Foreign(_) | Stored::Known => {}
        }
        told.extend(pinned.and_then(|key| self.pinned(agent, key)));
        told.extend(self.request(&id));
        told
    }

    fn machine_gone(&mut self, namespace: &str, name: &str) -> Vec<Told> {
        let id = MachineId::new(name);
        let key = (namespace.to_owned(), name.to_owned());
        if self.declared.is_owner(&key) {
            self.mirror.forget_machine(&id);
            self.asked.remove(&id);
        }
        self.declared.remove_node(&key);
        self.changes(true)
    }

    fn core_node_gone(&mut self, name: String) -> Vec<Told> {
        self.core_nodes.remove(&name);
        self.renewals.remove(&name);
        if self.loaded {
            vec![Told::fact(Fact::NodeGone { name })]
        } else {
            Vec::new()
        }
    }

    fn lease(&mut self, renewal: Renewal) -> Vec<Told> {
        let Renewal { node: name, at } = renewal;
        // At first sight nobody knows how old it is.
        let renewed = self
            .renewals
            .insert(name.clone(), at.clone())
            .is_some_and(|before| before != at);
        if renewed && self.loaded {
            vec![Told::fact(Fact::LeaseRenewed { name })]
        } else {
            Vec::new()
        }
    }

    fn lead(&mut self, epoch: u32) -> Vec<Told> {
        self.leading = true;
        let mut told = vec![Told::fact(Fact::Leading { epoch })];
        for id in self.mirror.machine_ids() {
            told.extend(self.request(&id));
        }
        told
    }

    /// A person's request, once, while this process leads.
    fn request(&mut self, id: &MachineId) -> Option<Told> {
        if !self.leading {
            return None;
        }
        let entry = self.mirror.machine(id)?;
        let request = documents::ask(id, entry.status.as_ref()?)?;
        let ask_id = entry.status.as_ref()?.ask.as_ref()?.id.clone();
        if self.asked.insert(id.clone(), ask_id.clone()) == Some(ask_id) {
            return None;
        }
        Some(Told::Ask(request))
    }

    fn pinned(&mut self, agent: AgentId, key: String) -> Option<Told> {
        let known = self.keys.insert(agent.clone(), key.clone());
        (self.loaded && known.as_ref() != Some(&key))
            .then_some(Told::fact(Fact::AgentStored { agent, key }))
    }

    fn undo(&mut self, node: &Node, place: &Place) -> Vec<Told> {
        let ours = place.finalizers.iter().any(|name| name == FINALIZER);
        if !ours || !self.undoing.insert(place.uid.clone()) {
            return Vec::new();
        }
        let record = documents::machine_record(node.status.as_ref());
        let name = node.spec.node_name.as_deref().unwrap_or(&place.name);
        vec![Told::Notice(Notice::Undo {
            place: place.clone(),
            node: name.to_owned(),
            cordoned: record.node_backup.is_some_and(|backup| backup.cordoned),
        })]
    }

    /// An object that does not decode keeps its last good declaration.
    fn unreadable(&mut self, kind: Kind, fault: InvalidObject) -> Vec<Told> {
        let findings = documents::invalid_spec(&fault.error);
        self.complain(kind, Place::of(&fault.metadata), &findings)
            .into_iter()
            .collect()
    }

    fn complain(&mut self, kind: Kind, place: Place, findings: &[Finding]) -> Option<Told> {
        let key = (kind, (place.namespace.clone(), place.name.clone()));
        let message = findings.first()?.message.clone();
        if self.complained.insert(key, message.clone()) == Some(message) {
            return None;
        }
        Some(Told::Notice(Notice::Findings {
            kind,
            place,
            findings: findings.to_vec(),
        }))
    }

    fn changes(&mut self, changed: bool) -> Vec<Told> {
        if !self.loaded || !changed {
            return Vec::new();
        }
        self.declared
            .changes()
            .into_iter()
            .map(Told::fact)
            .collect()
    }

    fn begin(&mut self, source: Source) -> Vec<Told> {
        self.listing.insert(source, BTreeSet::new());
        Vec::new()
    }

    fn mark(&mut self, source: Source, key: Key) {
        if let Some(seen) = self.listing.get_mut(&source) {
            seen.insert(key);
        }
    }

    /// Of what is known in the watch's namespace: what its list did not show.
    fn missing(&mut self, source: Source, known: Vec<Key>) -> Vec<Key> {
        let Some(seen) = self.listing.remove(&source) else {
            return Vec::new();
        };
        let scope = self.scopes.get(source.1).cloned().flatten();
        let in_scope = |key: &Key| {
            key.0.is_empty() || scope.as_ref().is_none_or(|namespace| *namespace == key.0)
        };
        known
            .into_iter()
            .filter(|key| in_scope(key) && !seen.contains(key))
            .collect()
    }

    fn complete(&mut self, source: Source) -> Vec<Told> {
        self.awaited.remove(&source);
        if self.loaded || !self.awaited.is_empty() {
            return Vec::new();
        }
        self.loaded = true;
        self.load().into_iter().map(Told::fact).collect()
    }

    fn load(&mut self) -> Vec<Fact> {
        let mut facts = self.declared.changes();
        for group in self.mirror.group_ids() {
            let entry = self.mirror.group(&group);
            let record = documents::group_record(entry.and_then(|entry| entry.status).as_ref());
            if record != GroupRecord::default() {
                facts.push(Fact::GroupStored { group, record });
            }
        }
        for machine in self.mirror.machine_ids() {
            let entry = self.mirror.machine(&machine);
            let record = documents::machine_record(entry.and_then(|entry| entry.status).as_ref());
            if record != MachineRecord::default() {
                facts.push(Fact::MachineStored { machine, record });
            }
        }
        let keys = self.keys.iter();
        facts.extend(keys.map(|(agent, key)| Fact::AgentStored {
            agent: agent.clone(),
            key: key.clone(),
        }));
        let nodes = self.core_nodes.values_mut();
        facts.extend(nodes.filter_map(Option::take).map(Fact::NodeSeen));
        facts.push(Fact::Loaded);
        facts
    }
}

const GROUPS: &str = "groups";
const MACHINES: &str = "machines";
const CORE: &str = "core nodes";

fn conflict(fault: &Fault) -> [Finding; 2] {
    use coordinator_crds::ConditionStatus::{False, True};
    [
        Finding::new("Conflict", True, fault.reason, &fault.message),
        Finding::new("Ready", False, fault.reason, &fault.message),
    ]
}

#[cfg(test)]
mod tests;
