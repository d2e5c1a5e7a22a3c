//! What is kept of the provider's answers, and until when.

use super::*;

#[tokio::test]
async fn instance_list_is_fresh_only_while_the_group_grows() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, Options::default()).await;
    stage.model.scan().await;
    stage.model.scan().await;
    stage.model.scan().await;
    // One of the refresher, then one in each loop after the increase.
    assert_eq!(stage.sent(Rpc::NodeGroupNodes), 3);
    stage.snapshot().pods.clear();
    stage.snapshot().nodes = vec![node(1)];
    // The list is dropped for the last time in the loop that finds the machine's Node.
    stage.model.scan().await;
    stage.model.scan().await;
    stage.model.scan().await;
    assert_eq!(stage.sent(Rpc::NodeGroupNodes), 4);
}

#[tokio::test]
async fn removal_leaves_the_instance_list_as_old_as_it_was() {
    let mut stage = stage(running(1), nodes(vec![node(1)]), impatient()).await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [delete(&["p/1"])]);
    stage.snapshot().nodes.clear();
    stage.model.scan().await;
    // The machine is off the provider's list and still on the model's, so it is asked about.
    assert_eq!(stage.served.world().instances, []);
    assert_eq!(stage.sent(Rpc::NodeGroupNodes), 1);
    let asked = stage.model.calls().of(Rpc::NodeGroupForNode);
    assert_eq!(asked.last().unwrap().nodes, ["p/1"]);
}

#[tokio::test]
async fn timed_out_request_leaves_the_instance_list_as_it_was() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let late = Options {
        provision_time: Duration::from_millis(1),
        ..Options::default()
    };
    let mut stage = stage(spare(6), snapshot, late).await;
    stage.model.scan().await;
    stage.snapshot().pods.clear();
    next_milliseconds().await;
    stage.model.scan().await;
    assert_eq!(stage.changes()[1], decrease(-1));
    // Of the refresher, and of the loop in which the group still grew.
    assert_eq!(stage.sent(Rpc::NodeGroupNodes), 2);
    stage.served.world().instances.clear();
    stage.model.scan().await;
    assert_eq!(stage.sent(Rpc::NodeGroupNodes), 2);
}

#[tokio::test]
async fn refresher_lists_all_groups_at_the_start_and_whenever_its_interval_has_passed() {
    assert_eq!(
        Options::default().instance_refresh,
        Duration::from_secs(120)
    );
    let always = Options {
        instance_refresh: Duration::ZERO,
        ..Options::default()
    };
    let mut stage = stage(running(1), nodes(vec![node(1)]), always).await;
    for loops in 1..=3 {
        stage.model.scan().await;
        assert_eq!(stage.sent(Rpc::NodeGroupNodes), loops);
    }
}

#[tokio::test]
async fn refresher_that_fails_keeps_an_empty_list() {
    let mut stage = stage(running(2), nodes(vec![node(1)]), Options::default()).await;
    stage
        .served
        .world()
        .failing_once
        .insert("NodeGroupNodes", 0);
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    // The second machine is unknown, so nobody asks about it, in this loop and in the next.
    stage.model.scan().await;
    assert_eq!(stage.sent(Rpc::NodeGroupNodes), 1);
    let mut asked = stage.model.calls().of(Rpc::NodeGroupForNode);
    asked.retain(|call| call.nodes == ["p/2"]);
    assert_eq!(asked, []);
    let failures = stage.model.events().failures();
    assert!(matches!(failures[..], [Event::InstancesForgotten { .. }]));
}

#[tokio::test]
async fn list_that_a_loop_misses_is_asked_for_twice_before_the_loop_ends() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, Options::default()).await;
    stage.model.scan().await;
    stage
        .served
        .world()
        .failing_once
        .insert("NodeGroupNodes", 0);
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    stage.served.world().failing = [("NodeGroupNodes", Code::Internal)].into();
    let before = stage.sent(Rpc::NodeGroupNodes);
    assert_eq!(stage.model.scan().await, LoopEnd::Aborted);
    assert_eq!(stage.sent(Rpc::NodeGroupNodes) - before, 2);
}

#[tokio::test]
async fn groups_that_could_not_be_listed_are_asked_for_at_the_next_use() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, Options::default()).await;
    stage.model.scan().await;
    // Right after the Refresh nothing hangs on it yet.
    stage.served.world().failing_once.insert("NodeGroups", 0);
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1)]);
    assert_eq!(stage.model.events().failures(), []);
}

#[tokio::test]
async fn groups_that_cannot_be_listed_for_a_whole_loop_end_requests_so_machines_are_asked_for_again()
 {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, Options::default()).await;
    stage.model.scan().await;
    // With the machine on its list; a group with a target and nothing behind it would be left out.
    stage.model.scan().await;
    stage.served.world().failing = [("NodeGroups", Code::Unavailable)].into();
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    stage.served.world().failing.clear();
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1), increase(1)]);
}

#[tokio::test]
async fn failed_refresh_drops_groups_as_well() {
    let mut stage = stage(running(1), nodes(vec![node(1)]), Options::default()).await;
    stage.model.scan().await;
    stage.served.world().failing = [("Refresh", Code::Unavailable)].into();
    stage.model.scan().await;
    let before = stage.sent(Rpc::NodeGroupForNode);
    stage.model.scan().await;
    // Before the next Refresh the Node's group is asked for anew.
    assert_eq!(stage.sent(Rpc::NodeGroupForNode) - before, 1);
}

#[tokio::test]
async fn template_is_asked_for_once_between_two_refreshes_and_remembered_from_a_stable_node() {
    let stable = NodeSeen {
        ready_for: Duration::from_secs(61),
        ..node(1)
    };
    let mut stage = stage(running(1), nodes(vec![stable]), Options::default()).await;
    stage.model.scan().await;
    let asked = stage.sent(Rpc::NodeGroupTemplateNodeInfo);
    stage.model.scan().await;
    stage.snapshot().nodes[0].ready = false;
    stage.model.scan().await;
    // A stable Node, and the memory of one, are better than what the provider says.
    assert_eq!(stage.sent(Rpc::NodeGroupTemplateNodeInfo), asked);
    stage.served.world().failing = [("NodeGroups", Code::Unavailable)].into();
    stage.model.scan().await;
    stage.served.world().failing.clear();
    stage.model.scan().await;
    // Groups that could not be listed took the memory with them.
    assert_eq!(stage.sent(Rpc::NodeGroupTemplateNodeInfo), asked + 1);
}

#[tokio::test]
async fn gpu_label_is_asked_for_twice_for_each_node_that_is_listed_as_ready_until_it_is_answered() {
    let tainted = |number: usize, key: &str| NodeSeen {
        taints: vec![TaintSeen {
            key: key.into(),
            ..TaintSeen::default()
        }],
        ..node(number)
    };
    let cordoned = NodeSeen {
        unschedulable: true,
        ..node(4)
    };
    let all = vec![
        node(1),
        tainted(2, "startup-taint.cluster-autoscaler.kubernetes.io/agent"),
        tainted(3, "node.kubernetes.io/not-ready"),
        cordoned,
    ];
    let world = World {
        failing: [("GPULabel", Code::Unimplemented)].into(),
        // So that none of them is looked at for its removal.
        min: 4,
        ..running(4)
    };
    let mut stage = stage(world, nodes(all), Options::default()).await;
    stage.model.scan().await;
    assert_eq!(stage.sent(Rpc::GpuLabel), 4, "twice for two Nodes");
}

#[tokio::test]
async fn gpu_label_is_asked_for_until_it_is_answered() {
    let world = World {
        failing: [("GPULabel", Code::Unimplemented)].into(),
        ..running(2)
    };
    let mut stage = stage(world, nodes(vec![node(1), node(2)]), Options::default()).await;
    stage.model.scan().await;
    // Twice for each ready Node, and twice for each that might go.
    assert_eq!(stage.sent(Rpc::GpuLabel), 8);
    stage.served.world().failing.clear();
    stage.model.scan().await;
    stage.model.scan().await;
    assert_eq!(stage.sent(Rpc::GpuLabel), 9);
}
