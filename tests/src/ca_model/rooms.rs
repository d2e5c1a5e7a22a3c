//! Where Pods fit: Nodes that exist, machines that are still to come, and machines that a group could have more of.
//! Holds: large Pods come first, each goes to the first room that takes it.

use super::{
    PodSeen, Resources, Snapshot,
    cluster::{admits, tolerates},
    templates::Template,
};

/// A room that Pods can be planned into.
#[derive(Debug, Clone)]
enum Room {
    /// The Node at this place of the snapshot, with what is left of it.
    Node(usize, Resources),
    /// A machine still to come.
    Upcoming(Box<Template>, Resources),
}

/// The rooms there are without growing.
#[derive(Debug, Clone)]
pub(super) struct Rooms(Vec<Room>);

impl Rooms {
    /// Nodes first, then upcoming machines.
    pub(super) fn of(snapshot: &Snapshot, upcoming: impl Iterator<Item = Template>) -> Self {
        let nodes = snapshot.nodes.iter().enumerate();
        let nodes = nodes.map(|(index, node)| Room::Node(index, snapshot.free(node)));
        let upcoming = upcoming.map(|template| {
            let free = template.allocatable;
            Room::Upcoming(Box::new(template), free)
        });
        Self(nodes.chain(upcoming).collect())
    }

    /// Puts a Pod into the first room that takes it; tells its Node, or that it is on a machine still to come.
    pub(super) fn take(&mut self, pod: &PodSeen, snapshot: &Snapshot) -> Option<Option<String>> {
        for room in &mut self.0 {
            let (admitted, free, node) = match room {
                Room::Node(index, free) => {
                    let node = &snapshot.nodes[*index];
                    (admits(node, pod), free, Some(node.name.clone()))
                }
                Room::Upcoming(template, free) => {
                    let admitted = tolerates(pod, &template.labels, &template.taints);
                    (admitted, free, None)
                }
            };
            if admitted && free.holds(&pod.requests) {
                *free = free.minus(&pod.requests);
                return Some(node);
            }
        }
        None
    }
}

/// The Pods that would run on a machine like this if it were empty.
pub(super) fn fitting(template: &Template, pods: &[PodSeen]) -> Vec<PodSeen> {
    let fits = |pod: &&PodSeen| {
        template.allocatable.holds(&pod.requests)
            && tolerates(pod, &template.labels, &template.taints)
    };
    pods.iter().filter(fits).cloned().collect()
}

/// How many machines like this, at most `limit`, Pods that fit need, and what of them is used.
pub(super) fn pack(template: &Template, mut pods: Vec<PodSeen>, limit: i32) -> (i32, Resources) {
    let all = template.allocatable;
    pods.sort_by(|one, other| {
        let (one, other) = (all.weight(&one.requests), all.weight(&other.requests));
        other.total_cmp(&one)
    });
    let mut machines: Vec<Resources> = Vec::new();
    let mut placed = Vec::new();
    for pod in pods {
        let room = machines.iter_mut().find(|free| free.holds(&pod.requests));
        if let Some(free) = room {
            *free = free.minus(&pod.requests);
        } else if machines.len() < usize::try_from(limit).unwrap_or(0) {
            machines.push(all.minus(&pod.requests));
        } else {
            continue;
        }
        placed.push(pod.requests);
    }
    let number = i32::try_from(machines.len()).unwrap_or(limit);
    (number, placed.into_iter().sum())
}

/// The shares of cpu and memory that so many machines like this would leave unused, added up.
pub(super) fn waste(template: &Template, machines: i32, used: &Resources) -> f64 {
    let machines = f64::from(machines);
    let share = |used: u64, of_one: u64| 1.0 - used as f64 / (of_one as f64 * machines);
    share(used.cpu_milli, template.capacity.cpu_milli)
        + share(used.memory, template.capacity.memory)
}

#[cfg(test)]
mod tests;
