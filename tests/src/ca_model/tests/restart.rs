//! What a restarted autoscaler has forgotten, and what it does first.

use super::*;

#[tokio::test]
async fn restarted_model_forgets_what_boots_and_asks_again() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, impatient()).await;
    stage.model.scan().await;
    stage.restart(impatient());
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1)]);
    assert_eq!(stage.served.world().target, 2);
}

#[tokio::test]
async fn restarted_model_takes_back_its_taints_of_nodes_in_a_group_and_no_cordon_of_people() {
    let tainted = |number: usize, provider_id: &str| NodeSeen {
        provider_id: provider_id.into(),
        unschedulable: true,
        taints: vec![own_taint(TO_BE_DELETED)],
        ..node(number)
    };
    let cordoned = NodeSeen {
        unschedulable: true,
        ..node(3)
    };
    let all = vec![tainted(1, "p/1"), tainted(2, "elsewhere"), cordoned];
    let mut stage = stage(running(1), nodes(all), Options::default()).await;
    stage.model.scan().await;
    let seen = stage.snapshot().nodes.clone();
    assert!(!seen[0].has_taint(TO_BE_DELETED) && !seen[0].unschedulable);
    assert!(seen[1].has_taint(TO_BE_DELETED) && seen[1].unschedulable);
    assert!(seen[2].unschedulable);
}

#[tokio::test]
async fn restarted_model_has_forgotten_clocks_and_backoffs() {
    let snapshot = with_pod(nodes(vec![node(1)]), waiting_pod());
    let world = World {
        failing_once: [("NodeGroupIncreaseSize", 0)].into(),
        ..running(1)
    };
    let mut stage = stage(world, snapshot, Options::default()).await;
    // Too small for the Pod.
    stage.snapshot().nodes[0].allocatable.cpu_milli = 1_000;
    stage.model.scan().await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1)], "in backoff");
    assert_eq!(stage.model.unneeded.len(), 1);
    stage.restart(Options::default());
    assert_eq!(stage.model.unneeded.len(), 0);
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1)], "of the new one");
}

#[tokio::test]
async fn restarted_model_asks_about_every_node_before_its_first_refresh() {
    let all = vec![node(1), node(2), bystander()];
    let mut stage = stage(running(2), nodes(all), Options::default()).await;
    stage.model.scan().await;
    let rpcs = stage.rpcs();
    let refresh = rpcs.iter().position(|rpc| *rpc == Rpc::Refresh).unwrap();
    let before = rpcs[..refresh].iter();
    let asked = before.filter(|rpc| **rpc == Rpc::NodeGroupForNode);
    // The one without a group once more, to see whether it has all its devices.
    assert_eq!(asked.count(), 4);
}
