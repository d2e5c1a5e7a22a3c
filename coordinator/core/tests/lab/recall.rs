//! What a restart must not change: orders that never left can be called back, failures stay told.

use coordinator_core::{
    Answer, Fact, GroupSpec, InstanceState, MachineId, Mode, PhaseName, PodStanding, PowerPolicy,
};

use crate::declare::{
    delete, group, group_id, group_spec, increase, kubelet, lab, machine_spec, pod,
};
use crate::steps::{phase, running};
use crate::world::World;

/// Ordered off, and held up by a pod, as the coordinator is killed.
fn held_up_over_a_restart() -> World {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    world
        .pods
        .insert("k1".into(), vec![pod("db", PodStanding::Controlled)]);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(60_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Stopping);
    world.restart();
    world.run_for(30_000);
    world
}

#[test]
fn a_stop_that_never_left_is_called_back_after_a_restart() {
    let mut world = held_up_over_a_restart();
    let mut spec = machine_spec("k1");
    spec.joins = coordinator_core::Joins::Kubelet;
    spec.power = PowerPolicy::AlwaysOn;
    world.redeclare(Fact::MachineApplied(spec));
    world.pods.clear();
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    assert!(world.stopped().is_empty() && world.sims["k1"].on);
}

#[test]
fn a_stop_that_was_held_up_goes_on_after_a_restart_once_nothing_needs_the_machine() {
    let mut world = held_up_over_a_restart();
    world.pods.clear();
    world.run_for(180_000);
    assert_eq!(world.stops("k1"), 1);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Off);
}

#[test]
fn pods_are_listed_once_more_after_the_order_is_stored() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    let stored = |world: &World| {
        let operation = world.store_machines[&MachineId::new("k1")]
            .operation
            .clone();
        operation.is_some_and(|op| op.ordered_at_ms.is_some())
    };
    while !stored(&world) {
        world.run_for(1);
    }
    world
        .pods
        .insert("k1".into(), vec![pod("late", PodStanding::Controlled)]);
    world.run_for(60_000);
    assert!(world.stopped().is_empty(), "a pod came in between");
    assert!(!stored(&world), "so the order can still be called back");
}

#[test]
fn a_wake_taken_back_is_not_forgotten_where_the_kubelet_is_heard_before_the_agent() {
    let mut world = World::new(vec![group(), kubelet("k1")]);
    world.run_for(60_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(5_000);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.restart();
    world.sims.get_mut("k1").expect("k1").agentless = true;
    world.run_for(31_000);
    assert!(world.sims["k1"].on, "only its kubelet is heard");
    world.sims.get_mut("k1").expect("k1").agentless = false;
    world.run_for(120_000);
    assert_eq!(world.stops("k1"), 1, "it came because of our wake");
    assert_eq!(phase(&mut world, "k1"), PhaseName::Off);
}

#[test]
fn a_wake_that_failed_is_still_told_as_failed_after_a_restart() {
    let mut world = World::new(lab(1));
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(700_000);
    let failed = |world: &mut World| {
        let now = world.now();
        let group = world.lab.view(now).groups[&group_id()].clone();
        group.instances[0].state.clone()
    };
    let before = failed(&mut world);
    assert!(
        matches!(&before, InstanceState::Failed { code, .. } if *code == "BOOT_TIMEOUT"),
        "{before:?}"
    );
    world.restart();
    world.run_for(5_000);
    assert_eq!(failed(&mut world), before);
}

#[test]
fn the_boot_timeout_stands_still_while_nobody_listens() {
    let mut world = World::new(lab(1));
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(10_000);
    world.sims.get_mut("m1").expect("m1").mute = true;
    world.tell(Fact::Broker { up: false });
    world.run_for(900_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Waking);
    world.tell(Fact::Broker { up: true });
    world.sims.get_mut("m1").expect("m1").mute = false;
    world.run_for(15_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    assert!(!world.reasons().contains(&"BootTimeout"));
}

#[test]
fn a_manual_group_whose_machine_cannot_be_fenced_tries_again_without_haste() {
    let manual = |target| {
        Fact::GroupApplied(GroupSpec {
            mode: Mode::Manual { target },
            ..group_spec()
        })
    };
    let mut world = World::new(vec![manual(1), kubelet("k1")]);
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    world.fences_fail = true;
    world.redeclare(manual(0));
    let before = world.writes;
    world.run_for(60_000);
    let tries = world.writes - before;
    assert!((2..=120).contains(&tries), "{tries} writes within a minute");
    world.fences_fail = false;
    world.run_for(180_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Off);
}

#[test]
fn a_stop_that_left_and_that_nobody_wants_any_more_is_not_waited_for_for_ever() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    world.drop_reports = true;
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(8_000);
    assert_eq!(world.stops("k1"), 1, "nobody heard that it goes down");
    world.restart();
    let mut spec = machine_spec("k1");
    spec.joins = coordinator_core::Joins::Kubelet;
    spec.power = PowerPolicy::AlwaysOn;
    world.redeclare(Fact::MachineApplied(spec));
    world.run_for(300_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Unknown);
    world.set_power("k1", true);
    world.run_for(60_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
}
