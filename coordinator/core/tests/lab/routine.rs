//! Signs of life that were expected cost nothing, and hide nothing.

use std::sync::Arc;

use coordinator_core::{
    AgentId, Answer, Beat, Fact, Joins, MachineId, MachineSpec, NodeSeen, PhaseName,
};

use crate::declare::{delete, group, group_id, increase, kubelet, lab, machine_spec};
use crate::world::World;

const SECOND_MS: u64 = 1_000;

fn running(names: &[&str]) -> World {
    let mut specs = lab(2);
    specs.push(kubelet("k1"));
    let mut world = World::new(specs);
    for name in names {
        world.set_power(name, true);
    }
    world.run_for(60_500);
    for name in names {
        assert_eq!(phase(&mut world, name), PhaseName::Running, "{name}");
    }
    world
}

fn phase(world: &mut World, name: &str) -> PhaseName {
    let now = world.now();
    world.lab.view(now).machines[&MachineId::new(name)].phase
}

fn beat(name: &str, boot_id: String) -> Fact {
    Fact::Beat(Beat {
        agent: AgentId::new(name),
        boot_id: boot_id.as_str().into(),
        instance: boot_id,
        challenge: "another".into(),
        up_ms: 60_000,
    })
}

#[test]
fn an_expected_sign_of_life_leaves_the_view_as_it_is_until_the_next_look() {
    let mut world = running(&["m1", "k1"]);
    let facts = [
        beat("m1", world.boot_id("m1")),
        beat("pi", world.boot_id("pi")),
        Fact::LeaseRenewed { name: "k1".into() },
        Fact::NodeSeen(world.nodes["k1"].clone()),
    ];
    for fact in facts {
        world.run_for(2 * SECOND_MS);
        let before = world.lab.view(world.now());
        world.tell(fact.clone());
        assert!(world.lab.decide(world.now()).is_empty(), "{fact:?}");
        let after = world.lab.view(world.now());
        assert!(Arc::ptr_eq(&before, &after), "{fact:?}");
        let soon = world.now_ms + 30 * SECOND_MS;
        assert!(
            world.lab.deadline().is_some_and(|at| at <= soon),
            "{fact:?}"
        );
    }
}

#[test]
fn a_look_that_led_to_nothing_is_repeated_later_than_one_that_followed_news() {
    let mut world = running(&["m1"]);
    let again_after_ms = |world: &mut World| {
        world.tell(beat("pi", world.boot_id("pi")));
        world.settle();
        let at_ms = world.lab.deadline().expect("relays can fall silent");
        at_ms - world.now_ms
    };
    world.tell(beat("m1", "m1-boot-2".into()));
    world.settle();
    assert!(again_after_ms(&mut world) <= 5 * SECOND_MS);
    // Long enough for the look after the news, and for everything that followed from them.
    world.run_for(60 * SECOND_MS);
    assert!(again_after_ms(&mut world) > 5 * SECOND_MS);
    world.tell(beat("m1", "m1-boot-3".into()));
    let before = world.lab.view(world.now());
    world.settle();
    assert!(!Arc::ptr_eq(&before, &world.lab.view(world.now())), "news");
}

#[test]
fn the_end_of_a_quarantine_is_noticed_in_time_while_everybody_else_is_only_heard() {
    let mut world = World::new(lab(2));
    world.set_power("m1", true);
    world.sims.get_mut("m2").expect("declared").never_boots = true;
    world.run_for(60_500);
    let usable = |world: &mut World| world.lab.view(world.now()).groups[&group_id()].max_size;
    let before = usable(&mut world);
    world.ask(increase(1, 0));
    world.run_for(machine_spec("m2").timeouts.boot_ms + 10 * SECOND_MS);
    assert_eq!(phase(&mut world, "m2"), PhaseName::WakeFailed);
    assert_eq!(world.call(delete(&["m2"])), Answer::Done);
    let machine = world.lab.view(world.now()).machines[&MachineId::new("m2")].clone();
    let until_ms = machine.quarantined_until_ms.expect("left out");
    assert_eq!(usable(&mut world), before - 1);
    let left_ms = until_ms - world.now().wall_ms;
    world.run_for(u64::try_from(left_ms).expect("not over yet") - 1);
    assert_eq!(usable(&mut world), before - 1, "still left out");
    world.run_for(1);
    assert_eq!(usable(&mut world), before);
}

#[test]
fn a_heartbeat_of_another_boot_is_looked_at_at_once() {
    let mut world = running(&["m1"]);
    world.tell(beat("m1", "m1-boot-2".into()));
    world.settle();
    let view = world.lab.view(world.now());
    let seen = view.agents[&AgentId::new("m1")].boot_id.as_deref();
    assert_eq!(seen, Some("m1-boot-2"));
}

#[test]
fn one_that_falls_silent_among_others_is_noticed_in_time() {
    let mut world = running(&["m1", "m2", "k1"]);
    for name in ["m1", "k1"] {
        world.sims.get_mut(name).expect("declared").mute = true;
    }
    world.run_for(world.policy.lease_silent_ms + SECOND_MS);
    for name in ["m1", "k1"] {
        assert_eq!(phase(&mut world, name), PhaseName::Unknown, "{name}");
    }
    assert_eq!(phase(&mut world, "m2"), PhaseName::Running);
}

/// `k1`, whose agent and whose core Node bear names of their own.
fn alias(agent: &str, node: &str) -> Fact {
    Fact::MachineApplied(MachineSpec {
        joins: Joins::Kubelet,
        agent: AgentId::new(agent),
        node_name: node.into(),
        ..machine_spec("k1")
    })
}

#[test]
fn a_heartbeat_of_a_machine_that_boots_is_looked_at_at_once_whatever_its_agent_is_called() {
    let mut world = World::new(vec![group(), alias("box", "host")]);
    world.sims.get_mut("k1").expect("declared").never_boots = true;
    world.run_for(500);
    world.ask(increase(1, 0));
    world.run_for(500);
    let mut looked_at = || {
        let before = world.lab.view(world.now());
        world.tell(beat("box", "boot-1".into()));
        world.settle();
        assert_eq!(phase(&mut world, "k1"), PhaseName::Waking);
        !Arc::ptr_eq(&before, &world.lab.view(world.now()))
    };
    assert!(looked_at(), "a boot that nobody knew of");
    assert!(looked_at(), "the same boot, and still no kubelet");
}

#[test]
fn a_lease_counts_for_the_machine_that_declares_the_name_of_its_node() {
    let mut world = World::new(vec![group(), alias("box", "host")]);
    let renewed = |name: &str| Fact::LeaseRenewed { name: name.into() };
    world.tell(Fact::NodeSeen(NodeSeen {
        name: "host".into(),
        ..NodeSeen::default()
    }));
    world.tell(renewed("host"));
    world.settle();
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    world.redeclare(alias("box", "other"));
    for _ in 0..world.policy.lease_silent_ms / SECOND_MS {
        world.tell(renewed("host"));
        world.run_for(SECOND_MS);
    }
    assert_eq!(phase(&mut world, "k1"), PhaseName::Unknown, "another name");
}
