//! Random histories against a tiny model: requests, crashes, store faults and silence, from a seed.
//!
//! Holds: the target is start plus accepted increases minus accepted deletions; no machine is woken or stopped that
//! nobody asked for; a restart at any point repeats no stop.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::{Answer, InstanceState, MachineId};

use crate::declare::{delete, group_id, increase, lab};
use crate::world::{Effect, World};

/// A small generator: histories must be the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const MACHINES: usize = 5;

/// What the model believes: the size, and how often each machine was given back.
#[derive(Default)]
struct Model {
    size: u32,
    deletions: BTreeMap<String, usize>,
}

fn history(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World::new(lab(MACHINES));
    let mut model = Model::default();
    for step in 0..30 {
        happen(&mut world, &mut model, &mut dice);
        check(&mut world, &model, &format!("seed {seed}, step {step}"));
    }
    world.drop_reports = false;
    world.run_for(1_200_000);
    let stored = world.store_groups.get(&group_id());
    let wanted: BTreeSet<String> = stored.map_or_else(BTreeSet::new, |group| {
        group.wanted.iter().map(|m| m.as_str().to_owned()).collect()
    });
    let on: BTreeSet<String> = world
        .sims
        .iter()
        .filter(|(_, s)| s.on)
        .map(|(n, _)| n.clone())
        .collect();
    let stray: Vec<String> = on
        .symmetric_difference(&wanted)
        .map(|name| describe(&mut world, name))
        .collect();
    assert_eq!(
        on, wanted,
        "seed {seed}: what is wished is reached; {stray:?}"
    );
}

fn happen(world: &mut World, model: &mut Model, dice: &mut Dice) {
    match dice.roll(8) {
        0 | 1 => {
            let delta = i32::try_from(dice.roll(3)).expect("small") + 1;
            let looked = world
                .store_groups
                .get(&group_id())
                .map_or(0, |g| g.sequence);
            if world.call(increase(delta, looked)) == Answer::Done {
                model.size += delta.unsigned_abs();
            }
        }
        2 | 3 => {
            let name = format!("m{}", dice.roll(MACHINES as u64) + 1);
            let stored = world.store_groups.get(&group_id());
            let wanted = stored.is_some_and(|g| g.wanted.iter().any(|m| m.as_str() == name));
            if world.call(delete(&[&name])) == Answer::Done && wanted {
                model.size -= 1;
                *model.deletions.entry(name).or_default() += 1;
            }
        }
        4 => world.restart(),
        5 => {
            world.store_up = false;
            let wait = dice.roll(20_000);
            world.run_for(wait);
            world.store_up = true;
        }
        6 => world.drop_reports = !world.drop_reports,
        _ => {
            let wait = dice.roll(180_000);
            world.run_for(wait);
        }
    }
}

fn describe(world: &mut World, name: &str) -> String {
    let now = world.now();
    let view = world.lab.view(now).machines[&MachineId::new(name)].clone();
    format!("{name}: {:?} {} {}", view.phase, view.why, view.message)
}

fn check(world: &mut World, model: &Model, at: &str) {
    let now = world.now();
    let view = world.lab.view(now);
    let group = &view.groups[&group_id()];
    assert_eq!(
        group.target,
        model.size,
        "{at}: target; {:?}",
        world.events.iter().rev().take(6).collect::<Vec<_>>()
    );
    let listed = group
        .instances
        .iter()
        .filter(|i| i.state != InstanceState::Deleting)
        .count();
    assert_eq!(
        listed,
        usize::try_from(group.target).expect("small"),
        "{at}: listed instances"
    );
    assert!(group.max_size >= group.target, "{at}: bound");
    for (_, effect) in &world.effects {
        if let Effect::Stop(name) | Effect::Cut(name) = effect {
            let allowed = model.deletions.get(name).copied().unwrap_or(0);
            assert!(
                world.stops(name) <= allowed,
                "{at}: {name} stopped {} times, deleted {allowed}",
                world.stops(name)
            );
        }
    }
}

#[test]
fn random_histories_keep_sizes_and_move_no_power_unasked() {
    for seed in 1..=200 {
        history(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let run = || {
        let mut world = World::new(lab(3));
        world.call(increase(2, 0));
        world.run_for(300_000);
        world.restart();
        world.call(delete(&["m1"]));
        world.run_for(300_000);
        (world.effects, world.store_machines)
    };
    assert_eq!(run(), run());
}
