//! Wakes: the right machine, repeated until it is seen, and told apart from a boot that never came.

use coordinator_core::{
    Answer, Fact, InstanceState, MachineId, MachineSpec, PhaseName, Taint, Timeouts,
};

use crate::declare::{bmc, delete, group, group_id, increase, kubelet, lab, machine_spec};
use crate::steps::phase;
use crate::world::{Effect, Store, World};

#[test]
fn the_first_packet_leaves_at_once_and_the_next_machine_two_seconds_later() {
    let mut world = World::new(lab(3));
    let asked_ms = world.now_ms;
    world.ask(increase(2, 0));
    world.run_for(10_000);
    let times: Vec<u64> = world.effects.iter().map(|(at, _)| at - asked_ms).collect();
    assert!(times[0] < 20, "first wake {} ms after the call", times[0]);
    assert!(
        (1_990..2_100).contains(&times[1]),
        "second wake {} ms after the call",
        times[1]
    );
}

#[test]
fn a_machine_that_boots_is_woken_each_twenty_seconds_until_it_is_seen() {
    let mut world = World::new(lab(1));
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    assert_eq!(world.wakes("m1"), 2, "at 0 s and 20 s; seen at 30 s");
    assert!(
        world.store_machines[&MachineId::new("m1")]
            .proven_at_ms
            .is_some()
    );
    assert!(
        world.store_machines[&MachineId::new("m1")]
            .operation
            .is_none()
    );
}

#[test]
fn nothing_is_sent_before_the_operation_is_stored() {
    let mut world = World::new(lab(1));
    world.ask(increase(1, 0));
    world.run_for(2);
    world.store = Store::Down;
    world.run_for(10_000);
    assert!(
        world.effects.is_empty(),
        "the wish is stored, the operation is not"
    );
    world.store = Store::Up;
    world.run_for(10_000);
    assert_eq!(world.wakes("m1"), 1);
}

#[test]
fn a_machine_that_never_comes_is_reported_left_out_and_another_one_taken() {
    let mut specs = vec![group()];
    for name in ["m1", "m2"] {
        let timeouts = Timeouts {
            boot_ms: 120_000,
            ..machine_spec(name).timeouts
        };
        specs.push(Fact::MachineApplied(MachineSpec {
            timeouts,
            ..machine_spec(name)
        }));
    }
    let mut world = World::new(specs);
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(130_000);
    let now = world.now();
    let view = world.lab.view(now);
    let instance = &view.groups[&group_id()].instances[0];
    assert!(
        matches!(&instance.state, InstanceState::Failed { code, .. } if *code == "BOOT_TIMEOUT")
    );
    assert_eq!(view.groups[&group_id()].target, 1);
    assert!(world.reasons().contains(&"WakeUnanswered"));
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(60_000);
    assert_eq!(world.woken().len(), 2);
    assert!(world.sims["m2"].on);
    let now = world.now();
    assert_eq!(
        world.lab.view(now).groups[&group_id()].max_size,
        1,
        "the sick one is left out"
    );
}

#[test]
fn another_relay_takes_over_after_two_unanswered_wakes() {
    let mut world = World::new(lab(1));
    world.relays.insert("nas".into(), true);
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    world.restart();
    world.run_for(15_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(70_000);
    let now = world.now();
    assert!(
        world.lab.view(now).machines[&MachineId::new("m1")]
            .message
            .contains("pi")
    );
    assert!(world.wakes("m1") >= 4);
}

#[test]
fn without_a_relay_it_is_said_and_the_wake_follows_when_one_comes() {
    let mut world = World::new(lab(1));
    world.relays.insert("pi".into(), false);
    world.run_for(60_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(30_000);
    assert!(world.reasons().contains(&"NoRelay"));
    assert!(world.effects.is_empty());
    world.relays.insert("pi".into(), true);
    world.run_for(15_000);
    assert_eq!(world.wakes("m1"), 1);
}

#[test]
fn a_bmc_that_says_off_twice_makes_an_unseen_machine_off() {
    let mut world = World::new(vec![group(), Fact::MachineApplied(bmc("r1"))]);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Unknown);
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Off);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(120_000);
    assert_eq!(
        world.effects.first().map(|(_, e)| e.clone()),
        Some(Effect::Wake("r1".into()))
    );
    assert_eq!(phase(&mut world, "r1"), PhaseName::Running);
}

#[test]
fn a_kubelet_machine_runs_once_its_node_is_ready_and_right() {
    let mut world = World::new(vec![group(), kubelet("k1")]);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(60_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    let node = &world.nodes["k1"];
    assert_eq!(node.provider_id, "homelab://default/k1");
    assert_eq!(node.labels["homelab-autoscaler.dev/group"], "workers");
    let now = world.now();
    let template = world.lab.view(now).groups[&group_id()]
        .template
        .clone()
        .expect("learned");
    assert_eq!(template.allocatable["cpu"], "3900m");
    assert_eq!(template.allocatable["pods"], "110");
    assert!(
        world.writes <= 6,
        "{} writes for one power-on",
        world.writes
    );
}

#[test]
fn a_node_that_the_cluster_still_keeps_pods_off_has_not_joined() {
    let mut world = World::new(vec![group(), kubelet("k1")]);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(31_000);
    let mut node = world.nodes["k1"].clone();
    node.taints = vec![Taint {
        key: "node.kubernetes.io/not-ready".into(),
        value: String::new(),
        effect: "NoSchedule".into(),
    }];
    let mut world = World::new(vec![group(), kubelet("k1")]);
    world.nodes.insert("k1".into(), node.clone());
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(60_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Waking);
    node = world.nodes["k1"].clone();
    node.taints.clear();
    world.nodes.insert("k1".into(), node.clone());
    world.tell(Fact::NodeSeen(node));
    world.run_for(1_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
}
