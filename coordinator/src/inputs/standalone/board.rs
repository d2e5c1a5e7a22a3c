//! The lab as `kubectl get -o json` would show it: every Group and Node with its status.
//!
//! In: what is declared, what is stored, the engine's view. Out: custom resources with status.
//! Holds: conditions keep their transition times from one showing to the next, as they would in a cluster.
//! Not here: the words (`documents`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coordinator_core::{GroupId, MachineId, MachineView, View};
use coordinator_crds::{Condition, Group, GroupStatus, Node, NodeStatus};
use tokio::{sync::watch, time};

use super::Declared;
use crate::{
    clock,
    documents::{self, Present},
    outputs::standalone::Memory,
};

/// Shortest time between two showings that nobody asked for: as precise as the transition times are.
const PACE: Duration = Duration::from_secs(1);

/// The lab, shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// Every Group with its status.
    pub groups: Vec<Group>,
    /// Every Node with its status.
    pub nodes: Vec<Node>,
}

/// Makes [`Shown`].
#[derive(Debug)]
pub struct Board {
    declared: watch::Receiver<Arc<Declared>>,
    memory: Memory,
    last: Mutex<Conditions>,
}

/// The conditions as they were shown last.
#[derive(Debug, Default)]
struct Conditions {
    groups: BTreeMap<GroupId, Vec<Condition>>,
    nodes: BTreeMap<MachineId, Vec<Condition>>,
}

impl Board {
    /// A board that has shown nothing yet.
    #[must_use]
    pub fn new(declared: watch::Receiver<Arc<Declared>>, memory: Memory) -> Self {
        Self {
            declared,
            memory,
            last: Mutex::default(),
        }
    }

    /// The lab as `view` has it.
    pub fn show(&self, view: &View) -> Shown {
        let declared = Arc::clone(&self.declared.borrow());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let showing = self.showing(view);
        let shown = Shown {
            groups: declared
                .groups
                .iter()
                .map(|(id, group)| Group {
                    status: Some(showing.group(id, &mut last)),
                    ..group.clone()
                })
                .collect(),
            nodes: declared
                .nodes
                .iter()
                .map(|(id, node)| Node {
                    status: Some(showing.node(id, &mut last)),
                    ..node.to_node()
                })
                .collect(),
        };
        last.keep(&declared);
        shown
    }

    /// Follows the view, so that a condition's transition time is when it moved and not when somebody looked.
    pub async fn follow(&self, mut view: watch::Receiver<Arc<View>>) {
        while view.changed().await.is_ok() {
            let now = Arc::clone(&view.borrow_and_update());
            let declared = Arc::clone(&self.declared.borrow());
            self.remember(&declared, &now);
            time::sleep(PACE).await;
        }
    }

    /// Shows the conditions to nobody: one status at a time, because a thousand of them take megabytes.
    fn remember(&self, declared: &Declared, view: &View) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let showing = self.showing(view);
        for id in declared.groups.keys() {
            showing.group(id, &mut last);
        }
        for id in declared.nodes.keys() {
            showing.node(id, &mut last);
        }
        last.keep(declared);
    }

    fn showing<'a>(&'a self, view: &'a View) -> Showing<'a> {
        Showing {
            view,
            memory: &self.memory,
            members: members(view),
            present: Present {
                generation: None,
                now_ms: clock::now().wall_ms,
            },
        }
    }
}

impl Conditions {
    /// Forgets what is not declared any more.
    fn keep(&mut self, declared: &Declared) {
        self.groups.retain(|id, _| declared.groups.contains_key(id));
        self.nodes.retain(|id, _| declared.nodes.contains_key(id));
    }
}

/// What one showing is made from.
struct Showing<'a> {
    view: &'a View,
    memory: &'a Memory,
    members: BTreeMap<&'a GroupId, Vec<&'a MachineView>>,
    present: Present,
}

impl Showing<'_> {
    /// A machine's status; its conditions are remembered.
    fn node(&self, id: &MachineId, last: &mut Conditions) -> NodeStatus {
        let last = last.nodes.entry(id.clone()).or_default();
        let mut status = NodeStatus {
            conditions: last.clone(),
            ..NodeStatus::default()
        };
        documents::store_machine(&self.memory.record(id), &mut status);
        // The engine may not have seen a machine yet that was declared a moment ago.
        if let Some(machine) = self.view.machines.get(id) {
            documents::describe_machine(machine, self.present, &mut status);
        }
        last.clone_from(&status.conditions);
        status
    }

    /// A group's status; its conditions are remembered.
    fn group(&self, id: &GroupId, last: &mut Conditions) -> GroupStatus {
        let last = last.groups.entry(id.clone()).or_default();
        let mut status = GroupStatus {
            wanted: Some(documents::wanted(&self.memory.wish(id))),
            conditions: last.clone(),
            ..GroupStatus::default()
        };
        if let Some(group) = self.view.groups.get(id) {
            let members = self.members.get(id).map(Vec::as_slice).unwrap_or_default();
            documents::describe_group(group, members, self.present, &mut status);
        }
        last.clone_from(&status.conditions);
        status
    }
}

fn members(view: &View) -> BTreeMap<&GroupId, Vec<&MachineView>> {
    let mut members: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for machine in view.machines.values() {
        members
            .entry(&machine.group)
            .or_default()
            .push(machine.as_ref());
    }
    members
}
