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
        let (groups, nodes) = self.statuses(&declared, view);
        Shown {
            groups: declared
                .groups
                .values()
                .zip(groups)
                .map(|(group, status)| Group {
                    status: Some(status),
                    ..group.clone()
                })
                .collect(),
            nodes: declared
                .nodes
                .values()
                .zip(nodes)
                .map(|(node, status)| Node {
                    status: Some(status),
                    ..node.clone()
                })
                .collect(),
        }
    }

    /// Follows the view, so that a condition's transition time is when it moved and not when somebody looked.
    pub async fn follow(&self, mut view: watch::Receiver<Arc<View>>) {
        while view.changed().await.is_ok() {
            let now = Arc::clone(&view.borrow_and_update());
            let declared = Arc::clone(&self.declared.borrow());
            self.statuses(&declared, &now);
            time::sleep(PACE).await;
        }
    }

    /// The statuses in the order of the declarations. Remembers their conditions.
    fn statuses(&self, declared: &Declared, view: &View) -> (Vec<GroupStatus>, Vec<NodeStatus>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let showing = Showing {
            view,
            memory: &self.memory,
            members: members(view),
            present: Present {
                generation: None,
                now_ms: clock::now().wall_ms,
            },
        };
        let groups: Vec<GroupStatus> = declared
            .groups
            .keys()
            .map(|id| showing.group(id, last.groups.remove(id)))
            .collect();
        let nodes: Vec<NodeStatus> = declared
            .nodes
            .keys()
            .map(|id| showing.node(id, last.nodes.remove(id)))
            .collect();
        let group_conditions = groups.iter().map(|status| status.conditions.clone());
        let node_conditions = nodes.iter().map(|status| status.conditions.clone());
        *last = Conditions {
            groups: declared
                .groups
                .keys()
                .cloned()
                .zip(group_conditions)
                .collect(),
            nodes: declared
                .nodes
                .keys()
                .cloned()
                .zip(node_conditions)
                .collect(),
        };
        (groups, nodes)
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
    fn node(&self, id: &MachineId, last: Option<Vec<Condition>>) -> NodeStatus {
        let mut status = NodeStatus {
            conditions: last.unwrap_or_default(),
            ..NodeStatus::default()
        };
        documents::store_machine(&self.memory.record(id), &mut status);
        // The engine may not have seen a machine yet that was declared a moment ago.
        if let Some(machine) = self.view.machines.get(id) {
            documents::describe_machine(machine, self.present, &mut status);
        }
        status
    }

    fn group(&self, id: &GroupId, last: Option<Vec<Condition>>) -> GroupStatus {
        let mut status = GroupStatus {
            wanted: Some(documents::wanted(&self.memory.wish(id))),
            conditions: last.unwrap_or_default(),
            ..GroupStatus::default()
        };
        if let Some(group) = self.view.groups.get(id) {
            let members = self.members.get(id).map(Vec::as_slice).unwrap_or_default();
            documents::describe_group(group, members, self.present, &mut status);
        }
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
