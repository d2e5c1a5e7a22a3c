//! Wakes that fail: told as soon as it is certain, left out for longer each time, and with a way back.

use coordinator_core::{
    Answer, Ask, Fact, GroupView, InstanceState, Joins, MachineId, MachineRecord, MachineSpec,
    PhaseName, Verb, WakeMethod,
};

use crate::declare::{
    bmc, delete, group, group_id, increase, kubelet, lab, machine, machine_spec, person, relay_info,
};
use crate::steps::phase;
use crate::world::World;

const MINUTE_MS: u64 = 60_000;

fn shown(world: &mut World) -> GroupView {
    let now = world.now();
    GroupView::clone(&world.lab.view(now).groups[&group_id()])
}

fn record<'a>(world: &'a World, name: &str) -> &'a MachineRecord {
    &world.store_machines[&MachineId::new(name)]
}

fn looked(world: &World) -> u64 {
    let stored = world.store_groups.get(&group_id());
    stored.map_or(0, |record| record.sequence)
}

fn ask_for(world: &mut World, count: i32) {
    let looked = looked(world);
    assert_eq!(world.call(increase(count, looked)), Answer::Done);
}

/// Gives it back and waits until it is off.
fn sleep(world: &mut World, name: &str) {
    assert_eq!(world.call(delete(&[name])), Answer::Done);
    world.run_for(2 * MINUTE_MS);
    assert_eq!(phase(world, name), PhaseName::Off);
}

fn boot(world: &mut World, name: &str) {
    ask_for(world, 1);
    world.run_for(5 * MINUTE_MS);
    assert_eq!(phase(world, name), PhaseName::Running);
}

/// The only machine of a lab, off after it has come so many times.
fn booted(specs: Vec<Fact>, name: &str, times: usize) -> World {
    let mut world = World::new(specs);
    world.run_for(MINUTE_MS);
    for _ in 0..times {
        boot(&mut world, name);
        sleep(&mut world, name);
    }
    world
}

fn retry(world: &mut World, name: &str, id: &str) {
    let request = person(name, id, Ask::Retry);
    assert_eq!(world.call(request), Answer::Done);
}

/// How long after a request the failure of its machine is told; it is given up after an hour.
#[track_caller]
fn told_after_s(world: &mut World) -> u64 {
    ask_for(world, 1);
    let from_ms = world.now_ms;
    while !matches!(
        shown(world).instances[0].state,
        InstanceState::Failed { .. }
    ) {
        assert!(
            world.now_ms < from_ms + 60 * MINUTE_MS,
            "{:?}",
            world.reasons()
        );
        world.run_for(1_000);
    }
    (world.now_ms - from_ms) / 1000
}

/// Code, message and class of the instance that has failed.
#[track_caller]
fn failure(world: &mut World) -> (String, String, bool) {
    let instances = shown(world).instances;
    let mut failed = instances.into_iter().filter_map(|one| match one.state {
        InstanceState::Failed {
            code,
            message,
            out_of_resources,
        } => Some((code.to_owned(), String::from(&*message), out_of_resources)),
        InstanceState::Creating | InstanceState::Running | InstanceState::Deleting => None,
    });
    failed.next().expect("one has failed")
}

#[test]
fn a_machine_that_is_known_to_boot_fast_is_told_as_failed_long_before_its_declared_timeout() {
    let mut world = booted(lab(1), "m1", 3);
    assert_eq!(record(&world, "m1").boots_s, [30; 3]);
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    // What was learned is stored.
    world.restart();
    world.run_for(15_000);
    let after_s = told_after_s(&mut world);
    assert!((149..=152).contains(&after_s), "{after_s} s");
    let (code, message, out_of_resources) = failure(&mut world);
    assert!(code == "BOOT_TIMEOUT" && !out_of_resources, "{code}");
    assert!(
        message.contains("No sign of life in 2m30s") && message.contains("last 3 boots: 30–30 s"),
        "{message}"
    );
}

#[test]
fn too_few_boots_shorten_nothing() {
    let mut world = booted(lab(1), "m1", 2);
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    let after_s = told_after_s(&mut world);
    assert!((599..=602).contains(&after_s), "{after_s} s");
}

#[test]
fn what_was_learned_is_never_more_than_what_was_declared() {
    let mut specs = lab(1);
    if let Fact::MachineApplied(machine) = &mut specs[1] {
        machine.timeouts.boot_ms = 100_000;
    }
    let mut world = booted(specs, "m1", 3);
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    let after_s = told_after_s(&mut world);
    assert!((99..=102).contains(&after_s), "{after_s} s");
}

#[test]
fn the_slowest_of_the_last_boots_counts_and_half_of_it_again_where_that_is_long() {
    let mut world = booted(lab(1), "m1", 2);
    world.sims.get_mut("m1").expect("m1").boot_takes_ms = 250_000;
    boot(&mut world, "m1");
    sleep(&mut world, "m1");
    assert_eq!(record(&world, "m1").boots_s, [30, 30, 250]);
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    let after_s = told_after_s(&mut world);
    assert!((374..=377).contains(&after_s), "{after_s} s");
}

#[test]
fn a_machine_that_is_heard_has_all_of_its_declared_time_to_join() {
    let mut world = booted(vec![group(), kubelet("k1")], "k1", 3);
    // Its agent is up at once, its kubelet hangs.
    world.sims.get_mut("k1").expect("k1").joins = Joins::Agent;
    ask_for(&mut world, 1);
    world.run_for(9 * MINUTE_MS);
    assert!(world.sims["k1"].on);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Waking);
    for untrue in ["BootTimeout", "WakeUnanswered"] {
        assert!(!world.reasons().contains(&untrue), "{untrue}");
    }
}

#[test]
fn a_machine_that_has_become_slower_fails_once_and_is_then_known_to_be_slower() {
    let mut world = booted(lab(1), "m1", 3);
    world.sims.get_mut("m1").expect("m1").boot_takes_ms = 200_000;
    let after_s = told_after_s(&mut world);
    assert!((149..=152).contains(&after_s), "{after_s} s");
    assert_eq!(record(&world, "m1").boots_s, [30; 2], "one is forgotten");
    // It comes a little later all the same.
    world.run_for(MINUTE_MS);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    sleep(&mut world, "m1");
    for boots in [vec![30, 30, 200], vec![30, 30, 200, 200]] {
        boot(&mut world, "m1");
        assert_eq!(record(&world, "m1").boots_s, boots);
        sleep(&mut world, "m1");
    }
    let failures = world.reasons().into_iter().filter(|r| *r == "BootTimeout");
    assert_eq!(failures.count(), 1);
}

#[test]
fn a_boot_that_nobody_watched_from_its_wake_on_teaches_nothing() {
    let mut world = World::new(lab(1));
    world.run_for(MINUTE_MS);
    ask_for(&mut world, 1);
    world.restart();
    world.run_for(MINUTE_MS);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    assert_eq!(record(&world, "m1").boots_s, [0; 0]);
}

#[test]
fn how_long_a_boot_took_rides_with_a_write_that_happens_anyway() {
    let mut world = booted(vec![group(), kubelet("k1")], "k1", 3);
    let before = world.writes;
    boot(&mut world, "k1");
    assert_eq!(record(&world, "k1").boots_s.len(), 4);
    let writes = world.writes - before;
    assert!(writes <= 6, "{writes} writes for one power-on");
}

/// Through which relays BMCs were told to switch on.
fn asked_of(world: &World) -> Vec<&str> {
    let wakes = world
        .commands
        .iter()
        .filter(|command| matches!(command.verb, Verb::RedfishOn(_)));
    wakes.map(|command| command.agent.as_str()).collect()
}

/// A machine with a BMC, known to be off.
fn behind_bmc(spec: MachineSpec) -> World {
    let mut world = World::new(vec![group(), Fact::MachineApplied(spec)]);
    world.run_for(2 * MINUTE_MS);
    world
}

/// Woken by its BMC, else by magic packet.
fn both_ways() -> MachineSpec {
    MachineSpec {
        wake: vec![WakeMethod::Redfish, WakeMethod::WakeOnLan],
        wake_on_lan: machine_spec("r1").wake_on_lan,
        ..bmc("r1")
    }
}

#[test]
fn a_bmc_that_refuses_for_good_is_told_at_once_and_asked_once() {
    let mut world = behind_bmc(bmc("r1"));
    world.barred.insert("pi".into());
    let after_s = told_after_s(&mut world);
    assert!(after_s <= 1, "{after_s} s");
    let (code, message, out_of_resources) = failure(&mut world);
    assert!(code == "WAKE_REFUSED" && out_of_resources, "{code}");
    let facts = [
        "https://10.0.0.1",
        "relay pi",
        "no such user",
        "WAKE_REFUSED",
    ];
    for fact in facts {
        assert!(message.contains(fact), "{fact:?} is not in {message:?}");
    }
    world.run_for(4 * MINUTE_MS);
    assert_eq!(asked_of(&world), ["pi"], "an account may be locked by more");
    let quarantine = record(&world, "r1").quarantine.clone().expect("left out");
    assert_eq!(quarantine.reason, "WakeRefused");
}

#[test]
fn a_fault_that_may_pass_is_not_told_before_the_boot_timeout() {
    let mut world = World::new(lab(1));
    world.refuses_wakes = true;
    let after_s = told_after_s(&mut world);
    assert!((595..=605).contains(&after_s), "{after_s} s");
    assert_eq!(failure(&mut world).0, "WAKE_REFUSED");
}

#[test]
fn another_relay_is_asked_before_a_refusal_is_told() {
    let mut world = behind_bmc(bmc("r1"));
    world.relays.insert("nas".into(), true);
    world.tell(Fact::AgentInfo(relay_info("nas").into()));
    world.run_for(15_000);
    world.barred.insert("nas".into());
    ask_for(&mut world, 1);
    world.run_for(2_000);
    assert_eq!(asked_of(&world), ["nas", "pi"]);
    world.run_for(MINUTE_MS);
    assert_eq!(asked_of(&world)[1..], ["pi", "pi"], "it never asks again");
    assert_eq!(phase(&mut world, "r1"), PhaseName::Running);
}

#[test]
fn another_way_is_taken_before_a_refusal_is_told_and_the_refused_one_is_left_alone() {
    let mut world = behind_bmc(both_ways());
    world.barred.insert("pi".into());
    world.sims.get_mut("r1").expect("r1").never_boots = true;
    let after_s = told_after_s(&mut world);
    assert!((599..=606).contains(&after_s), "{after_s} s");
    assert_eq!(failure(&mut world).0, "BOOT_TIMEOUT", "packets did leave");
    assert_eq!(asked_of(&world), ["pi"]);
    assert!(world.wakes("r1") > 20);
}

#[test]
fn silent_relays_are_told_as_a_lack_of_resources_before_the_boot_timeout() {
    let mut world = World::new(lab(1));
    world.relays.insert("pi".into(), false);
    world.run_for(MINUTE_MS);
    let after_s = told_after_s(&mut world);
    assert!((89..=92).contains(&after_s), "{after_s} s");
    let (code, message, out_of_resources) = failure(&mut world);
    assert!(code == "NO_RELAY" && out_of_resources, "{code}");
    let facts = ["1m30s", "no awake relay on segment default", "NO_RELAY"];
    for fact in facts {
        assert!(message.contains(fact), "{fact:?} is not in {message:?}");
    }
    assert!(world.effects.is_empty());
}

#[test]
fn a_machine_that_was_left_out_for_want_of_a_relay_is_back_with_the_relay() {
    let mut world = World::new(lab(1));
    world.relays.insert("pi".into(), false);
    world.run_for(MINUTE_MS);
    told_after_s(&mut world);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    assert_eq!(shown(&mut world).max_size, 0, "nobody could wake it");
    world.relays.insert("pi".into(), true);
    world.run_for(15_000);
    assert_eq!(shown(&mut world).max_size, 1);
    boot(&mut world, "m1");
}

#[test]
fn while_the_broker_is_away_no_relay_is_held_to_be_silent() {
    let mut world = World::new(lab(1));
    world.relays.insert("pi".into(), false);
    world.run_for(MINUTE_MS);
    ask_for(&mut world, 1);
    world.run_for(MINUTE_MS);
    world.tell(Fact::Broker { up: false });
    world.run_for(30 * MINUTE_MS);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Waking);
    world.tell(Fact::Broker { up: true });
    world.run_for(MINUTE_MS);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Waking, "once more 90 s");
    world.relays.insert("pi".into(), true);
    world.run_for(MINUTE_MS);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    assert_eq!(record(&world, "m1").quarantine, None);
}

#[test]
fn while_nobody_listens_no_wake_is_held_to_be_unanswered() {
    let mut world = World::new(lab(1));
    world.sims.get_mut("m1").expect("m1").boot_takes_ms = 4 * MINUTE_MS;
    world.run_for(MINUTE_MS);
    ask_for(&mut world, 1);
    world.run_for(10_000);
    world.tell(Fact::Broker { up: false });
    world.run_for(2 * MINUTE_MS);
    assert!(!world.reasons().contains(&"WakeUnanswered"));
    world.tell(Fact::Broker { up: true });
    world.run_for(MINUTE_MS);
    assert!(!world.reasons().contains(&"WakeUnanswered"), "70 s in all");
    world.run_for(30_000);
    assert!(world.reasons().contains(&"WakeUnanswered"));
}

#[test]
fn each_further_failure_doubles_the_time_a_machine_is_left_out_up_to_an_hour() {
    let mut world = behind_bmc(bmc("r1"));
    world.barred.insert("pi".into());
    for minutes in [5, 10, 20, 40, 60, 60] {
        told_after_s(&mut world);
        let left_out = record(&world, "r1").quarantine.clone().expect("left out");
        let left_ms = left_out.until_ms - world.now().wall_ms;
        let minute_ms = i64::try_from(MINUTE_MS).expect("small");
        assert_eq!(
            (left_ms + minute_ms - 1) / minute_ms,
            minutes,
            "{left_out:?}"
        );
        assert_eq!(world.call(delete(&["r1"])), Answer::Done);
        assert_eq!(shown(&mut world).max_size, 0, "it is left out");
        world.restart();
        world.run_for(15_000);
        assert_eq!(shown(&mut world).max_size, 0, "also after a restart");
        world.run_for(left_ms.unsigned_abs());
        assert_eq!(shown(&mut world).max_size, 1, "it may be tried again");
    }
}

#[test]
fn a_person_may_have_a_failed_machine_tried_at_once_while_it_is_wanted() {
    let mut world = behind_bmc(bmc("r1"));
    world.barred.insert("pi".into());
    told_after_s(&mut world);
    world.barred.clear();
    // Its BMC is read as Off meanwhile, which is no news.
    world.run_for(2 * MINUTE_MS);
    retry(&mut world, "r1", "one");
    assert_eq!(phase(&mut world, "r1"), PhaseName::Waking);
    assert!(!world.reasons().contains(&"LostPower"), "it was off before");
    world.run_for(MINUTE_MS);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Running);
    assert_eq!(record(&world, "r1").quarantine, None);
    assert_eq!(shown(&mut world).target, 1);
}

#[test]
fn a_person_may_bring_a_machine_back_that_was_left_out_and_given_back() {
    let mut world = behind_bmc(bmc("r1"));
    world.barred.insert("pi".into());
    for id in ["one", "two"] {
        told_after_s(&mut world);
        assert_eq!(world.call(delete(&["r1"])), Answer::Done);
        retry(&mut world, "r1", id);
        assert_eq!(shown(&mut world).max_size, 1);
    }
    // A person's word starts it from nothing.
    told_after_s(&mut world);
    let left_out = record(&world, "r1").quarantine.clone().expect("left out");
    assert_eq!(left_out.failures, 1);
}

#[test]
fn a_machine_that_has_come_is_no_worse_for_what_was_before() {
    let mut world = behind_bmc(bmc("r1"));
    world.barred.insert("pi".into());
    told_after_s(&mut world);
    world.barred.clear();
    world.run_for(6 * MINUTE_MS);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Running, "tried again");
    assert_eq!(record(&world, "r1").quarantine, None);
}

/// A kubelet's machine whose BMC says On as soon as it is woken, and of which nothing else is ever heard.
fn hung() -> World {
    let mut world = behind_bmc(MachineSpec {
        joins: Joins::Kubelet,
        ..bmc("r1")
    });
    let sim = world.sims.get_mut("r1").expect("r1");
    (sim.joins, sim.mute) = (Joins::Agent, true);
    ask_for(&mut world, 1);
    world.run_for(11 * MINUTE_MS);
    assert!(world.sims["r1"].on);
    world
}

#[test]
fn a_machine_that_has_power_and_does_not_join_stays_told_as_failed() {
    let mut world = hung();
    world.run_for(2 * MINUTE_MS);
    let (code, message, _) = failure(&mut world);
    assert_eq!(code, "BOOT_TIMEOUT");
    assert!(message.contains("power, by its BMC"), "{message}");
    assert!(!world.reasons().contains(&"SeenRunning"));
    // What has come late has come.
    let sim = world.sims.get_mut("r1").expect("r1");
    (sim.joins, sim.mute) = (Joins::Kubelet, false);
    world.set_power("r1", false);
    world.set_power("r1", true);
    world.run_for(MINUTE_MS);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Running);
    assert_eq!(record(&world, "r1").quarantine, None);
}

#[test]
fn a_machine_that_has_power_and_does_not_join_is_switched_off_when_it_is_given_back() {
    let mut world = hung();
    assert_eq!(world.call(delete(&["r1"])), Answer::Done);
    let listed = shown(&mut world).instances;
    assert_eq!(listed[0].state, InstanceState::Deleting);
    world.run_for(2 * MINUTE_MS);
    assert!(!world.sims["r1"].on);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Off);
    assert_eq!(shown(&mut world).max_size, 0, "it is left out still");
}

#[test]
fn a_machine_that_failed_is_passed_over_for_another_one() {
    let specs = vec![group(), Fact::MachineApplied(bmc("r1")), machine("r2")];
    let mut world = World::new(specs);
    world.barred.insert("pi".into());
    world.run_for(MINUTE_MS);
    told_after_s(&mut world);
    assert_eq!(shown(&mut world).instances[0].machine.as_str(), "r1");
    assert_eq!(world.call(delete(&["r1"])), Answer::Done);
    ask_for(&mut world, 1);
    let listed = shown(&mut world).instances;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].machine.as_str(), "r2");
}
