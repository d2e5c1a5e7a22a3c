//! Which Nodes go, when, and how.

use super::*;

fn on(node: &str, cpu: &str) -> PodSeen {
    PodSeen {
        node: Some(node.into()),
        unschedulable: false,
        requests: Resources::parse([("cpu", cpu)]).unwrap(),
        ..waiting_pod()
    }
}

/// Of no group, with room for every Pod.
fn roomy() -> NodeSeen {
    NodeSeen {
        allocatable: Resources::parse([("cpu", "64"), ("memory", "64Gi"), ("pods", "110")])
            .unwrap(),
        ..bystander()
    }
}

#[tokio::test]
async fn refused_removal_takes_taint_and_cordon_off() {
    let world = World {
        failing: [("NodeGroupDeleteNodes", Code::FailedPrecondition)].into(),
        ..running(1)
    };
    let mut stage = stage(world, nodes(vec![node(1)]), impatient()).await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [delete(&["p/1"])]);
    let seen = stage.snapshot().nodes[0].clone();
    assert!(!seen.has_taint(TO_BE_DELETED) && !seen.unschedulable);
    let failures = stage.model.events().failures();
    assert!(matches!(failures[0], Event::ScaleDownFailed { .. }));
}

#[tokio::test]
async fn empty_nodes_go_together_with_an_rpc_each() {
    let all = (1..=3).map(node).collect();
    let mut stage = stage(running(3), nodes(all), impatient()).await;
    stage.model.scan().await;
    let mut changes = stage.changes();
    changes.sort_by_key(|(_, _, ids)| ids.clone());
    assert_eq!(
        changes,
        [delete(&["p/1"]), delete(&["p/2"]), delete(&["p/3"])]
    );
}

#[tokio::test]
async fn of_nodes_with_pods_one_goes_at_a_time_beside_the_empty_ones() {
    let mut snapshot = nodes((1..=4).map(node).chain([roomy()]).collect());
    snapshot.pods = vec![on("node-1", "1"), on("node-2", "1")];
    let mut stage = stage(running(4), snapshot, impatient()).await;
    stage.model.scan().await;
    let mut changes = stage.changes();
    changes.sort_by_key(|(_, _, ids)| ids.clone());
    assert_eq!(
        changes,
        [delete(&["p/1"]), delete(&["p/3"]), delete(&["p/4"])]
    );
    assert_eq!(
        stage.snapshot().pods,
        [on("node-2", "1")],
        "that of the first is evicted"
    );
    stage.model.scan().await;
    assert_eq!(stage.changes().last(), Some(&delete(&["p/2"])));
}

#[tokio::test]
async fn at_most_ten_nodes_go_at_once_and_empty_ones_before_one_with_pods() {
    // Empty, with Pods, and how many of each go in the first loop.
    let cases = [(12, 0, (10, 0)), (10, 1, (10, 0)), (9, 2, (9, 1))];
    for (empty, used, gone) in cases {
        let count = empty + used;
        let mut snapshot = nodes((1..=count).map(node).chain([roomy()]).collect());
        let pods = (empty + 1..=count).map(|number| on(&format!("node-{number}"), "1"));
        snapshot.pods = pods.collect();
        let mut stage = stage(running(count), snapshot, impatient()).await;
        stage.model.scan().await;
        let tainted = |nodes: &[NodeSeen]| {
            let tainted = nodes.iter().filter(|node| node.has_taint(TO_BE_DELETED));
            tainted.count()
        };
        let seen = stage.snapshot().nodes.clone();
        let seen = (tainted(&seen[..empty]), tainted(&seen[empty..]));
        assert_eq!(seen, gone, "{empty} empty ones, {used} with Pods");
        assert_eq!(stage.changes().len(), gone.0 + gone.1);
    }
}

#[tokio::test]
async fn at_most_ten_soft_taints_change_in_a_loop_and_old_ones_go_first() {
    let unneeded: Vec<_> = (1..=12).map(node).collect();
    let mut stage = stage(running(12), nodes(unneeded), Options::default()).await;
    let marked = |stage: &Stage| -> Vec<usize> {
        let nodes = stage.snapshot().nodes.clone();
        let numbered = (1..).zip(nodes);
        let marked = numbered.filter(|(_, node)| node.has_taint(DELETION_CANDIDATE));
        marked.map(|(number, _)| number).collect()
    };
    stage.model.scan().await;
    assert_eq!(marked(&stage).len(), 10);
    stage.model.scan().await;
    assert_eq!(marked(&stage).len(), 12);
    // Six lose theirs because they are needed, and six have lost theirs otherwise.
    for number in 7..=12 {
        let pod = on(&format!("node-{number}"), "3");
        stage.snapshot().pods.push(pod);
        stage.snapshot().nodes[number - 7].taints.clear();
    }
    stage.model.scan().await;
    assert_eq!(marked(&stage), [1, 2, 3, 4]);
    stage.model.scan().await;
    assert_eq!(marked(&stage), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn minimum_that_counts_is_the_one_told_with_the_node() {
    let world = World {
        told_min: Some(2),
        ..running(3)
    };
    let all = (1..=3).map(node).collect();
    let mut stage = stage(world, nodes(all), impatient()).await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [delete(&["p/1"])]);
}

#[tokio::test]
async fn node_that_must_stay_stays() {
    let keep = NodeSeen {
        annotations: [(cluster::SCALE_DOWN_DISABLED.to_owned(), "true".to_owned())].into(),
        ..node(1)
    };
    let mut stage = stage(running(1), nodes(vec![keep]), impatient()).await;
    stage.model.scan().await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), []);
}

#[tokio::test]
async fn node_above_the_threshold_is_not_unneeded() {
    let mut snapshot = nodes(vec![node(1), node(2)]);
    snapshot.pods = vec![on("node-1", "2100m")];
    let mut stage = stage(running(2), snapshot, impatient()).await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [delete(&["p/2"])]);
}

#[tokio::test]
async fn node_that_offers_no_cpu_or_no_memory_is_never_unneeded() {
    for (cpu, memory) in [("0", "8Gi"), ("4", "0"), ("0", "0")] {
        let amounts = [("cpu", cpu), ("memory", memory), ("pods", "110")];
        let odd = NodeSeen {
            allocatable: Resources::parse(amounts).unwrap(),
            ..node(1)
        };
        let mut stage = stage(running(1), nodes(vec![odd]), impatient()).await;
        stage.model.scan().await;
        assert!(stage.model.unneeded.is_empty(), "{cpu} {memory}");
        assert_eq!(stage.changes(), [], "{cpu} {memory}");
        // Twice to count the Node, once whether DaemonSets count, and never for a threshold.
        assert_eq!(stage.sent(Rpc::NodeGroupGetOptions), 3, "{cpu} {memory}");
    }
}

#[tokio::test]
async fn removal_is_asked_for_again_once_the_time_for_it_is_over() {
    let since = |seconds: u64| TaintSeen {
        value: (unix_seconds() - seconds).to_string(),
        ..own_taint(TO_BE_DELETED)
    };
    let mut stage = stage(running(1), nodes(vec![node(1)]), impatient()).await;
    // Not the first loop, which takes taints off.
    stage.served.world().min = 1;
    stage.model.scan().await;
    stage.served.world().min = 0;
    for (age, asked) in [(290, 0), (300, 1)] {
        stage.snapshot().nodes[0].taints = vec![since(age)];
        stage.model.scan().await;
        assert_eq!(
            stage.changes().len(),
            asked,
            "{age} seconds after the taint"
        );
    }
}

#[tokio::test]
async fn unneeded_node_carries_a_soft_taint_until_it_is_needed() {
    let mut stage = stage(running(1), nodes(vec![node(1)]), Options::default()).await;
    stage.model.scan().await;
    assert!(stage.snapshot().nodes[0].has_taint(DELETION_CANDIDATE));
    stage.snapshot().pods.push(on("node-1", "3"));
    stage.model.scan().await;
    assert!(!stage.snapshot().nodes[0].has_taint(DELETION_CANDIDATE));
    assert_eq!(stage.changes(), []);
}

#[tokio::test]
async fn clocks_of_unneeded_nodes_survive_a_failed_refresh_and_no_failed_size() {
    for (rpc, kept) in [("Refresh", true), ("NodeGroupTargetSize", false)] {
        let mut stage = stage(running(1), nodes(vec![node(1)]), Options::default()).await;
        stage.model.scan().await;
        stage.served.world().failing = [(rpc, Code::Unavailable)].into();
        assert_eq!(stage.model.scan().await, LoopEnd::Aborted);
        assert_eq!(stage.model.unneeded.contains_key("node-1"), kept, "{rpc}");
    }
}

#[tokio::test]
async fn growth_delays_removals_and_plans_go_on() {
    let mut snapshot = nodes(vec![node(1)]);
    snapshot.pods = vec![PodSeen {
        requests: Resources::parse([("cpu", "4"), ("memory", "7Gi"), ("pods", "1")]).unwrap(),
        node_selector: [("disk".to_owned(), "ssd".to_owned())].into(),
        ..waiting_pod()
    }];
    let delayed = Options {
        delay_after_add: Duration::from_secs(60),
        ..impatient()
    };
    let mut world = running(1);
    world.template = {
        use prost::Message as _;
        let mut node = proto_autoscaler::core_v1::Node::decode(&*world.template).unwrap();
        let labels = [("disk".to_owned(), "ssd".to_owned())];
        node.metadata.get_or_insert_default().labels = labels.into();
        node.encode_to_vec()
    };
    let mut stage = stage(world, snapshot, delayed).await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1)]);
    assert!(stage.snapshot().nodes[0].has_taint(DELETION_CANDIDATE));
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1)]);
}

#[tokio::test]
async fn finish_sends_the_cleanup() {
    let stage = stage(spare(1), Snapshot::default(), Options::default()).await;
    let calls = stage.model.calls();
    stage.model.finish().await.unwrap();
    assert_eq!(calls.counts(), [(Rpc::Cleanup, 1)].into());
}
