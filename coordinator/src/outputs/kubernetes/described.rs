//! Which statuses are out of date: those made from another view than the latest.
//!
//! In: the latest view, and what was written. Out: jobs.
//! Holds: what could not be written stays out of date.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use coordinator_core::{GroupId, GroupView, MachineId, MachineView, PhaseName, View};

use super::backlog::Job;
use crate::{documents::group_id, inputs::kubernetes::Kind};

/// The views that the stored statuses were made from.
#[derive(Default)]
pub(super) struct Described(Mutex<Views>);

#[derive(Default)]
struct Views {
    groups: HashMap<GroupId, (Arc<GroupView>, Members)>,
    machines: HashMap<MachineId, Arc<MachineView>>,
}

impl Described {
    fn views(&self) -> MutexGuard<'_, Views> {
        // A panic elsewhere cannot leave a map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine's status was written from this.
    pub(super) fn machine(&self, shown: &Arc<MachineView>) {
        let id = shown.id.clone();
        self.views().machines.insert(id, Arc::clone(shown));
    }

    /// A group's status was written from this.
    pub(super) fn group(&self, id: &GroupId, view: &View) {
        if let Some(shown) = view.groups.get(id) {
            let shown = (Arc::clone(shown), members(view, id));
            self.views().groups.insert(id.clone(), shown);
        }
    }

    /// Something else was written over an object's description.
    pub(super) fn forget(&self, kind: Kind, (namespace, name): &(String, String)) {
        let mut views = self.views();
        match kind {
            Kind::Group => drop(views.groups.remove(&group_id(Some(namespace), name))),
            Kind::Machine => drop(views.machines.remove(&MachineId::new(name))),
        }
    }

    /// What was wrong with a machine's declaration when it was described last.
    pub(super) fn fault(&self, id: &MachineId) -> Option<String> {
        self.views().machines.get(id)?.fault.clone()
    }

    /// Jobs for everything whose view is not the one that was described last.
    pub(super) fn outdated(&self, view: &View) -> Vec<Job> {
        let mut described = self.views();
        described
            .machines
            .retain(|id, _| view.machines.contains_key(id));
        described
            .groups
            .retain(|id, _| view.groups.contains_key(id));
        let mut jobs = Vec::new();
        for (id, now) in &view.machines {
            let same = |old: &Arc<MachineView>| Arc::ptr_eq(old, now) || old == now;
            if !described.machines.get(id).is_some_and(same) {
                jobs.push(Job::DescribeMachine(id.clone()));
            }
        }
        for (id, now) in &view.groups {
            let members = members(view, id);
            let same = |(old, counted): &(Arc<GroupView>, Members)| {
                (Arc::ptr_eq(old, now) || old == now) && *counted == members
            };
            if !described.groups.get(id).is_some_and(same) {
                jobs.push(Job::DescribeGroup(id.clone()));
            }
        }
        jobs
    }
}

/// What a group's status tells of its members.
type Members = BTreeMap<MachineId, (PhaseName, bool, bool, bool)>;

fn members(view: &View, id: &GroupId) -> Members {
    view.machines
        .values()
        .filter(|machine| machine.group == *id)
        .map(|machine| {
            let quarantined = machine.quarantined_until_ms.is_some();
            let told = (
                machine.phase,
                machine.ready,
                quarantined,
                machine.fault.is_some(),
            );
            (machine.id.clone(), told)
        })
        .collect()
}
