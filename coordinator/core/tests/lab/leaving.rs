//! Machines on their way out of their group: what may still happen to them, and what must not.

use coordinator_core::{
    Answer, Ask, Fact, ForceOff, GroupSpec, MachineId, MachineSpec, Mode, OverridePower, PhaseName,
    PowerPolicy, RejectedKind, StopMethod, Timeouts,
};

use crate::declare::{
    bmc, decrease, delete, group, group_id, group_spec, increase, lab, machine, machine_spec,
    person,
};
use crate::drains::power;
use crate::steps::{phase, running};
use crate::world::{Effect, Store, World};

fn ask(world: &mut World, machine: &str, id: &str, ask: Ask) -> Answer {
    world.call(person(machine, id, ask))
}

fn manual(target: u32) -> Fact {
    Fact::GroupApplied(GroupSpec {
        mode: Mode::Manual { target },
        ..group_spec()
    })
}

/// Two machines were asked for; the second one's turn to be woken comes in the next millisecond.
fn just_before_the_second_wake() -> World {
    let mut world = World::new(lab(2));
    world.run_for(60_000);
    assert_eq!(world.call(increase(2, 0)), Answer::Done);
    let (woken_ms, first) = world.effects[0].clone();
    assert_eq!(first, Effect::Wake("m1".into()));
    let until_ms = woken_ms + world.policy.wake_stagger_ms - 1;
    world.run_for(until_ms - world.now_ms);
    assert_eq!(world.wakes("m2"), 0);
    world
}

#[test]
fn a_machine_that_is_being_given_back_gets_no_wake_before_that_is_stored() {
    for request in [delete(&["m2"]), decrease(-1)] {
        let mut world = just_before_the_second_wake();
        assert_eq!(world.call(request), Answer::Done);
        world.run_for(300_000);
        assert_eq!(world.wakes("m2"), 0);
        assert!(!world.sims["m2"].on);
    }
}

#[test]
fn a_machine_that_could_not_be_given_back_is_woken_after_all() {
    let mut world = just_before_the_second_wake();
    world.store = Store::Down;
    let answer = world.call(delete(&["m2"]));
    assert!(matches!(answer, Answer::Rejected(_)), "{answer:?}");
    world.store = Store::Up;
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "m2"), PhaseName::Running);
}

#[test]
fn a_smaller_target_size_that_was_stored_unknown_to_us_still_stops_its_machine() {
    let mut world = World::new(vec![manual(2), machine("m1"), machine("m2")]);
    world.run_for(180_000);
    assert!(world.sims["m1"].on && world.sims["m2"].on);
    world.redeclare(manual(1));
    // The order is stored; then the smaller group is, and nobody hears of it.
    while world.store_machines[&MachineId::new("m2")].order.is_none() {
        world.run_for(1);
    }
    world.store = Store::Mute;
    world.run_for(3_000);
    assert_eq!(world.store_groups[&group_id()].wanted.len(), 1);
    world.store = Store::Up;
    world.run_for(600_000);
    assert_eq!(world.stops("m2"), 1);
    assert_eq!(phase(&mut world, "m2"), PhaseName::Off);
}

#[test]
fn a_machine_whose_record_is_refused_does_not_keep_the_others_of_a_smaller_group_running() {
    let mut world = World::new(vec![manual(2), machine("m1"), machine("m2")]);
    world.run_for(180_000);
    world.unstorable.insert("m2".into());
    world.redeclare(manual(0));
    world.run_for(600_000);
    assert_eq!(["m1", "m2"].map(|name| world.stops(name)), [1, 0]);
}

#[test]
fn a_declaration_that_says_off_does_not_wait_for_the_autoscaler() {
    let mut world = running(lab(1), 1);
    world.store = Store::Down;
    world.ask(delete(&["m1"]));
    world.settle();
    let spec = MachineSpec {
        power: PowerPolicy::AlwaysOff,
        ..machine_spec("m1")
    };
    world.redeclare(Fact::MachineApplied(spec));
    assert_eq!(phase(&mut world, "m1"), PhaseName::Stopping);
}

#[test]
fn an_order_that_a_bmc_refuses_takes_nothing_back_from_an_earlier_one() {
    let spec = bmc("r1");
    let spec = MachineSpec {
        stop: vec![StopMethod::Redfish],
        force_off: ForceOff::AfterTimeout,
        timeouts: Timeouts {
            stop_ms: 60_000,
            ..spec.timeouts
        },
        ..spec
    };
    let mut world = running(vec![group(), Fact::MachineApplied(spec)], 1);
    world.sims.get_mut("r1").expect("r1").ignores_stop = true;
    let off = power(OverridePower::Off, None);
    assert_eq!(ask(&mut world, "r1", "one", off), Answer::Done);
    world.run_for(30_000);
    assert_eq!(world.stops("r1"), 1);
    world.barred.insert("pi".into());
    world.run_for(40_000);
    assert_eq!(ask(&mut world, "r1", "two", Ask::Release), Answer::Done);
    let now = world.now();
    let shown = &world.lab.view(now).machines[&MachineId::new("r1")];
    assert_ne!(shown.why, "StopCancelled", "the first one has left");
}

#[test]
fn a_machine_that_is_being_proven_and_is_given_back_stays_off() {
    let mut world = running(lab(1), 1);
    assert_eq!(ask(&mut world, "m1", "one", Ask::Prove), Answer::Done);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Stopping);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(300_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Off);
    assert!(world.store_groups[&group_id()].wanted.is_empty());
}

#[test]
fn a_machine_that_is_being_given_back_is_not_proven() {
    let mut world = running(lab(1), 1);
    world.ask(delete(&["m1"]));
    world.settle();
    let refused = ask(&mut world, "m1", "one", Ask::Prove);
    let kind = match refused {
        Answer::Done => None,
        Answer::Rejected(rejected) => Some(rejected.kind),
    };
    assert_eq!(kind, Some(RejectedKind::FailedPrecondition));
    world.run_for(300_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Off);
}
