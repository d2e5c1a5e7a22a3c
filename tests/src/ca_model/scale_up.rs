//! The model's scale-up: which Pods wait, which group would hold them best, one increase.
//! Holds: one group for each loop; the delta never exceeds what is left up to the group's maximum.

use proto_autoscaler::ExternalGrpcNode;

use super::{
    CaModel, Cluster, Event, PodSeen, Resources, Snapshot,
    caches::Template,
    cluster::{admits, tolerates},
    scan::Scan,
    state::GroupSeen,
};

/// A room that Pods can be planned into.
#[derive(Debug, Clone)]
struct Room {
    free: Resources,
    /// `None`: a Node that exists; else what the machine will look like.
    template: Option<Template>,
    /// The existing Node's place in the snapshot.
    node: Option<usize>,
}

/// One way to enlarge one group.
#[derive(Debug, Clone, PartialEq)]
struct Expansion {
    group: String,
    machines: i32,
    /// The share of the new machines that stays unused.
    waste: f64,
}

impl<C: Cluster> CaModel<C> {
    /// Returns whether a group was enlarged.
    pub(super) async fn scale_up(&mut self, scan: &mut Scan) -> bool {
        let waiting = self.waiting_pods(scan);
        if waiting.is_empty() || scan.lookup_failed {
            return false;
        }
        if !self.look_up_upcoming(scan).await {
            return false;
        }
        let mut best: Option<Expansion> = None;
        for index in 0..scan.groups.len() {
            let id = scan.groups[index].id.clone();
            let Ok(target) = self.provider.target_size(&id).await else {
                continue;
            };
            scan.groups[index].target = target;
            let Some(found) = self.expansion(scan, &scan.groups[index], &waiting) else {
                continue;
            };
            if best.as_ref().is_none_or(|best| found.waste < best.waste) {
                best = Some(found);
            }
        }
        let Some(best) = best else { return false };
        let _no_gpu_is_fine = self.provider.gpu_types().await;
        let increased = self.provider.increase(&best.group, best.machines).await;
        for group in &scan.groups {
            let _only_a_look = self.provider.target_size(&group.id).await;
        }
        match increased {
            Ok(()) => {
                self.state
                    .requested(&best.group, best.machines, scan.now_ms);
                self.last_scale_up_ms = Some(scan.now_ms);
                // The list of a group that grows is not kept.
                self.caches.forget_instances(&best.group);
                self.events.push(Event::ScaledUp {
                    group: best.group,
                    delta: best.machines,
                });
                true
            }
            Err(status) => {
                self.state.back_off(&best.group, &self.options, scan.now_ms);
                self.events.push(Event::FailedToScaleUpGroup {
                    group: best.group,
                    why: status.to_string(),
                });
                false
            }
        }
    }

    /// The Pods that fit neither on a Node nor on a machine that is still to come. Those that fit on a Node count as being there
    /// from now on: it is not unneeded because the scheduler has not come to them yet.
    fn waiting_pods(&self, scan: &mut Scan) -> Vec<PodSeen> {
        let nodes = scan.snapshot.nodes.iter().enumerate();
        let mut rooms: Vec<Room> = nodes
            .map(|(index, node)| Room {
                free: scan.snapshot.free(node),
                template: None,
                node: Some(index),
            })
            .collect();
        for group in &scan.groups {
            let upcoming = self.state.upcoming(&scan.picture, group, scan.now_ms);
            let Some(template) = scan.templates.get(&group.id) else {
                continue;
            };
            rooms.extend((0..upcoming).map(|_| Room {
                free: template.allocatable,
                template: Some(template.clone()),
                node: None,
            }));
        }
        let mut without_room = Vec::new();
        for index in 0..scan.snapshot.pods.len() {
            let pod = scan.snapshot.pods[index].clone();
            if !pod.unschedulable {
                continue;
            }
            match take_room(&mut rooms, &pod, &scan.snapshot) {
                Some(node) => scan.snapshot.pods[index].node = node,
                None => without_room.push(pod),
            }
        }
        without_room
    }

    /// The real program asks for the group of its own upcoming Nodes as well; an error spoils the scale-up.
    async fn look_up_upcoming(&mut self, scan: &Scan) -> bool {
        for group in &scan.groups {
            let upcoming = self.state.upcoming(&scan.picture, group, scan.now_ms);
            for number in 0..upcoming {
                let node = upcoming_node(&group.id, number, scan.templates.get(&group.id));
                if self.caches.group_for(&self.provider, node).await.is_err() {
                    return false;
                }
            }
        }
        true
    }

    fn expansion(&self, scan: &Scan, group: &GroupSeen, waiting: &[PodSeen]) -> Option<Expansion> {
        let left = group.max - group.target;
        let may_grow = left > 0
            && !self.state.backs_off(&group.id, scan.now_ms)
            && self
                .state
                .group_is_healthy(&scan.picture, group, &self.options);
        let template = scan.templates.get(&group.id).filter(|_| may_grow)?;
        let (machines, used) = pack(template, waiting, left);
        if machines == 0 {
            return None;
        }
        let number = u64::try_from(machines).unwrap_or_default();
        let all = Resources {
            cpu_milli: template.allocatable.cpu_milli * number,
            memory: template.allocatable.memory * number,
            pods: template.allocatable.pods * number,
        };
        let share = |used: u64, all: u64| {
            if all == 0 {
                1.0
            } else {
                used as f64 / all as f64
            }
        };
        let cpu = share(used.cpu_milli, all.cpu_milli);
        let memory = share(used.memory, all.memory);
        Some(Expansion {
            group: group.id.clone(),
            machines,
            waste: 2.0 - cpu - memory,
        })
    }
}

/// Puts a Pod into the first room that takes it; tells its Node, or that it is on a machine still to come.
fn take_room(rooms: &mut [Room], pod: &PodSeen, snapshot: &Snapshot) -> Option<Option<String>> {
    let room = rooms.iter_mut().find(|room| {
        let admitted = match (&room.template, room.node) {
            (Some(template), _) => tolerates(pod, &template.labels, &template.taints),
            (None, Some(node)) => admits(&snapshot.nodes[node], pod),
            (None, None) => false,
        };
        admitted && room.free.holds(&pod.requests)
    })?;
    room.free = room.free.minus(&pod.requests);
    let node = room.node.map(|index| snapshot.nodes[index].name.clone());
    Some(node)
}

/// How many machines like this, at most `limit`, the Pods need, and what of them is used.
fn pack(template: &Template, pods: &[PodSeen], limit: i32) -> (i32, Resources) {
    let mut machines: Vec<Resources> = Vec::new();
    let mut placed = Vec::new();
    for pod in pods {
        let fits_at_all = template.allocatable.holds(&pod.requests)
            && tolerates(pod, &template.labels, &template.taints);
        if !fits_at_all {
            continue;
        }
        let room = machines.iter_mut().find(|free| free.holds(&pod.requests));
        if let Some(free) = room {
            *free = free.minus(&pod.requests);
        } else if machines.len() < usize::try_from(limit).unwrap_or(0) {
            machines.push(template.allocatable.minus(&pod.requests));
        } else {
            continue;
        }
        placed.push(pod.requests);
    }
    let number = i32::try_from(machines.len()).unwrap_or(limit);
    (number, placed.into_iter().sum())
}

/// A Node that the model makes up for a machine that is still to come.
fn upcoming_node(group: &str, number: i32, template: Option<&Template>) -> ExternalGrpcNode {
    let name = format!("template-node-for-{group}-4711-upcoming-{number}");
    let mut labels = template
        .map(|template| template.labels.clone())
        .unwrap_or_default();
    let own = [
        ("cluster-autoscaler.kubernetes.io/template-node", "true"),
        ("kubernetes.io/hostname", name.as_str()),
    ];
    labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let annotation = "cluster-autoscaler.k8s.io/upcoming-node";
    ExternalGrpcNode {
        provider_id: String::new(),
        name,
        labels,
        annotations: [(annotation.to_owned(), "true".to_owned())].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::NodeSeen, *};

    fn amounts(cpu_milli: u64) -> Resources {
        Resources {
            cpu_milli,
            memory: 0,
            pods: 1,
        }
    }

    #[test]
    fn pod_that_fits_on_a_node_is_told_where_and_the_next_one_waits() {
        let snapshot = Snapshot {
            nodes: vec![NodeSeen {
                name: "a".into(),
                ready: true,
                ..NodeSeen::default()
            }],
            pods: Vec::new(),
        };
        let mut rooms = [Room {
            free: amounts(4_000),
            template: None,
            node: Some(0),
        }];
        let pods = pods(&[3_000, 3_000]);
        let first = take_room(&mut rooms, &pods[0], &snapshot);
        assert_eq!(first, Some(Some("a".to_owned())));
        assert_eq!(take_room(&mut rooms, &pods[1], &snapshot), None);
    }

    fn pods(cpu: &[u64]) -> Vec<PodSeen> {
        let pod = |cpu: &u64| PodSeen {
            requests: amounts(*cpu),
            ..PodSeen::default()
        };
        cpu.iter().map(pod).collect()
    }

    #[test]
    fn machines_are_filled_before_new_ones_are_taken() {
        let template = Template {
            allocatable: Resources {
                pods: 10,
                ..amounts(4_000)
            },
            ..Template::default()
        };
        let cases = [
            (vec![], 5, 0),
            (vec![1_000], 5, 1),
            (vec![2_000, 2_000, 1_000], 5, 2),
            (vec![3_000, 3_000, 3_000], 5, 3),
            (vec![3_000, 3_000, 3_000], 2, 2),
            (vec![5_000, 1_000], 5, 1),
            (vec![5_000], 5, 0),
        ];
        for (cpu, limit, expected) in cases {
            let (machines, _) = pack(&template, &pods(&cpu), limit);
            assert_eq!(machines, expected, "{cpu:?} up to {limit}");
        }
    }

    #[test]
    fn template_without_pods_holds_nothing() {
        let template = Template {
            allocatable: Resources {
                pods: 0,
                ..amounts(4_000)
            },
            ..Template::default()
        };
        assert_eq!(pack(&template, &pods(&[1]), 5).0, 0);
    }
}
