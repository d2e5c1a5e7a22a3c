//! The lab as `kubectl get -o json` would show it: every Group and Node with its status.
//!
//! In: what is declared, what is stored, the engine's view. Out: custom resources with status.
//! Holds: conditions keep their transition times from one showing to the next, as they would in a cluster.
//! Not here: the words (`documents`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coordinator_core::{GroupId, MachineId, MachineView, View};
use coordinator_crds::{Condition, ConditionStatus, Group, GroupStatus, Node, NodeStatus, Time};
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

/// Since when the conditions are what they were shown as last.
#[derive(Debug, Default)]
struct Conditions {
    groups: BTreeMap<GroupId, Moves>,
    nodes: BTreeMap<MachineId, Moves>,
    /// Each type once, for all objects.
    types: BTreeSet<Arc<str>>,
}

/// Those of one object.
type Moves = Box<[Moved]>;

/// A condition without the words about it, which every showing finds anew.
#[derive(Debug)]
struct Moved {
    type_: Arc<str>,
    status: ConditionStatus,
    at: Time,
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
        let mut before = Arc::default();
        while view.changed().await.is_ok() {
            let now = Arc::clone(&view.borrow_and_update());
            let declared = Arc::clone(&self.declared.borrow());
            self.remember(&declared, (&before, &now));
            before = now;
            time::sleep(PACE).await;
        }
    }

    /// Shows the conditions of what has changed to nobody: one status at a time, because a thousand of them take megabytes.
    fn remember(&self, declared: &Declared, (before, now): (&View, &View)) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let showing = self.showing(now);
        // A group's say what its members do, and are few.
        for id in declared.groups.keys() {
            showing.group(id, &mut last);
        }
        for id in declared.nodes.keys() {
            if !is_same(before.machines.get(id), now.machines.get(id)) {
                showing.node(id, &mut last);
            }
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

/// What has not changed is one value in both snapshots.
fn is_same(before: Option<&Arc<MachineView>>, now: Option<&Arc<MachineView>>) -> bool {
    before
        .zip(now)
        .is_some_and(|(before, now)| Arc::ptr_eq(before, now))
}

impl Moved {
    fn to_condition(&self) -> Condition {
        Condition {
            type_: self.type_.to_string(),
            status: self.status,
            reason: String::new(),
            message: String::new(),
            last_transition_time: self.at.clone(),
            observed_generation: None,
        }
    }
}

/// What was shown last, for the next showing to go on from.
fn last(moves: Option<&Moves>) -> Vec<Condition> {
    let moves = moves.into_iter().flatten();
    moves.map(Moved::to_condition).collect()
}

/// What of a showing stays.
fn moves(types: &mut BTreeSet<Arc<str>>, shown: &[Condition]) -> Moves {
    let mut moved = |condition: &Condition| {
        let known = types.get(condition.type_.as_str()).cloned();
        let type_ = known.unwrap_or_else(|| {
            let type_: Arc<str> = condition.type_.as_str().into();
            types.insert(Arc::clone(&type_));
            type_
        });
        Moved {
            type_,
            status: condition.status,
            at: condition.last_transition_time.clone(),
        }
    };
    shown.iter().map(&mut moved).collect()
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
    fn node(&self, id: &MachineId, conditions: &mut Conditions) -> NodeStatus {
        let mut status = NodeStatus {
            conditions: last(conditions.nodes.get(id)),
            ..NodeStatus::default()
        };
        documents::store_machine(&self.memory.record(id), &mut status);
        // The engine may not have seen a machine yet that was declared a moment ago.
        if let Some(machine) = self.view.machines.get(id) {
            documents::describe_machine(machine, self.present, &mut status);
        }
        let moves = moves(&mut conditions.types, &status.conditions);
        conditions.nodes.insert(id.clone(), moves);
        status
    }

    /// A group's status; its conditions are remembered.
    fn group(&self, id: &GroupId, conditions: &mut Conditions) -> GroupStatus {
        let mut status = GroupStatus {
            wanted: Some(documents::wanted(&self.memory.wish(id))),
            conditions: last(conditions.groups.get(id)),
            ..GroupStatus::default()
        };
        if let Some(group) = self.view.groups.get(id) {
            let members = self.members.get(id).map(Vec::as_slice).unwrap_or_default();
            documents::describe_group(group, members, self.present, &mut status);
        }
        let moves = moves(&mut conditions.types, &status.conditions);
        conditions.groups.insert(id.clone(), moves);
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
