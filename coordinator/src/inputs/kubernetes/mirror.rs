//! What the API server holds of our Groups and Nodes, as far as this process has seen it.
//!
//! In: watch events, and the answers to our own writes. Out: what a write starts from, and whether an event tells of
//! somebody else's write. What is wrong with those that the core is not told about.
//! Holds: an older version never replaces a newer one, so the echo of an own write is recognised as such.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use coordinator_core::{AgentId, GroupId, GroupRecord, MachineId, MachineRecord};
use coordinator_crds::{GroupStatus, NodeStatus};
use kube::core::ObjectMeta;

use super::complaints::Complaints;
use crate::documents;

/// Which object a status belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub(crate) version: u64,
    pub(crate) generation: Option<i64>,
    pub(crate) finalizers: Vec<String>,
}

impl Place {
    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        Self {
            namespace: metadata
                .namespace
                .clone()
                .unwrap_or_else(|| documents::DEFAULT_NAMESPACE.to_owned()),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata
                .resource_version
                .as_deref()
                .and_then(|version| version.parse().ok())
                .unwrap_or_default(),
            generation: metadata.generation,
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
        }
    }

    /// Namespace and name.
    pub(crate) fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
}

/// One object: where it is, what its status holds, and what is being written to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry<S, R> {
    pub(crate) place: Place,
    /// Absent where the object has no status at all, which a patch must know.
    pub(crate) status: Option<S>,
    /// The record that a write under way, or one of unknown outcome, carries.
    writing: Option<R>,
    /// The generation whose description the API server refused.
    undescribable: Option<i64>,
    /// A wish has stood in this very Group.
    pub(crate) has_held_wish: bool,
}

/// What an event tells about the stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored<R> {
    /// Nothing new, or our own write.
    Known,
    /// Somebody else wrote this, or it is seen for the first time.
    Foreign(R),
}

/// Names of what an agent acts for, by agent.
type Owners = HashMap<AgentId, MachineId>;

#[derive(Default)]
struct Objects {
    groups: HashMap<GroupId, Entry<GroupStatus, GroupRecord>>,
    machines: HashMap<MachineId, Entry<NodeStatus, MachineRecord>>,
    owners: Owners,
}

/// Shared by the watches, which fill it, and the outputs, which write what differs from it.
#[derive(Default)]
pub struct Mirror {
    objects: Mutex<Objects>,
    complaints: Complaints,
}

impl Mirror {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        // A panic elsewhere cannot leave a map half changed.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with objects.
    pub(crate) fn complaints(&self) -> &Complaints {
        &self.complaints
    }

    /// A Group was seen.
    pub(crate) fn saw_group(
        &self,
        id: &GroupId,
        place: Place,
        status: Option<GroupStatus>,
    ) -> Stored<GroupRecord> {
        let mut objects = self.objects();
        let entry = objects.groups.entry(id.clone()).or_default();
        let stored = entry.see(place, status, documents::group_record);
        entry.note_wish();
        stored
    }

    /// A Node (ours) was seen.
    pub(crate) fn saw_machine(
        &self,
        id: &MachineId,
        place: Place,
        status: Option<NodeStatus>,
    ) -> Stored<MachineRecord> {
        let mut objects = self.objects();
        let entry = objects.machines.entry(id.clone()).or_default();
        entry.see(place, status, documents::machine_record)
    }

    /// An agent acts for a machine.
    pub(crate) fn owns(&self, agent: AgentId, machine: MachineId) {
        self.objects().owners.insert(agent, machine);
    }

    /// The machine whose own agent this is.
    pub(crate) fn machine_of(&self, agent: &AgentId) -> Option<MachineId> {
        self.objects().owners.get(agent).cloned()
    }

    /// Where the Group of this name is, as it was seen last.
    pub(crate) fn group_place(&self, id: &GroupId) -> Option<Place> {
        let objects = self.objects();
        Some(objects.groups.get(id)?.place.clone())
    }

    /// Where the Node (ours) of this name is, as it was seen last.
    pub(crate) fn machine_place(&self, id: &MachineId) -> Option<Place> {
        let objects = self.objects();
        Some(objects.machines.get(id)?.place.clone())
    }

    pub(crate) fn forget_group(&self, id: &GroupId) {
        self.objects().groups.remove(id);
    }

    pub(crate) fn forget_machine(&self, id: &MachineId) {
        let mut objects = self.objects();
        objects.machines.remove(id);
        objects.owners.retain(|_, machine| machine != id);
    }

    pub(crate) fn group(&self, id: &GroupId) -> Option<Entry<GroupStatus, GroupRecord>> {
        self.objects().groups.get(id).cloned()
    }

    pub(crate) fn machine(&self, id: &MachineId) -> Option<Entry<NodeStatus, MachineRecord>> {
        self.objects().machines.get(id).cloned()
    }

    /// Objects whose status was made from another generation of their declaration than the one that stands, or never. Not
    /// those whose description was refused: the next generation or another view may be taken.
    pub(crate) fn behind(&self) -> (Vec<GroupId>, Vec<MachineId>) {
        let objects = self.objects();
        let groups = objects.groups.iter().filter(|(_, entry)| {
            let described = entry.status.as_ref();
            entry.is_behind(described.and_then(|status| status.observed_generation))
        });
        let machines = objects.machines.iter().filter(|(_, entry)| {
            let described = entry.status.as_ref();
            entry.is_behind(described.and_then(|status| status.observed_generation))
        });
        (
            groups.map(|(id, _)| id.clone()).collect(),
            machines.map(|(id, _)| id.clone()).collect(),
        )
    }

    /// A record is about to be written: an event that shows it is our own. `None` ends that.
    pub(crate) fn writing_group(&self, id: &GroupId, record: Option<GroupRecord>) {
        if let Some(entry) = self.objects().groups.get_mut(id) {
            entry.writing = record;
        }
    }

    /// The same for a machine.
    pub(crate) fn writing_machine(&self, id: &MachineId, record: Option<MachineRecord>) {
        if let Some(entry) = self.objects().machines.get_mut(id) {
            entry.writing = record;
        }
    }

    /// The answer to an own write of a Group, or to reading it back.
    pub(crate) fn wrote_group(&self, id: &GroupId, place: Place, status: Option<GroupStatus>) {
        if let Some(entry) = self.objects().groups.get_mut(id) {
            entry.store(place, status);
            entry.note_wish();
        }
    }

    /// The same for a machine.
    pub(crate) fn wrote_machine(&self, id: &MachineId, place: Place, status: Option<NodeStatus>) {
        if let Some(entry) = self.objects().machines.get_mut(id) {
            entry.store(place, status);
        }
    }

    /// The API server refuses to store a description of this Group as it was there.
    pub(crate) fn refused_group(&self, id: &GroupId, place: &Place) {
        if let Some(entry) = self.objects().groups.get_mut(id) {
            entry.refuse(place);
        }
    }

    /// The same for a machine.
    pub(crate) fn refused_machine(&self, id: &MachineId, place: &Place) {
        if let Some(entry) = self.objects().machines.get_mut(id) {
            entry.refuse(place);
        }
    }

    /// Highest epoch in any stored token: whoever leads next must be above it.
    pub(crate) fn highest_epoch(&self) -> u32 {
        let objects = self.objects();
        let tokens = objects
            .machines
            .values()
            .filter_map(|entry| entry.status.as_ref()?.token);
        tokens
            .map(|token| u32::try_from(token.epoch).unwrap_or(u32::MAX))
            .max()
            .unwrap_or(0)
    }

    /// Ids of all machines.
    pub(crate) fn machine_ids(&self) -> Vec<MachineId> {
        self.objects().machines.keys().cloned().collect()
    }

    /// Ids of all groups.
    pub(crate) fn group_ids(&self) -> Vec<GroupId> {
        self.objects().groups.keys().cloned().collect()
    }
}

impl<R> Entry<GroupStatus, R> {
    fn note_wish(&mut self) {
        let status = self.status.as_ref();
        self.has_held_wish |= status.is_some_and(|status| status.wanted.is_some());
    }
}

impl<S, R: PartialEq> Entry<S, R> {
    fn see(
        &mut self,
        place: Place,
        status: Option<S>,
        record: impl Fn(Option<&S>) -> R,
    ) -> Stored<R> {
        let same_object = self.place.uid == place.uid;
        if same_object && !self.is_older_than(&place) {
            return Stored::Known;
        }
        let seen = record(status.as_ref());
        let known = same_object
            && (record(self.status.as_ref()) == seen || self.writing.as_ref() == Some(&seen));
        if !same_object {
            self.undescribable = None;
            self.has_held_wish = false;
        }
        self.place = place;
        self.status = status;
        if known {
            Stored::Known
        } else {
            Stored::Foreign(seen)
        }
    }

    fn store(&mut self, place: Place, status: Option<S>) {
        if self.place.uid == place.uid && self.is_older_than(&place) {
            self.place = place;
            self.status = status;
        }
    }

    fn refuse(&mut self, place: &Place) {
        if self.place.uid == place.uid {
            self.undescribable = place.generation;
        }
    }

    fn is_behind(&self, described: Option<i64>) -> bool {
        let generation = self.place.generation;
        described != generation && self.undescribable != generation
    }

    /// Versions that are no numbers cannot be ordered; then the later to arrive counts.
    fn is_older_than(&self, place: &Place) -> bool {
        place.version == 0 || self.place.version == 0 || place.version > self.place.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coordinator_core::PowerRecord;
    use coordinator_core::PowerState;

    fn place(uid: &str, version: u64) -> Place {
        Place {
            namespace: "lab".into(),
            name: "nuc1".into(),
            uid: uid.into(),
            version,
            ..Place::default()
        }
    }

    fn record(since_ms: i64) -> MachineRecord {
        MachineRecord {
            power: PowerRecord {
                state: PowerState::Running,
                witness: None,
                since_ms,
            },
            ..MachineRecord::default()
        }
    }

    fn status(record: &MachineRecord) -> Option<NodeStatus> {
        let mut status = NodeStatus::default();
        documents::store_machine(record, &mut status);
        Some(status)
    }

    #[test]
    fn the_echo_of_an_own_write_is_no_news_in_whatever_order_it_comes() {
        let id = MachineId::new("nuc1");
        let mirror = Mirror::default();
        let first = Stored::Foreign(record(1_000));
        assert_eq!(
            mirror.saw_machine(&id, place("u", 5), status(&record(1_000))),
            first
        );

        // The event comes before the answer.
        mirror.writing_machine(&id, Some(record(2_000)));
        assert_eq!(
            mirror.saw_machine(&id, place("u", 6), status(&record(2_000))),
            Stored::Known
        );
        mirror.wrote_machine(&id, place("u", 6), status(&record(2_000)));
        mirror.writing_machine(&id, None);

        // The answer comes before the event, and a late event brings what stood there before.
        mirror.writing_machine(&id, Some(record(3_000)));
        mirror.wrote_machine(&id, place("u", 8), status(&record(3_000)));
        mirror.writing_machine(&id, None);
        assert_eq!(
            mirror.saw_machine(&id, place("u", 7), status(&record(2_000))),
            Stored::Known
        );
        assert_eq!(
            mirror.saw_machine(&id, place("u", 8), status(&record(3_000))),
            Stored::Known
        );
    }

    #[test]
    fn what_somebody_else_writes_is_news() {
        let id = MachineId::new("nuc1");
        let mirror = Mirror::default();
        mirror.saw_machine(&id, place("u", 5), status(&record(1_000)));
        let foreign = record(9_000);
        assert_eq!(
            mirror.saw_machine(&id, place("u", 6), status(&foreign)),
            Stored::Foreign(foreign)
        );
    }

    #[test]
    fn an_object_made_anew_is_news_even_at_a_lower_version() {
        let id = MachineId::new("nuc1");
        let mirror = Mirror::default();
        mirror.saw_machine(&id, place("u", 5), status(&record(1_000)));
        assert_eq!(
            mirror.saw_machine(&id, place("v", 3), None),
            Stored::Foreign(MachineRecord::default())
        );
    }

    #[test]
    fn an_edit_that_changes_nothing_shown_leaves_a_status_behind_until_it_is_described_anew() {
        let id = MachineId::new("nuc1");
        let mirror = Mirror::default();
        let at = |version, generation| Place {
            generation: Some(generation),
            ..place("u", version)
        };
        let described = |generation| {
            Some(NodeStatus {
                observed_generation: generation,
                ..NodeStatus::default()
            })
        };
        let behind = || mirror.behind().1;
        mirror.saw_machine(&id, at(5, 1), described(None));
        assert_eq!(behind(), std::slice::from_ref(&id), "never described");
        mirror.wrote_machine(&id, at(6, 1), described(Some(1)));
        assert!(behind().is_empty(), "up to date");
        mirror.saw_machine(&id, at(7, 2), described(Some(1)));
        assert_eq!(behind(), std::slice::from_ref(&id));
        mirror.wrote_machine(&id, at(8, 2), described(Some(2)));
        assert!(behind().is_empty(), "described anew");

        mirror.saw_machine(&id, at(9, 3), described(Some(2)));
        mirror.refused_machine(&id, &at(9, 3));
        assert!(behind().is_empty(), "not tried again");
        mirror.saw_machine(&id, at(10, 4), described(Some(2)));
        assert_eq!(behind(), std::slice::from_ref(&id), "the next generation");
        mirror.refused_machine(&id, &at(10, 4));
        mirror.saw_machine(
            &id,
            Place {
                uid: "v".into(),
                ..at(11, 4)
            },
            None,
        );
        assert_eq!(behind(), std::slice::from_ref(&id), "another object");
    }

    #[test]
    fn the_next_leader_starts_above_every_stored_epoch() {
        let mirror = Mirror::default();
        assert_eq!(mirror.highest_epoch(), 0);
        for (name, epoch) in [("a", 3), ("b", 7), ("c", 5)] {
            let record = MachineRecord {
                token: coordinator_core::Token { epoch, seq: 1 },
                ..MachineRecord::default()
            };
            mirror.saw_machine(&MachineId::new(name), place(name, 1), status(&record));
        }
        assert_eq!(mirror.highest_epoch(), 7);
    }
}
