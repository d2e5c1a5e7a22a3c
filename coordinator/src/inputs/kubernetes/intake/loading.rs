//! Whole lists: what is told once every first one has ended, and what a later one does not show any more.

use coordinator_core::{Fact, GroupRecord, MachineRecord};

use super::{Intake, Told};
use crate::{
    documents,
    inputs::kubernetes::{declared::Key, lists::Source, notices::Kind},
};

impl Intake {
    pub(super) fn begin(&mut self, source: Source) -> Vec<Told> {
        self.lists.begin(source);
        Vec::new()
    }

    /// Those that are declared, and those that something stands about: one that never decoded is not declared.
    pub(super) fn known(&self, kind: Kind, declared: Vec<Key>) -> Vec<Key> {
        let about = self.mirror.complaints().about().into_iter();
        let others = about.filter(|(of, key)| *of == kind && !declared.contains(key));
        let others: Vec<Key> = others.map(|(_, key)| key).collect();
        [declared, others].concat()
    }

    /// A list has ended: what is known and was not in it is gone.
    pub(super) fn complete(
        &mut self,
        (source, known): (Source, Vec<Key>),
        gone: fn(&mut Self, &Key) -> Vec<Told>,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        for key in self.lists.complete(source, known) {
            told.extend(gone(self, &key));
        }
        if !self.loaded && self.lists.all_complete() {
            self.loaded = true;
            told.extend(self.load().into_iter().map(Told::fact));
        }
        told
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
        facts.extend(self.volumes.known().map(Fact::LocalVolumes));
        facts.push(Fact::Loaded);
        facts
    }
}
