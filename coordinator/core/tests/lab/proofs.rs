//! What shows that a machine came because we woke it, and what does not.

use std::sync::Arc;

use coordinator_core::{
    Answer, Ask, Fact, MachineId, MachineRecord, PhaseName, Policy, PowerPolicy,
};

use crate::declare::{group, group_id, increase, kubelet, lab, machine_spec, person};
use crate::steps::phase;
use crate::world::World;

fn record<'a>(world: &'a World, name: &str) -> &'a MachineRecord {
    &world.store_machines[&MachineId::new(name)]
}

fn is_proven(world: &World, name: &str) -> bool {
    record(world, name).proven_at_ms.is_some()
}

fn without_agent(specs: Vec<Fact>, name: &str) -> World {
    let mut world = World::new(specs);
    world.sims.get_mut(name).expect("known").agentless = true;
    world
}

#[test]
fn a_kubelet_alone_proves_a_machine_that_was_confirmed_off_before_its_wake() {
    let mut world = without_agent(vec![group(), kubelet("k1")], "k1");
    world.run_for(15_000);
    let confirm = person("k1", "off", Ask::ConfirmOff);
    assert_eq!(world.call(confirm), Answer::Done);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(31_000);
    assert_eq!(
        phase(&mut world, "k1"),
        PhaseName::Waking,
        "its agent could still tell that it was on before"
    );
    world.run_for(30_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    assert!(is_proven(&world, "k1"));
}

#[test]
fn a_kubelet_alone_does_not_prove_a_machine_that_nobody_saw_off() {
    let mut world = without_agent(vec![group(), kubelet("k1")], "k1");
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    assert!(!is_proven(&world, "k1"));
}

#[test]
fn a_machine_that_booted_by_itself_before_its_wake_is_not_proven_by_its_kubelet_coming_first() {
    let mut world = World::new(vec![group(), kubelet("k1")]);
    let sim = world.sims.get_mut("k1").expect("k1");
    sim.agentless = true;
    sim.booted_ms = 1_000_000;
    world.run_for(20_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    // It was switched on by hand before the wake; its kubelet is up now, its agent a little later.
    world.set_power("k1", true);
    world.sims.get_mut("k1").expect("k1").booted_ms = 1_010_000;
    world.run_for(5_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Waking);
    world.sims.get_mut("k1").expect("k1").agentless = false;
    world.run_for(15_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    assert!(!is_proven(&world, "k1"));
}

#[test]
fn a_wake_that_nobody_could_send_proves_nothing_after_a_restart() {
    let mut world = World::new(lab(1));
    world.relays.insert("pi".into(), false);
    world.run_for(60_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(5_000);
    assert!(world.reasons().contains(&"NoRelay"));
    world.restart();
    world.run_for(1_000);
    world.set_power("m1", true);
    world.run_for(30_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    assert!(world.effects.is_empty() && !is_proven(&world, "m1"));
}

#[test]
fn a_wake_that_its_relay_refused_proves_nothing_before_or_after_a_restart() {
    for restarts in [false, true] {
        let mut world = World::new(lab(1));
        world.refuses_wakes = true;
        world.run_for(60_000);
        assert_eq!(world.call(increase(1, 0)), Answer::Done);
        world.run_for(1_000);
        if restarts {
            world.relays.insert("pi".into(), false);
            world.restart();
            world.run_for(1_000);
        }
        world.set_power("m1", true);
        world.run_for(30_000);
        assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
        assert!(!is_proven(&world, "m1"), "after a restart: {restarts}");
    }
}

#[test]
fn a_wake_that_left_before_a_restart_still_proves_its_machine() {
    let mut world = World::new(lab(1));
    world.run_for(60_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    assert_eq!(world.wakes("m1"), 1);
    world.restart();
    world.run_for(60_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    assert!(is_proven(&world, "m1"));
}

/// A machine that comes up after a restart, its kubelet first.
fn up_after_a_restart() -> World {
    let mut world = without_agent(vec![group(), kubelet("k1")], "k1");
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    assert_eq!(world.wakes("k1"), 1);
    world.restart();
    world.set_power("k1", true);
    world.run_for(5_000);
    assert_eq!(world.nodes["k1"].provider_id, "homelab://default/k1");
    world
}

#[test]
fn a_machine_that_came_up_over_a_restart_is_proven_by_its_agent_and_stays_counted() {
    let mut world = up_after_a_restart();
    world.sims.get_mut("k1").expect("k1").agentless = false;
    world.run_for(15_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    assert!(is_proven(&world, "k1"));
    let now = world.now();
    assert_eq!(world.lab.view(now).groups[&group_id()].target, 1);
}

#[test]
fn a_machine_that_came_up_over_a_restart_does_not_wait_for_an_agent_for_ever() {
    let mut world = up_after_a_restart();
    assert_eq!(phase(&mut world, "k1"), PhaseName::Waking);
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    assert!(!is_proven(&world, "k1"), "nothing shows when it booted");
}

#[test]
fn a_wake_taken_over_long_after_loading_is_still_proven_by_its_agent() {
    let policy = Policy {
        grace_ms: 5_000,
        ..Policy::default()
    };
    let mut world = World::with_policy(vec![group(), kubelet("k1")], policy);
    world.run_for(60_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(3_000);
    world.restart();
    world.tell(Fact::Broker { up: false });
    world.sims.get_mut("k1").expect("k1").mute = true;
    world.run_for(120_000);
    assert!(world.sims["k1"].on, "its kubelet is seen");
    assert_eq!(phase(&mut world, "k1"), PhaseName::Waking);
    world.tell(Fact::Broker { up: true });
    world.sims.get_mut("k1").expect("k1").mute = false;
    world.run_for(60_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    assert!(is_proven(&world, "k1"));
}

#[test]
fn a_machine_that_is_no_longer_managed_leaves_the_wish_and_keeps_its_power() {
    let unmanaged = |world: &mut World| {
        let mut spec = machine_spec("m1");
        spec.power = PowerPolicy::Unmanaged;
        world.redeclare(Fact::MachineApplied(spec));
    };
    let mut world = World::new(lab(2));
    world.run_for(60_000);
    assert_eq!(world.call(increase(2, 0)), Answer::Done);
    world.run_for(120_000);
    unmanaged(&mut world);
    world.run_for(120_000);
    assert_eq!(world.store_groups[&group_id()].wanted.len(), 1);
    let now = world.now();
    let view = world.lab.view(now);
    assert!(!view.by_node_name.contains_key("m1") && view.by_node_name.contains_key("m2"));
    assert!(world.stopped().is_empty());
}

#[test]
fn a_machine_that_joins_the_control_plane_leaves_the_wish_and_keeps_its_power() {
    let mut world = World::new(vec![group(), kubelet("k1")]);
    world.run_for(60_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(120_000);
    let mut node = world.nodes["k1"].clone();
    let label = "node-role.kubernetes.io/control-plane";
    Arc::make_mut(&mut node.labels).insert(label.into(), String::new());
    world.nodes.insert("k1".into(), node.clone());
    world.tell(Fact::NodeSeen(node));
    world.run_for(120_000);
    let now = world.now();
    let view = world.lab.view(now);
    assert!(view.by_node_name.is_empty() && view.groups[&group_id()].target == 0);
    assert!(world.stopped().is_empty());
}
