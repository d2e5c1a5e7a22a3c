//! Stops that are held up or not heeded, and boots that only look like ours.

use coordinator_core::{
    Answer, Ask, Fact, ForceOff, Joins, MachineId, MachineSpec, NodeSeen, OverridePower, PhaseName,
    PodStanding, Timeouts, Verb,
};

use crate::declare::{bmc, delete, group, increase, kubelet, lab, person, pod};
use crate::steps::{phase, running};
use crate::world::{Effect, World};

const STOP_MS: u64 = 60_000;

fn bmc_with(force_off: ForceOff) -> Fact {
    let spec = bmc("r1");
    Fact::MachineApplied(MachineSpec {
        force_off,
        timeouts: Timeouts {
            stop_ms: STOP_MS,
            ..spec.timeouts
        },
        ..spec
    })
}

/// A machine whose power alone counts as a sight of it.
fn bmc_seen() -> MachineSpec {
    MachineSpec {
        joins: Joins::Kubelet,
        ..bmc("r1")
    }
}

fn mute(world: &mut World, name: &str, mute: bool) {
    world.sims.get_mut(name).expect("declared").mute = mute;
}

fn hold_off(world: &mut World, name: &str, for_ms: u64) {
    let ask = Ask::Power {
        power: OverridePower::Off,
        until_ms: Some(world.now().wall_ms.saturating_add_unsigned(for_ms)),
    };
    let request = person(name, "off", ask);
    assert_eq!(world.call(request), Answer::Done);
}

#[test]
fn power_is_cut_a_whole_stop_timeout_after_the_first_order_however_long_that_was_held_up() {
    let mut world = running(vec![group(), bmc_with(ForceOff::AfterTimeout)], 1);
    world.sims.get_mut("r1").expect("r1").ignores_stop = true;
    mute(&mut world, "r1", true);
    world.relays.insert("pi".into(), false);
    world.run_for(60_000);
    assert_eq!(world.call(delete(&["r1"])), Answer::Done);
    world.run_for(3 * STOP_MS);
    assert_eq!(world.stops("r1"), 0, "nobody can be asked");
    world.relays.insert("pi".into(), true);
    world.run_for(STOP_MS / 2);
    let cut = Effect::Cut("r1".into());
    assert_eq!(world.stops("r1"), 1);
    assert!(world.effects.iter().all(|(_, effect)| *effect != cut));
    world.run_for(STOP_MS);
    assert!(world.effects.iter().any(|(_, effect)| *effect == cut));
}

#[test]
fn an_order_that_a_bmc_passed_on_and_nobody_heeded_is_given_again() {
    let mut world = running(vec![group(), bmc_with(ForceOff::Never)], 1);
    world.sims.get_mut("r1").expect("r1").ignores_stop = true;
    mute(&mut world, "r1", true);
    world.run_for(60_000);
    assert_eq!(world.call(delete(&["r1"])), Answer::Done);
    world.run_for(STOP_MS / 2);
    assert_eq!(world.stops("r1"), 1, "through its BMC");
    world.sims.get_mut("r1").expect("r1").ignores_stop = false;
    mute(&mut world, "r1", false);
    world.run_for(2 * STOP_MS);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Off);
}

#[test]
fn a_machine_whose_power_alone_was_seen_is_not_stopped_in_whatever_boot() {
    let mut world = World::new(vec![group(), Fact::MachineApplied(bmc_seen())]);
    let sim = world.sims.get_mut("r1").expect("r1");
    (sim.joins, sim.mute, sim.ignores_stop) = (Joins::Agent, true, true);
    world.set_power("r1", true);
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Running, "by its BMC");
    world.drop_reports = true;
    hold_off(&mut world, "r1", 600_000);
    world.run_for(2_000);
    mute(&mut world, "r1", false);
    world.run_for(60_000);
    let offs: Vec<_> = world
        .commands
        .iter()
        .filter(|command| command.verb == Verb::PowerOff)
        .map(|command| command.boot_id.clone())
        .collect();
    assert!(!offs.is_empty());
    let boot_id = world.boot_id("r1");
    assert!(
        offs.iter().all(|boot| *boot == Some(boot_id.clone())),
        "{offs:?}"
    );
}

#[test]
fn a_machine_that_is_declared_anew_is_still_not_stopped_under_its_pods() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    world
        .pods
        .insert("k1".into(), vec![pod("late", PodStanding::Controlled)]);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(20_000);
    world.redeclare(Fact::MachineRemoved(MachineId::new("k1")));
    world.redeclare(kubelet("k1"));
    world.run_for(60_000);
    assert!(world.stopped().is_empty());
    world.pods.clear();
    world.run_for(30_000);
    assert_eq!(world.stops("k1"), 1);
}

#[test]
fn power_is_not_cut_over_pods_of_a_node_that_shows_up_after_the_order() {
    let spec = MachineSpec {
        force_off: ForceOff::AfterTimeout,
        ..bmc_seen()
    };
    let mut world = World::new(vec![group(), Fact::MachineApplied(spec)]);
    let sim = world.sims.get_mut("r1").expect("r1");
    (sim.joins, sim.mute, sim.ignores_stop) = (Joins::Agent, true, true);
    world.set_power("r1", true);
    world.run_for(120_000);
    hold_off(&mut world, "r1", 3_600_000);
    world.run_for(10_000);
    assert_eq!(world.stops("r1"), 1, "it had no Node");
    let node = NodeSeen {
        name: "r1".into(),
        uid: "late".into(),
        ready: true,
        boot_id: world.boot_id("r1"),
        ..NodeSeen::default()
    };
    world.nodes.insert("r1".into(), node.clone());
    world
        .pods
        .insert("r1".into(), vec![pod("late", PodStanding::Controlled)]);
    world.tell(Fact::NodeSeen(node));
    world.run_for(900_000);
    assert!(world.sims["r1"].on);
    assert_eq!(world.stops("r1"), 1);
}

#[test]
fn a_machine_that_only_its_bmc_shows_to_be_on_does_not_flicker() {
    let mut world = World::new(vec![group(), Fact::MachineApplied(bmc_seen())]);
    let sim = world.sims.get_mut("r1").expect("r1");
    (sim.joins, sim.mute) = (Joins::Agent, true);
    world.set_power("r1", true);
    world.run_for(60_000);
    let before = world.events.len();
    world.run_for(600_000);
    assert_eq!(world.events[before..], []);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Running);
}

#[test]
fn a_wake_that_failed_is_told_although_its_bmc_says_off_all_along() {
    let mut world = World::new(vec![group(), bmc_with(ForceOff::Never)]);
    world.run_for(120_000);
    world.sims.get_mut("r1").expect("r1").never_boots = true;
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(700_000);
    assert!(world.reasons().contains(&"BootTimeout"));
    assert_eq!(phase(&mut world, "r1"), PhaseName::WakeFailed);
    assert!(!world.reasons().contains(&"LostPower"));
}

#[test]
fn a_boot_that_its_agent_knows_to_be_older_than_our_wake_proves_nothing() {
    let mut world = World::new(lab(1));
    world.set_power("m1", true);
    world.run_for(30_000);
    hold_off(&mut world, "m1", 120_000);
    world.run_for(130_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Off);
    mute(&mut world, "m1", true);
    world.set_power("m1", true);
    world.run_for(15_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(5_000);
    assert_eq!(world.wakes("m1"), 1);
    mute(&mut world, "m1", false);
    world.run_for(15_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    let record = &world.store_machines[&MachineId::new("m1")];
    assert_eq!(record.proven_at_ms, None);
}
