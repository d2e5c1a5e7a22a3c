//! Power cuts and machines that go off by themselves: what is known of them outlives the coordinator.

use coordinator_core::{Answer, Fact, MachineId, PhaseName, PowerState};

use crate::declare::{bmc, group, group_id, increase, lab};
use crate::steps::{phase, running};
use crate::world::World;

fn mass_silences(world: &World) -> usize {
    let reasons = world.reasons();
    reasons.iter().filter(|r| **r == "MassSilence").count()
}

/// Gaps between the wakes of different machines since `from_ms`, counting each machine's first one only.
fn gaps(world: &World, from_ms: u64) -> Vec<u64> {
    let mut seen = std::collections::BTreeSet::new();
    let firsts: Vec<u64> = world
        .effects
        .iter()
        .filter(|(at, _)| *at >= from_ms)
        .filter(|(_, effect)| seen.insert(format!("{effect:?}")))
        .map(|(at, _)| *at)
        .collect();
    firsts.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn cut_power(world: &mut World, names: &[&str]) -> u64 {
    for name in names {
        world.set_power(name, false);
    }
    world.now_ms
}

#[test]
fn a_power_cut_is_waited_out_over_a_restart() {
    let specs = ["r1", "r2"].map(|name| Fact::MachineApplied(bmc(name)));
    let mut world = running([vec![group()], specs.to_vec()].concat(), 2);
    let before = world.effects.len();
    let cut_ms = cut_power(&mut world, &["r1", "r2"]);
    world.run_for(100_000);
    assert_eq!(mass_silences(&world), 1);
    world.restart();
    world.run_for(180_000);
    assert_eq!(
        world.effects.len(),
        before,
        "time for the BIOS to start them"
    );
    world.run_for(240_000);
    let first_ms = world.effects[before].0;
    assert!(first_ms - cut_ms >= 300_000, "{} ms", first_ms - cut_ms);
    assert!(world.sims["r1"].on && world.sims["r2"].on);
    let record = &world.store_machines[&MachineId::new("r1")];
    assert_eq!(record.outage, None, "over once the machine is back");
}

#[test]
fn a_clock_that_is_set_back_does_not_stretch_a_power_cut() {
    let specs = ["r1", "r2"].map(|name| Fact::MachineApplied(bmc(name)));
    let mut world = running([vec![group()], specs.to_vec()].concat(), 2);
    cut_power(&mut world, &["r1", "r2"]);
    world.run_for(100_000);
    assert_eq!(mass_silences(&world), 1);
    world.clock_back_ms = 3_600_000;
    world.run_for(420_000);
    assert!(world.sims["r1"].on && world.sims["r2"].on);
}

#[test]
fn after_a_power_cut_and_a_restart_machines_without_a_bmc_are_woken_too() {
    let mut world = running(lab(3), 3);
    cut_power(&mut world, &["m1", "m2", "m3"]);
    world.run_for(100_000);
    world.restart();
    world.run_for(600_000);
    assert!(world.sims.values().all(|sim| sim.on));
}

#[test]
fn a_group_is_left_alone_over_a_restart_too() {
    let mut world = running(lab(4), 3);
    cut_power(&mut world, &["m1", "m2", "m3"]);
    world.run_for(60_000);
    world.restart();
    world.run_for(1_000);
    let looked = world.store_groups[&group_id()].sequence;
    assert!(matches!(
        world.call(increase(1, looked)),
        Answer::Rejected(_)
    ));
    let now = world.now();
    assert!(world.lab.view(now).groups[&group_id()].frozen);
}

#[test]
fn a_machine_switched_off_by_hand_is_not_woken_by_a_coordinator_killed_before_it_said_so() {
    let specs = ["r1", "r2", "r3"].map(|name| Fact::MachineApplied(bmc(name)));
    let mut world = running([vec![group()], specs.to_vec()].concat(), 3);
    let wakes = world.wakes("r1");
    let wished = world.store_groups.clone();
    world.set_power("r1", false);
    let r1 = MachineId::new("r1");
    for _ in 0..300_000 {
        world.run_for(1);
        if world.store_machines[&r1].power.state == PowerState::Off {
            break;
        }
    }
    // Its own state was stored; the write that takes it out of the wish never arrived.
    world.store_groups = wished;
    world.restart();
    world.run_for(300_000);
    assert_eq!(world.wakes("r1"), wakes);
    assert_eq!(world.store_groups[&group_id()].wanted.len(), 2);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Off);
}

#[test]
fn silences_that_began_far_apart_are_no_mass_silence() {
    let mut world = running(lab(4), 4);
    for name in ["m1", "m2"] {
        world.sims.get_mut(name).expect("declared").mute = true;
        world.run_for(600_000);
    }
    assert_eq!(phase(&mut world, "m1"), PhaseName::Unknown);
    assert_eq!(phase(&mut world, "m2"), PhaseName::Unknown);
    assert_eq!(mass_silences(&world), 0);
}

#[test]
fn machines_that_do_not_come_back_after_a_restart_fell_silent_together() {
    let mut world = running(lab(3), 3);
    cut_power(&mut world, &["m1", "m2", "m3"]);
    world.restart();
    world.run_for(60_000);
    assert_eq!(mass_silences(&world), 1);
}

#[test]
fn wakes_that_go_on_after_a_restart_are_spread_as_before() {
    let mut world = World::new(lab(4));
    for sim in world.sims.values_mut() {
        sim.never_boots = true;
    }
    assert_eq!(world.call(increase(4, 0)), Answer::Done);
    world.run_for(15_000);
    world.restart();
    let from_ms = world.now_ms;
    world.run_for(19_000);
    let gaps = gaps(&world, from_ms);
    assert_eq!(gaps.len(), 3);
    assert!(gaps.iter().all(|gap| *gap >= 2_000), "{gaps:?}");
}

#[test]
fn wakes_after_a_power_cut_stay_spread_over_a_restart() {
    let mut world = running(lab(3), 3);
    for sim in world.sims.values_mut() {
        sim.never_boots = true;
    }
    let cut_ms = cut_power(&mut world, &["m1", "m2", "m3"]);
    world.run_for(450_000);
    assert!(gaps(&world, cut_ms).iter().all(|gap| *gap >= 20_000));
    world.restart();
    let from_ms = world.now_ms;
    world.run_for(90_000);
    let gaps = gaps(&world, from_ms);
    assert_eq!(gaps.len(), 2);
    assert!(gaps.iter().all(|gap| *gap >= 20_000), "{gaps:?}");
}

#[test]
fn a_machine_whose_turn_comes_late_has_its_whole_boot_time() {
    let mut specs = lab(40);
    for spec in &mut specs {
        if let Fact::MachineApplied(machine) = spec {
            machine.timeouts.boot_ms = 60_000;
        }
    }
    let mut world = World::new(specs);
    assert_eq!(world.call(increase(40, 0)), Answer::Done);
    world.run_for(150_000);
    assert!(world.sims.values().all(|sim| sim.on));
    assert!(!world.reasons().contains(&"BootTimeout"));
}
