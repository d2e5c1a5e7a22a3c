use super::{super::NodeSeen, *};

fn amounts(cpu_milli: u64) -> Resources {
    Resources {
        cpu_milli,
        memory: 0,
        pods: 1,
    }
}

fn pods(cpu: &[u64]) -> Vec<PodSeen> {
    let pod = |cpu: &u64| PodSeen {
        requests: amounts(*cpu),
        ..PodSeen::default()
    };
    cpu.iter().map(pod).collect()
}

fn four_cores() -> Template {
    Template {
        allocatable: Resources {
            pods: 10,
            ..amounts(4_000)
        },
        ..Template::default()
    }
}

#[test]
fn pod_that_fits_on_a_node_is_told_where_and_the_next_ones_are_upcoming_or_wait() {
    let node = NodeSeen {
        name: "a".into(),
        ready: true,
        allocatable: amounts(4_000),
        ..NodeSeen::default()
    };
    let snapshot = Snapshot {
        nodes: vec![node],
        pods: Vec::new(),
    };
    let mut rooms = Rooms::of(&snapshot, [four_cores()].into_iter());
    let pods = pods(&[3_000, 3_000, 3_000]);
    let first = rooms.take(&pods[0], &snapshot);
    assert_eq!(first, Some(Some("a".to_owned())));
    assert_eq!(rooms.take(&pods[1], &snapshot), Some(None));
    assert_eq!(rooms.take(&pods[2], &snapshot), None);
}

#[test]
fn machines_are_filled_before_new_ones_are_taken_and_large_pods_come_first() {
    let cases = [
        (vec![], 5, 0),
        (vec![1_000], 5, 1),
        (vec![2_000, 2_000, 1_000], 5, 2),
        (vec![3_000, 3_000, 3_000], 5, 3),
        (vec![3_000, 3_000, 3_000], 2, 2),
        // In the order in which they wait they would need three.
        (vec![1_000, 3_000, 1_000, 3_000], 5, 2),
    ];
    for (cpu, limit, expected) in cases {
        let (machines, _) = pack(&four_cores(), pods(&cpu), limit);
        assert_eq!(machines, expected, "{cpu:?} up to {limit}");
    }
}

#[test]
fn pod_larger_than_a_machine_or_without_its_label_does_not_fit() {
    let mut picky = pods(&[1_000]);
    picky[0].node_selector = [("disk".to_owned(), "ssd".to_owned())].into();
    assert_eq!(fitting(&four_cores(), &picky), []);
    assert_eq!(fitting(&four_cores(), &pods(&[5_000])), []);
    assert_eq!(fitting(&four_cores(), &pods(&[4_000])).len(), 1);
}

#[test]
fn template_without_pods_holds_nothing() {
    let template = Template {
        allocatable: amounts(4_000).minus(&amounts(0)),
        ..Template::default()
    };
    assert_eq!(fitting(&template, &pods(&[1])), []);
}

#[test]
fn waste_is_reckoned_from_capacity_not_from_what_pods_may_ask_for() {
    let template = Template {
        allocatable: Resources {
            cpu_milli: 4_000,
            memory: 4_000,
            pods: 10,
        },
        capacity: Resources {
            cpu_milli: 8_000,
            memory: 16_000,
            pods: 10,
        },
        ..Template::default()
    };
    let used = Resources {
        cpu_milli: 4_000,
        memory: 4_000,
        pods: 2,
    };
    // Half of the cores and three quarters of the memory; of two machines as much again.
    assert!((waste(&template, 1, &used) - 1.25).abs() < 1e-9);
    assert!((waste(&template, 2, &used) - 1.625).abs() < 1e-9);
}
