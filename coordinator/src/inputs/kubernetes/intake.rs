//! From what the watches tell to what the engine is told.
//!
//! In: [`Seen`], one after the other. Out: [`Told`]: facts, requests of people, notices for the outputs.
//! Holds: nothing is told before every first list is complete; then everything at once, `Loaded` last.
//! Holds: after a list that starts over, what is not in it any more is told as gone.
//! Holds: the echo of our own writes is no fact.

mod arrivals;
mod loading;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use coordinator_core::{AgentId, Fact, GroupRecord, MachineId, MachineRecord, NodeSeen, Request};
use coordinator_crds::{Group, Node, NodeStatus};
use kube::core::error_boundary::InvalidObject;

use super::{
    declared::{Declared, Key, key_of},
    lists::{Listed, Lists, Source},
    mirror::{Mirror, Place, Stored},
    notices::{Complaint, FINALIZER, Kind, Notice, Undo},
    volumes::{VolumeSeen, Volumes},
    watches::{Renewal, Seen, Watched},
};
use crate::documents::{self, Fault, Finding, group_id};

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

/// Everything the watches have told so far.
pub(super) struct Intake {
    mirror: Arc<Mirror>,
    lists: Lists,
    declared: Declared,
    /// Nodes (ours) whose name an older one has: what is needed of each on the day when it is the machine of that name.
    rivals: BTreeMap<Key, (Place, Option<NodeStatus>)>,
    /// Known core Nodes. Their content is kept only until everything is loaded.
    core_nodes: BTreeMap<String, Option<NodeSeen>>,
    volumes: Volumes,
    renewals: HashMap<String, Option<String>>,
    keys: BTreeMap<AgentId, String>,
    asked: BTreeMap<MachineId, String>,
    /// Nodes (ours) whose marks are being undone, by uid.
    undoing: BTreeMap<Key, String>,
    loaded: bool,
    leading: bool,
}

impl Intake {
    pub(super) fn new(mirror: Arc<Mirror>, scopes: Vec<Option<String>>) -> Self {
        Self {
            mirror,
            lists: Lists::new(scopes),
            declared: Declared::default(),
            rivals: BTreeMap::new(),
            core_nodes: BTreeMap::new(),
            volumes: Volumes::default(),
            renewals: HashMap::new(),
            keys: BTreeMap::new(),
            asked: BTreeMap::new(),
            undoing: BTreeMap::new(),
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
        self.changes()
    }

    /// Takes one event in.
    pub(super) fn take(&mut self, seen: Seen) -> Vec<Told> {
        match seen {
            Seen::Group(number, watched) => self.group((Listed::Groups, number), watched),
            Seen::Machine(number, watched) => self.machine((Listed::Machines, number), watched),
            Seen::CoreNode(watched) => self.core_node((Listed::CoreNodes, 0), watched),
            Seen::Volume(watched) => self.volume(watched),
            Seen::Lease(renewal) => self.lease(renewal),
            Seen::RelayKeys(keys) => self.relay_keys(keys),
            Seen::Lead { epoch } => self.lead(epoch),
        }
    }

    fn group(&mut self, source: Source, watched: Watched<Group>) -> Vec<Told> {
        match watched {
            Watched::Begin => self.begin(source),
            Watched::Is(group) => {
                let arrival = self.group_arrives(source, &Place::of(&group.metadata));
                self.once(arrival, |intake| intake.group_is(*group))
            }
            Watched::Unreadable(fault) => {
                let arrival = self.group_arrives(source, &Place::of(&fault.metadata));
                self.once(arrival, |intake| intake.unreadable(Kind::Group, *fault))
            }
            Watched::Gone { key, uid } => {
                let known = self.mirror.group_place(&group_id(Some(&key.0), &key.1));
                if known.is_some_and(|known| known.uid != uid) {
                    return Vec::new();
                }
                self.group_gone(&key)
            }
            Watched::Complete => {
                let known = self.known(Kind::Group, self.declared.group_keys());
                self.complete((source, known), Self::group_gone)
            }
        }
    }

    fn machine(&mut self, source: Source, watched: Watched<Node>) -> Vec<Told> {
        match watched {
            Watched::Begin => self.begin(source),
            Watched::Is(node) => {
                let arrival = self.machine_arrives(source, &Place::of(&node.metadata));
                self.once(arrival, |intake| intake.machine_is(*node))
            }
            Watched::Unreadable(fault) => {
                let arrival = self.machine_arrives(source, &Place::of(&fault.metadata));
                self.once(arrival, |intake| intake.unreadable(Kind::Machine, *fault))
            }
            Watched::Gone { key, uid } => {
                if self
                    .machine_place(&key)
                    .is_some_and(|known| known.uid != uid)
                {
                    return Vec::new();
                }
                self.machine_gone(&key)
            }
            Watched::Complete => {
                let known = self.known(Kind::Machine, self.declared.node_keys());
                self.complete((source, known), Self::machine_gone)
            }
        }
    }

    fn core_node(&mut self, source: Source, watched: Watched<NodeSeen>) -> Vec<Told> {
        match watched {
            Watched::Begin => self.begin(source),
            Watched::Is(node) => {
                self.lists.show(source, (String::new(), node.name.clone()));
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
            Watched::Gone { key, .. } => self.core_node_gone(&key),
            Watched::Complete => {
                let in_none = |name: &String| (String::new(), name.clone());
                let known = self.core_nodes.keys().map(in_none).collect();
                self.complete((source, known), Self::core_node_gone)
            }
        }
    }

    fn group_is(&mut self, mut group: Group) -> Vec<Told> {
        let place = Place::of(&group.metadata);
        if group.metadata.deletion_timestamp.is_some() {
            return self.group_gone(&place.key());
        }
        let mended = self.sound(Kind::Group, &place.key());
        let id = group_id(Some(&place.namespace), &place.name);
        self.declared.put_group(&group);
        let mut told = Vec::new();
        match self.mirror.saw_group(&id, place, group.status.take()) {
            Stored::Foreign(record) if self.loaded => {
                told.push(Told::fact(Fact::GroupStored { group: id, record }));
            }
            Stored::Foreign(_) | Stored::Known => {}
        }
        told.extend(self.changes());
        told.extend(mended);
        told
    }

    fn group_gone(&mut self, key: &Key) -> Vec<Told> {
        let mut told = self.forget_group(key);
        told.extend(self.changes());
        told
    }

    /// The wish for it was stored in the object, and goes with it.
    fn forget_group(&mut self, key: &Key) -> Vec<Told> {
        let id = group_id(Some(&key.0), &key.1);
        self.mirror.complaints().over(Kind::Group, key);
        self.declared.remove_group(key);
        self.mirror.forget_group(&id);
        let Some(removed) = self.declared.forget_group(&id) else {
            return Vec::new();
        };
        let (group, record) = (id, GroupRecord::default());
        let stored = Fact::GroupStored { group, record };
        [removed, stored].map(Told::fact).into()
    }

    fn machine_is(&mut self, mut node: Node) -> Vec<Told> {
        let place = Place::of(&node.metadata);
        let key = place.key();
        if node.metadata.deletion_timestamp.is_some() {
            let mut told = self.undo(&node, &place);
            told.extend(self.machine_gone(&key));
            return told;
        }
        self.declared.put_node(&node);
        let seen = (place, node.status.take());
        if self.declared.is_owner(&key) {
            let mut told: Vec<Told> = self.outdo(&key).into_iter().collect();
            told.extend(self.owner_is(&key, seen));
            told
        } else {
            let mut told = self.changes();
            told.extend(self.stand_back(key, seen));
            told
        }
    }

    /// Whoever has been the machine of this name until now is none any more where this Node is older.
    fn outdo(&mut self, key: &Key) -> Option<Told> {
        let id = MachineId::new(&key.1);
        let other = self.mirror.machine_place(&id)?.key();
        if other == *key {
            return None;
        }
        let entry = self.mirror.machine(&id)?;
        self.stand_back(other, (entry.place, entry.status))
    }

    /// An older Node has the same name.
    fn stand_back(&mut self, key: Key, seen: (Place, Option<NodeStatus>)) -> Option<Told> {
        let fault = self.declared.fault_of(&key);
        let place = seen.0.clone();
        self.rivals.insert(key, seen);
        self.complain(Kind::Machine, place, &conflict(&fault?))
    }

    /// This Node is the machine of its name. If another one was until now, what was stored in that is nothing to this one.
    fn owner_is(&mut self, key: &Key, (place, status): (Place, Option<NodeStatus>)) -> Vec<Told> {
        let id = MachineId::new(&key.1);
        self.rivals.remove(key);
        let mended = self.sound(Kind::Machine, key);
        let agent = self.declared.agent_of(key);
        let pinned = documents::pinned_key(status.as_ref()).map(ToOwned::to_owned);
        let mut told = Vec::new();
        let known = self.mirror.machine_place(&id);
        if known.is_some_and(|known| known.uid != place.uid) {
            told.extend(self.declared.forget_machine(&id).map(Told::fact));
        }
        self.mirror.owns(agent.clone(), id.clone());
        match self.mirror.saw_machine(&id, place, status) {
            Stored::Foreign(record) if self.loaded => {
                let machine = id.clone();
                told.push(Told::fact(Fact::MachineStored { machine, record }));
            }
            Stored::Foreign(_) | Stored::Known => {}
        }
        told.extend(self.changes());
        told.extend(pinned.and_then(|key| self.pinned(agent, key)));
        told.extend(self.request(&id));
        told.extend(mended);
        told
    }

    fn machine_gone(&mut self, key: &Key) -> Vec<Told> {
        let mut told = self.forget_machine(key);
        told.extend(self.changes());
        told
    }

    /// What was stored of it goes with its object.
    fn forget_machine(&mut self, key: &Key) -> Vec<Told> {
        let was_owner = self.declared.is_owner(key);
        self.mirror.complaints().over(Kind::Machine, key);
        self.declared.remove_node(key);
        self.rivals.remove(key);
        if !was_owner {
            return Vec::new();
        }
        let id = MachineId::new(&key.1);
        self.mirror.forget_machine(&id);
        self.asked.remove(&id);
        let mut told = Vec::new();
        if let Some(removed) = self.declared.forget_machine(&id) {
            let (machine, record) = (id.clone(), MachineRecord::default());
            let stored = Fact::MachineStored { machine, record };
            told.extend([removed, stored].map(Told::fact));
        }
        // The name may have gone to one that had stood back, of which no further event need come.
        let heir = self.declared.owner_of(&id);
        if let Some((heir, seen)) = heir.and_then(|heir| self.rivals.remove_entry(&heir)) {
            told.extend(self.owner_is(&heir, seen));
        }
        told
    }

    fn core_node_gone(&mut self, (_, name): &Key) -> Vec<Told> {
        self.core_nodes.remove(name);
        self.renewals.remove(name);
        if self.loaded {
            vec![Told::fact(Fact::NodeGone { name: name.clone() })]
        } else {
            Vec::new()
        }
    }

    /// Nothing waits for the list of volumes: without the right to see them machines still wake and stop.
    fn volume(&mut self, watched: Watched<VolumeSeen>) -> Vec<Told> {
        let news = self.volumes.take(watched).filter(|_| self.loaded);
        let fact = news.map(|known| Told::fact(Fact::LocalVolumes(known)));
        fact.into_iter().collect()
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
        let complaints = self.mirror.complaints().about();
        told.extend(complaints.into_iter().map(complaint));
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

    /// What a machine's own status pins counts before them.
    fn relay_keys(&self, keys: BTreeMap<AgentId, String>) -> Vec<Told> {
        let relays = keys
            .into_iter()
            .filter(|(agent, _)| !self.keys.contains_key(agent));
        relays
            .map(|(agent, key)| Told::fact(Fact::AgentStored { agent, key }))
            .collect()
    }

    fn undo(&mut self, node: &Node, place: &Place) -> Vec<Told> {
        let ours = place.finalizers.iter().any(|name| name == FINALIZER);
        let key = key_of(&node.metadata);
        let uid = Some(place.uid.clone());
        if !ours || self.undoing.insert(key, place.uid.clone()) == uid {
            return Vec::new();
        }
        let record = documents::machine_record(node.status.as_ref());
        let name = node.spec.node_name.as_deref().unwrap_or(&place.name);
        vec![Told::Notice(Notice::Undo(Undo {
            place: place.clone(),
            node: name.to_owned(),
            cordoned: record.node_backup.is_some_and(|backup| backup.cordoned),
        }))]
    }

    /// An object that does not decode keeps its last good declaration.
    fn unreadable(&mut self, kind: Kind, fault: InvalidObject) -> Vec<Told> {
        let findings = documents::invalid_spec(&fault.error);
        let mut told = self.changes();
        told.extend(self.complain(kind, Place::of(&fault.metadata), &findings));
        told
    }

    /// Noted always, and told while this process leads: whoever follows has nobody to tell it to.
    fn complain(&mut self, kind: Kind, place: Place, findings: &[Finding]) -> Option<Told> {
        let key = place.key();
        let is_news = self.mirror.complaints().found(kind, place, findings);
        (is_news && self.leading).then(|| complaint((kind, key)))
    }

    /// Whatever stood about an object is over.
    fn sound(&mut self, kind: Kind, key: &Key) -> Option<Told> {
        let mended = self.mirror.complaints().over(kind, key);
        (mended && self.leading).then(|| complaint((kind, key.clone())))
    }

    fn changes(&mut self) -> Vec<Told> {
        if !self.loaded {
            return Vec::new();
        }
        self.declared
            .changes()
            .into_iter()
            .map(Told::fact)
            .collect()
    }
}

fn complaint((kind, key): (Kind, Key)) -> Told {
    Told::Notice(Notice::Complaint(Complaint::Object(kind, key)))
}

fn conflict(fault: &Fault) -> [Finding; 2] {
    use coordinator_crds::ConditionStatus::{False, True};
    [
        Finding::new("Conflict", True, fault.reason, &fault.message),
        Finding::new("Ready", False, fault.reason, &fault.message),
    ]
}

#[cfg(test)]
mod tests;
