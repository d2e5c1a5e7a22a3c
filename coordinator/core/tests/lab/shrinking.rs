//! Fewer machines: whom a decrease takes first.

use coordinator_core::{Answer, Fact, Joins, MachineId, PhaseName, WakeOnLan};

use crate::declare::{
    decrease, delete, group, group_id, increase, kubelet, lab, machine, machine_spec,
};
use crate::steps::phase;
use crate::world::World;

/// Asks for so many more, having looked at everything before.
fn ask(world: &mut World, delta: i32) {
    let stored = world.store_groups.get(&group_id());
    let looked = stored.map_or(0, |record| record.sequence);
    assert_eq!(world.call(increase(delta, looked)), Answer::Done);
}

/// The machines that are wanted, as the store has them.
fn wanted(world: &World) -> Vec<&str> {
    let record = world.store_groups.get(&group_id());
    let wanted = record.into_iter().flat_map(|record| &record.wanted);
    let mut names: Vec<&str> = wanted.map(MachineId::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_decrease_takes_a_machine_that_nobody_could_wake_before_a_newer_one_that_boots() {
    let mut away = machine_spec("m2");
    away.wake_on_lan = away.wake_on_lan.map(|target| WakeOnLan {
        segment: "garage".into(),
        ..target
    });
    let away = Fact::MachineApplied(away);
    let mut world = World::new(vec![group(), machine("m1"), away, machine("m3")]);
    ask(&mut world, 3);
    world.run_for(10_000);
    assert_eq!([1, 0, 1], ["m1", "m2", "m3"].map(|name| world.wakes(name)));
    for left in [&["m1", "m3"][..], &["m1"], &[]] {
        assert_eq!(world.call(decrease(-1)), Answer::Done);
        assert_eq!(wanted(&world), left);
    }
}

#[test]
fn a_decrease_takes_a_machine_that_has_failed_before_a_newer_one_that_boots() {
    let mut world = World::new(lab(2));
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    ask(&mut world, 1);
    world.run_for(700_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::WakeFailed);
    ask(&mut world, 1);
    world.run_for(10_000);
    assert_eq!(world.wakes("m2"), 1);
    assert_eq!(world.call(decrease(-1)), Answer::Done);
    assert_eq!(wanted(&world), ["m2"]);
}

#[test]
fn a_decrease_takes_a_machine_that_shows_no_power_before_a_newer_one_that_does() {
    let mut world = World::new(vec![group(), kubelet("m1"), kubelet("m2")]);
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    // Its agent is heard; its kubelet takes its time.
    world.sims.get_mut("m2").expect("m2").joins = Joins::Agent;
    ask(&mut world, 2);
    world.run_for(60_000);
    assert!(world.sims["m2"].on);
    for name in ["m1", "m2"] {
        assert_eq!(phase(&mut world, name), PhaseName::Waking, "{name}");
    }
    assert_eq!(world.call(decrease(-1)), Answer::Done);
    assert_eq!(wanted(&world), ["m2"]);
}
