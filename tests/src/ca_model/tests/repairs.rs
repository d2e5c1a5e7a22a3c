//! Instances that never join, machines that cannot be created, targets that fit nothing.

use super::*;

fn soon_late() -> Options {
    Options {
        provision_time: Duration::from_millis(1),
        ..Options::default()
    }
}

#[tokio::test]
async fn machine_that_cannot_be_created_is_deleted_in_every_loop_until_it_is_gone() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, impatient()).await;
    stage.model.scan().await;
    {
        let mut world = stage.served.world();
        world.instances = vec![instance(1, Wire::InstanceCreating, "BOOT_TIMEOUT")];
        world.failing = [("NodeGroupDeleteNodes", Code::Unavailable)].into();
    }
    stage.model.scan().await;
    stage.served.world().failing.clear();
    stage.model.scan().await;
    stage.model.scan().await;
    let twice = [increase(1), delete(&["p/1"]), delete(&["p/1"])];
    assert_eq!(stage.changes(), twice);
    let told = stage.model.events().all();
    let failed = |event: &&Event| matches!(event, Event::ScaleUpFailed { .. });
    assert_eq!(told.iter().filter(failed).count(), 1);
}

#[tokio::test]
async fn machine_that_cannot_be_created_is_deleted_at_the_minimum_too_and_another_one_is_asked_for()
{
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let short = Options {
        backoff_initial: Duration::ZERO,
        ..impatient()
    };
    let mut stage = stage(spare(6), snapshot, short).await;
    stage.model.scan().await;
    stage.served.world().min = 1;
    stage.served.world().instances = vec![instance(1, Wire::InstanceCreating, "NO_RELAY")];
    stage.model.scan().await;
    next_milliseconds().await;
    stage.model.scan().await;
    assert_eq!(
        stage.changes(),
        [increase(1), delete(&["p/1"]), increase(1)]
    );
}

#[tokio::test]
async fn failed_creation_that_nobody_waits_for_is_deleted_without_a_word() {
    let world = World {
        target: 1,
        instances: vec![instance(1, Wire::InstanceCreating, "BOOT_TIMEOUT")],
        ..spare(6)
    };
    let mut stage = stage(world, Snapshot::default(), impatient()).await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [delete(&["p/1"])]);
    assert_eq!(stage.model.events().failures(), []);
}

#[tokio::test]
async fn late_request_is_taken_back_with_its_whole_increase_and_its_instance_deleted_a_loop_later()
{
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, soon_late()).await;
    stage.model.scan().await;
    stage.snapshot().pods.clear();
    next_milliseconds().await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1), decrease(-1)]);
    // The fake provider has kept the machine, as if it had joined at the last moment.
    stage.served.world().target = 1;
    next_milliseconds().await;
    stage.model.scan().await;
    assert_eq!(
        stage.changes(),
        [increase(1), decrease(-1), delete(&["p/1"])]
    );
    let failures = stage.model.events().failures();
    assert!(matches!(
        failures[..],
        [Event::ScaleUpTimedOut { increase: 1, .. }]
    ));
}

#[tokio::test]
async fn instances_that_never_joined_go_down_to_the_minimum_only() {
    let world = World {
        min: 1,
        ..running(3)
    };
    let mut stage = stage(world, Snapshot::default(), soon_late()).await;
    stage.model.scan().await;
    next_milliseconds().await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [delete(&["p/1", "p/2"])]);
    // The list is dropped, so the next loop sees what is left.
    stage.model.scan().await;
    assert_eq!(stage.changes().len(), 1);
    assert_eq!(stage.sent(Rpc::NodeGroupNodes), 2);
}

#[tokio::test]
async fn target_without_anything_behind_it_is_put_right_and_an_error_of_that_ends_the_loop() {
    let world = World {
        target: 3,
        instances: vec![instance(1, Wire::InstanceRunning, "")],
        ..spare(6)
    };
    let mut stage = stage(world, nodes(vec![node(1)]), soon_late()).await;
    stage.model.scan().await;
    stage.served.world().failing = [("NodeGroupDecreaseTargetSize", Code::Internal)].into();
    next_milliseconds().await;
    assert_eq!(stage.model.scan().await, LoopEnd::Aborted);
    stage.served.world().failing.clear();
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    assert_eq!(stage.changes(), [decrease(-2), decrease(-2)]);
    assert_eq!(stage.served.world().target, 1);
    stage.model.scan().await;
    assert_eq!(stage.changes().len(), 2);
}

#[tokio::test]
async fn zero_provision_time_in_an_answer_deletes_machines_while_they_boot() {
    let mut zero = Options::default().as_message();
    zero.max_node_provision_duration = None;
    let world = World {
        options: Some(zero),
        target: 1,
        instances: vec![instance(1, Wire::InstanceCreating, "")],
        ..spare(6)
    };
    let mut stage = stage(world, Snapshot::default(), Options::default()).await;
    stage.model.scan().await;
    next_milliseconds().await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [delete(&["p/1"])]);
}
