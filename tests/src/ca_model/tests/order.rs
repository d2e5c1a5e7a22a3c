//! Which calls a loop makes, in which order, how often.

use std::collections::BTreeMap;

use super::*;
use crate::bench::loops::{OPTIONS_OF_A_NODE, SIZES_OF_A_GROUP};
use Rpc::{
    GetAvailableGpuTypes, GpuLabel, NodeGroupDeleteNodes, NodeGroupForNode, NodeGroupGetOptions,
    NodeGroupIncreaseSize, NodeGroupNodes, NodeGroupTargetSize, NodeGroupTemplateNodeInfo,
    NodeGroups, Refresh,
};

#[tokio::test]
async fn first_loop_asks_in_the_order_of_the_real_program() {
    let mut stage = stage(running(2), nodes(vec![node(1)]), Options::default()).await;
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    let first = [
        // The refresher of instance lists.
        NodeGroups,
        NodeGroupNodes,
        // Before the first Refresh: taints of an earlier run; GPUs; devices that a template promises.
        NodeGroupForNode,
        GpuLabel,
        NodeGroupTemplateNodeInfo,
        Refresh,
        NodeGroups,
        // The only Node is no good template yet.
        NodeGroupTemplateNodeInfo,
        NodeGroupForNode,
        NodeGroupTargetSize,
        // The Node's start-up time for its group and for the cluster.
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        // The second machine has no Node: to count it, and to see whether it is late.
        NodeGroupForNode,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        // Scale-down: candidates, whether it may go, whether its group goes as a whole, how long it waits.
        NodeGroupTargetSize,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        // What is due.
        NodeGroupTargetSize,
    ];
    assert_eq!(stage.rpcs(), first);
}

#[tokio::test]
async fn later_loop_keeps_gpu_label_and_instances_and_asks_everything_else_again() {
    let mut stage = stage(running(2), nodes(vec![node(1)]), Options::default()).await;
    stage.model.scan().await;
    let first = stage.rpcs().len();
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    let second = [
        Refresh,
        NodeGroups,
        NodeGroupTemplateNodeInfo,
        NodeGroupForNode,
        NodeGroupTargetSize,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupForNode,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupTargetSize,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupTargetSize,
    ];
    assert_eq!(stage.rpcs()[first..], second);
    let asked = stage.model.calls().of(NodeGroupForNode);
    assert_eq!(asked.last().unwrap().nodes, ["p/2"]);
}

#[tokio::test]
async fn growing_loop_plans_removals_as_well() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, impatient()).await;
    assert_eq!(stage.model.scan().await, LoopEnd::Acted);
    let expected = [
        NodeGroups,
        NodeGroupNodes,
        Refresh,
        NodeGroups,
        NodeGroupTemplateNodeInfo,
        NodeGroupTargetSize,
        // Whether the group may grow, how many machines it could have more, how many it is to get.
        NodeGroupTargetSize,
        NodeGroupGetOptions,
        NodeGroupTargetSize,
        NodeGroupGetOptions,
        NodeGroupTargetSize,
        GetAvailableGpuTypes,
        NodeGroupIncreaseSize,
        // The request's time limit, and where that leaves the group.
        NodeGroupGetOptions,
        NodeGroupTargetSize,
        // Scale-down.
        NodeGroupTargetSize,
    ];
    assert_eq!(stage.rpcs(), expected);
}

#[tokio::test]
async fn shrinking_loop_looks_at_the_group_again_and_asks_for_its_template() {
    let mut stage = stage(running(1), nodes(vec![node(1)]), impatient()).await;
    // The second loop, in which nothing of a start is asked.
    stage.snapshot().nodes[0].annotations =
        [(cluster::SCALE_DOWN_DISABLED.to_owned(), "true".to_owned())].into();
    stage.model.scan().await;
    let first = stage.rpcs().len();
    stage.snapshot().nodes[0].annotations.clear();
    assert_eq!(stage.model.scan().await, LoopEnd::Acted);
    let mut rpcs = stage.rpcs()[first..].to_vec();
    let until_taint = [
        Refresh,
        NodeGroups,
        NodeGroupTemplateNodeInfo,
        NodeGroupForNode,
        NodeGroupTargetSize,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupTargetSize,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupTargetSize,
        // Three times whether the group goes as a whole, DaemonSets and such.
        NodeGroupGetOptions,
        NodeGroupGetOptions,
        NodeGroupGetOptions,
    ];
    let mut beside = rpcs.split_off(until_taint.len());
    assert_eq!(rpcs, until_taint);
    // The removal runs beside the loop.
    beside.sort();
    let mut expected = [
        NodeGroupDeleteNodes,
        GetAvailableGpuTypes,
        NodeGroupTemplateNodeInfo,
        NodeGroupTargetSize,
    ];
    expected.sort();
    assert_eq!(beside, expected);
}

#[tokio::test]
async fn group_of_a_node_that_has_none_is_asked_for_again_each_time() {
    let mut stage = stage(spare(6), nodes(vec![bystander()]), Options::default()).await;
    let mut counts = Vec::new();
    for _ in 0..3 {
        let before = stage.sent(NodeGroupForNode);
        stage.model.scan().await;
        counts.push(stage.sent(NodeGroupForNode) - before);
    }
    // Before the Refresh, as a template, twice to count it, as a candidate, for soft taints; in the first loop for old taints too.
    assert_eq!(counts, [7, 6, 6]);
}

#[tokio::test]
async fn options_are_asked_for_twice_for_each_node_and_twice_for_each_missing_one() {
    let full = PodSeen {
        unschedulable: false,
        node: Some("node-1".into()),
        ..waiting_pod()
    };
    let snapshot = with_pod(nodes(vec![node(1)]), full);
    let mut stage = stage(running(2), snapshot, Options::default()).await;
    stage.model.scan().await;
    let before = stage.sent(NodeGroupGetOptions);
    stage.model.scan().await;
    // Two more because it is a candidate as long as the group is above its minimum.
    assert_eq!(stage.sent(NodeGroupGetOptions) - before, 2 + 2 + 2);
}

#[tokio::test]
async fn quiet_loop_over_busy_nodes_asks_as_often_as_that_of_the_benchmark() {
    let count = 3;
    let snapshot = Snapshot {
        nodes: (1..=count).map(node).collect(),
        pods: (1..=count)
            .map(|number| PodSeen {
                name: format!("default/web-{number}"),
                unschedulable: false,
                node: Some(format!("node-{number}")),
                ..waiting_pod()
            })
            .collect(),
    };
    let mut stage = stage(running(count), snapshot, Options::default()).await;
    stage.model.scan().await;
    let first = stage.rpcs().len();
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    let mut asked: BTreeMap<Rpc, usize> = BTreeMap::new();
    for rpc in stage.rpcs().split_off(first) {
        *asked.entry(rpc).or_default() += 1;
    }
    let expected = [
        (Refresh, 1),
        (NodeGroups, 1),
        (NodeGroupForNode, count),
        (NodeGroupTargetSize, SIZES_OF_A_GROUP),
        (NodeGroupGetOptions, OPTIONS_OF_A_NODE * count),
        (NodeGroupTemplateNodeInfo, 1),
    ];
    assert_eq!(asked, BTreeMap::from(expected));
}

#[tokio::test]
async fn types_of_gpus_are_asked_for_once() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, impatient()).await;
    stage.model.scan().await;
    let second = PodSeen {
        name: "default/second".into(),
        ..waiting_pod()
    };
    stage.snapshot().pods.push(second);
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1), increase(1)]);
    assert_eq!(stage.sent(GetAvailableGpuTypes), 1);
}

/// What was counted at the real program of version 1.36.1 in a hundred loops. How many of them its machine took to boot and its Pod ran
/// was not, so each count holds to a tenth.
const COUNTED: [(Rpc, usize); 7] = [
    (Refresh, 101),
    (NodeGroups, 102),
    (NodeGroupTargetSize, 244),
    (NodeGroupForNode, 771),
    (NodeGroupGetOptions, 205),
    (NodeGroupTemplateNodeInfo, 102),
    (NodeGroupNodes, 15),
];

#[tokio::test]
async fn hundred_loops_with_one_machine_in_them_make_as_many_calls_as_the_real_program_within_a_tenth()
 {
    let mut stage = stage(spare(6), nodes(vec![bystander()]), impatient()).await;
    for _ in 0..40 {
        stage.model.scan().await;
    }
    stage.snapshot().pods.push(waiting_pod());
    stage.model.scan().await;
    for _ in 0..12 {
        stage.model.scan().await;
    }
    stage.served.world().instances = vec![instance(1, Wire::InstanceRunning, "")];
    {
        let mut snapshot = stage.snapshot();
        snapshot.nodes.push(node(1));
        snapshot.pods[0].unschedulable = false;
        snapshot.pods[0].node = Some("node-1".into());
    }
    for _ in 0..37 {
        stage.model.scan().await;
    }
    stage.snapshot().pods.clear();
    stage.model.scan().await;
    stage.snapshot().nodes.truncate(1);
    for _ in 0..10 {
        stage.model.scan().await;
    }
    assert_eq!(stage.changes(), [increase(1), delete(&["p/1"])]);
    let counts = stage.model.calls().counts();
    for (rpc, counted) in COUNTED {
        let off = counts[&rpc].abs_diff(counted);
        assert!(off * 10 <= counted, "{rpc:?}: {counts:?}");
    }
    // As many Refresh as loops, one NodeGroups and one template more.
    assert_eq!(counts[&Refresh], 101);
    assert_eq!(counts[&NodeGroups], 102);
    assert_eq!(counts[&NodeGroupTemplateNodeInfo], 102);
    assert_eq!(counts[&GpuLabel], 1);
    // At the start, and while the group grew.
    assert_eq!(counts[&NodeGroupNodes], 1 + 12 + 1);
    // Two in each loop, four to grow, one in each loop with a candidate, one after the removal.
    assert_eq!(counts[&NodeGroupTargetSize], 2 * 101 + 4 + 38 + 1);
}
