//! What the store refuses, who is not heard, and what a restart must not forget.

use coordinator_core::{
    Action, Answer, Ask, Fact, MachineId, NodeSeen, NotSent, OverridePower, PodStanding, Request,
    StoreFault, Ticket,
};

use crate::declare::{group, increase, kubelet, lab, machine_spec, person, pod};
use crate::steps::running;
use crate::world::{Store, World};

/// The records of a machine that are handed to the store in one pass, after this fact.
fn records_after(world: &mut World, fact: Fact) -> Vec<u64> {
    world.now_ms += 60_000;
    let now = world.now();
    world.lab.observe(fact, now);
    let actions = world.lab.decide(now);
    let versions = actions.iter().filter_map(|action| {
        if let Action::Record { version, .. } = action {
            Some(*version)
        } else {
            None
        }
    });
    versions.collect()
}

#[test]
fn a_refused_record_is_not_tried_again_before_it_or_its_object_changes() {
    let mut world = World::new(lab(1));
    world.run_for(60_000);
    let machine = MachineId::new("m1");
    let asked = |id: &str, ticket| Fact::Asked {
        ticket: Ticket(ticket),
        deadline_ms: u64::MAX,
        request: person("m1", id, Ask::Retry),
    };
    let refused = || Fact::RecordFailed {
        machine: MachineId::new("m1"),
        fault: StoreFault::Refused,
    };
    assert_eq!(records_after(&mut world, asked("one", 900)).len(), 1);
    assert_eq!(records_after(&mut world, refused()), []);
    let now = world.now();
    let shown = world.lab.view(now).machines[&machine].clone();
    assert!(!shown.ready && shown.why == "RecordRefused", "{shown:?}");
    assert_eq!(records_after(&mut world, Fact::Broker { up: true }), []);
    assert_eq!(
        records_after(&mut world, asked("two", 901)).len(),
        1,
        "another record"
    );
    assert_eq!(records_after(&mut world, refused()), []);
    let again = Fact::MachineApplied(machine_spec("m1"));
    assert_eq!(records_after(&mut world, again).len(), 1, "another object");
}

#[test]
fn a_relay_that_does_not_listen_is_passed_over_at_once() {
    let mut world = World::new(lab(1));
    world.relays.insert("nas".into(), true);
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    // Who does not hear the command does not report on it either.
    world.drop_reports = true;
    world.restart();
    world.run_for(15_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(1_000);
    let first = world.commands.last().expect("a wake").clone();
    let wakes = world.commands.len();
    world.tell(Fact::NotSent {
        agent: first.agent.clone(),
        command: first.id.clone(),
        why: NotSent::NobodyListens,
    });
    world.run_for(100);
    assert_eq!(
        world.commands.len(),
        wakes + 1,
        "long before the next is due"
    );
    let second = world.commands.last().expect("another wake");
    assert_ne!(second.agent, first.agent);
}

#[test]
fn a_persons_cordon_is_known_again_after_a_restart_while_the_fence_stands() {
    let mut world = running(vec![group(), kubelet("m1")], 1);
    let node = |world: &World| -> NodeSeen { world.nodes["m1"].clone() };
    let cordoned = NodeSeen {
        unschedulable: true,
        ..node(&world)
    };
    world.nodes.insert("m1".into(), cordoned.clone());
    world.tell(Fact::NodeSeen(cordoned));
    world
        .pods
        .insert("m1".into(), vec![pod("web", PodStanding::Controlled)]);
    let off = Request::Ask {
        machine: MachineId::new("m1"),
        id: "one".into(),
        ask: Ask::Power {
            power: OverridePower::Off,
            until_ms: None,
        },
        by: "ann".into(),
    };
    assert_eq!(world.call(off), Answer::Done);
    world.run_for(20_000);
    let fence = "homelab-autoscaler.dev/power-off";
    assert!(node(&world).taints.iter().any(|taint| taint.key == fence));
    // The process dies before it has stored what it fenced the Node for.
    let stored = world.store_machines.get_mut(&MachineId::new("m1"));
    let stored = stored.expect("stored");
    stored.order = None;
    stored.operation = None;
    stored.override_ = None;
    world.restart();
    world.run_for(20_000);
    let after = node(&world);
    assert!(
        after.taints.iter().all(|taint| taint.key != fence),
        "{after:?}"
    );
    assert!(after.unschedulable, "the person's cordon stays");
    assert_eq!(after.annotations.len(), 0, "{after:?}");
}

#[test]
fn nobody_is_told_that_a_wish_is_stored_before_it_is() {
    let mut world = World::new(lab(1));
    world.run_for(60_000);
    world.store = Store::Down;
    let ask = || person("m1", "one", Ask::Retry);
    let (first, again) = (world.ask(ask()), world.ask(ask()));
    world.run_for(3_000);
    assert!(!world.answers.contains_key(&first) && !world.answers.contains_key(&again));
    world.store = Store::Up;
    world.run_for(5_000);
    for ticket in [first, again] {
        assert_eq!(world.answers[&ticket].1, Answer::Done);
    }
}

#[test]
fn nobody_waits_for_the_store_beyond_its_deadline() {
    let mut world = World::new(lab(1));
    world.run_for(60_000);
    world.store = Store::Down;
    let ticket = world.ask(person("m1", "one", Ask::Retry));
    world.run_for(6_000);
    let (_, answer) = &world.answers[&ticket];
    assert!(
        matches!(answer, Answer::Rejected(r) if r.kind == coordinator_core::RejectedKind::DeadlineExceeded),
        "{answer:?}"
    );
}
