//! Fewer machines: whom a decrease takes first, and deletions and decreases in any order, with restarts in between.

use std::collections::BTreeMap;

use coordinator_core::{Answer, Fact, InstanceState, Joins, MachineId, PhaseName, WakeOnLan};

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

/// One move of the autoscaler's, or of time.
#[derive(Clone, Copy, Debug)]
enum Move {
    Ask(i32),
    Decrease(i32),
    Delete(&'static [&'static str]),
    /// Long enough for whatever boots to join, and for whatever goes down to be off.
    Settle,
    /// Long enough for a machine that does not come to have failed.
    Fail,
}
use Move::{Ask, Decrease, Delete, Fail, Settle};

/// A story: each move with the machines that are wanted after it.
type Story = &'static [(Move, &'static [&'static str])];

const MACHINES: [&str; 4] = ["m1", "m2", "m3", "m4"];
/// This machine never boots.
const DEAD: &str = "m3";

const STORIES: &[(&str, Story)] = &[
    (
        "decreased, then deleted by the same name",
        &[
            (Ask(3), &["m1", "m2", "m3"]),
            (Decrease(-1), &["m1", "m2"]),
            (Delete(&["m3"]), &["m1", "m2"]),
            (Delete(&["m3"]), &["m1", "m2"]),
        ],
    ),
    (
        "deleted, then decreased",
        &[
            (Ask(3), &["m1", "m2", "m3"]),
            (Delete(&["m3"]), &["m1", "m2"]),
            (Decrease(-1), &["m1"]),
            (Delete(&["m3", "m2"]), &["m1"]),
        ],
    ),
    (
        "the first one deleted while others boot",
        &[
            (Ask(2), &["m1", "m2"]),
            (Delete(&["m1"]), &["m2"]),
            (Settle, &["m2"]),
            (Decrease(-2), &["m2"]),
        ],
    ),
    (
        "deleted after it has joined",
        &[
            (Ask(2), &["m1", "m2"]),
            (Settle, &["m1", "m2"]),
            (Delete(&["m1"]), &["m2"]),
            (Decrease(-2), &["m2"]),
            (Delete(&["m1"]), &["m2"]),
            (Settle, &["m2"]),
            (Delete(&["m1"]), &["m2"]),
        ],
    ),
    (
        "decreased after all have joined, then deleted",
        &[
            (Ask(2), &["m1", "m2"]),
            (Settle, &["m1", "m2"]),
            (Decrease(-2), &["m1", "m2"]),
            (Delete(&["m2"]), &["m1"]),
            (Decrease(-1), &["m1"]),
        ],
    ),
    (
        "one of three does not come: decreased by the whole increase, then deleted",
        &[
            (Ask(3), &["m1", "m2", "m3"]),
            (Settle, &["m1", "m2", "m3"]),
            (Decrease(-3), &["m1", "m2"]),
            (Delete(&["m3"]), &["m1", "m2"]),
        ],
    ),
    (
        "failed: deleted, then decreased",
        &[
            (Ask(3), &["m1", "m2", "m3"]),
            (Fail, &["m1", "m2", "m3"]),
            (Delete(&["m3"]), &["m1", "m2"]),
            (Decrease(-1), &["m1", "m2"]),
        ],
    ),
    (
        "failed: decreased, then deleted",
        &[
            (Ask(3), &["m1", "m2", "m3"]),
            (Fail, &["m1", "m2", "m3"]),
            (Decrease(-3), &["m1", "m2"]),
            (Delete(&["m3"]), &["m1", "m2"]),
        ],
    ),
    (
        "several deleted at once, the rest decreased",
        &[
            (Ask(3), &["m1", "m2", "m3"]),
            (Delete(&["m1", "m3"]), &["m2"]),
            (Decrease(-3), &[]),
            (Delete(&["m2", "m1"]), &[]),
        ],
    ),
    (
        "deleted while it boots, another one asked for",
        &[
            (Ask(1), &["m1"]),
            (Delete(&["m1"]), &[]),
            (Ask(1), &["m2"]),
            (Delete(&["m1"]), &["m2"]),
            (Settle, &["m2"]),
        ],
    ),
];

fn make(world: &mut World, step: Move) {
    match step {
        Ask(delta) => ask(world, delta),
        Decrease(delta) => assert_eq!(world.call(decrease(delta)), Answer::Done),
        Delete(names) => assert_eq!(world.call(delete(names)), Answer::Done),
        Settle => world.run_for(200_000),
        Fail => world.run_for(700_000),
    }
}

/// The target is the number of listed machines that are not deleting, and these are the ones that are wanted.
fn check(world: &mut World, expected: &[&str], at: &str) {
    let now = world.now();
    let group = world.lab.view(now).groups[&group_id()].clone();
    let listed = group.instances.iter();
    let listed = listed.filter(|instance| instance.state != InstanceState::Deleting);
    let listed: Vec<&str> = listed.map(|instance| instance.machine.as_str()).collect();
    assert_eq!(listed, expected, "listed, {at}");
    assert_eq!(wanted(world), expected, "stored, {at}");
    let target = usize::try_from(group.target).expect("small");
    assert_eq!(target, expected.len(), "target, {at}");
}

/// How often each machine had been woken when it was found unwanted first: no wake may follow.
type Idle = BTreeMap<&'static str, usize>;

fn check_idle(world: &World, idle: &mut Idle, wanted: &[&str], at: &str) {
    for machine in MACHINES {
        let wakes = world.wakes(machine);
        if wanted.contains(&machine) {
            idle.remove(machine);
        } else {
            let before = *idle.entry(machine).or_insert(wakes);
            assert_eq!(wakes, before, "{machine} is woken although unwanted, {at}");
        }
    }
}

#[test]
fn deletions_and_decreases_keep_target_and_list_together_in_any_order_and_over_restarts() {
    for (name, story) in STORIES {
        for restarts in [false, true] {
            let specs = std::iter::once(group()).chain(MACHINES.map(kubelet));
            let mut world = World::new(specs.collect());
            world.sims.get_mut(DEAD).expect("declared").never_boots = true;
            let mut idle = Idle::new();
            for (step, expected) in *story {
                let at = format!("{name}: {step:?}, restarts: {restarts}");
                make(&mut world, *step);
                check(&mut world, expected, &at);
                check_idle(&world, &mut idle, expected, &at);
                if restarts {
                    world.restart();
                    check(&mut world, expected, &format!("{at}, after a restart"));
                }
            }
            world.run_for(1_200_000);
            let (_, last) = story.last().expect("a story");
            check(&mut world, last, name);
            check_idle(&world, &mut idle, last, name);
            for machine in MACHINES {
                let runs = last.contains(&machine) && machine != DEAD;
                let at = format!("{name}: {machine}, restarts: {restarts}");
                assert_eq!(world.sims[machine].on, runs, "{at}");
                assert_eq!(world.nodes.contains_key(machine), runs, "Node, {at}");
                assert!(world.stops(machine) <= 1, "stopped once, {at}");
            }
        }
    }
}
