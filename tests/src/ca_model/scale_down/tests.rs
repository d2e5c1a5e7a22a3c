use super::super::{PodSeen, Resources};
use super::*;

fn node(name: &str) -> NodeSeen {
    let allocatable = Resources {
        cpu_milli: 4_000,
        memory: 0,
        pods: 10,
    };
    NodeSeen {
        name: name.into(),
        ready: true,
        allocatable,
        ..NodeSeen::default()
    }
}

fn pod(node: &str, cpu_milli: u64) -> PodSeen {
    let requests = Resources {
        cpu_milli,
        memory: 0,
        pods: 1,
    };
    PodSeen {
        node: Some(node.into()),
        requests,
        ..PodSeen::default()
    }
}

#[test]
fn node_goes_only_if_its_pods_fit_elsewhere() {
    let snapshot = |pods: Vec<PodSeen>| Snapshot {
        nodes: vec![node("a"), node("b")],
        pods,
    };
    let cases = [
        (snapshot(vec![]), true),
        (snapshot(vec![pod("a", 1_000), pod("b", 3_000)]), true),
        (snapshot(vec![pod("a", 1_001), pod("b", 3_000)]), false),
    ];
    for (snapshot, goes) in cases {
        let rest = without(&snapshot, &snapshot.nodes[0]);
        assert_eq!(rest.is_some(), goes, "{snapshot:?}");
        let moved = rest.is_none_or(|rest| rest.pods_on("a").count() == 0);
        assert!(moved);
    }
}

#[test]
fn pods_of_the_node_itself_keep_it_not_alive() {
    let mut daemon = pod("a", 4_000);
    daemon.goes_with_node = true;
    let snapshot = Snapshot {
        nodes: vec![node("a")],
        pods: vec![daemon],
    };
    assert_eq!(emptying(&snapshot, &snapshot.nodes[0]), Emptying::Empty);
    assert!(without(&snapshot, &snapshot.nodes[0]).is_some());
}
