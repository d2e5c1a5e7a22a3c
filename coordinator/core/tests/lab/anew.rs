//! A machine whose object was deleted and made anew: nothing that stood in the old object stands any more.

use coordinator_core::{
    Answer, Fact, GroupSpec, MachineId, MachineRecord, OverridePower, Token, Wish,
};

use crate::declare::{group_id, group_spec, increase, machine, person};
use crate::drains::power;
use crate::world::World;

fn m1() -> MachineId {
    MachineId::new("m1")
}

fn unproven() -> Fact {
    Fact::GroupApplied(GroupSpec {
        require_proof: false,
        ..group_spec()
    })
}

/// Its object goes, and another one is about to come that holds this.
fn replace(world: &mut World, record: MachineRecord) {
    world.tell(Fact::MachineRemoved(m1()));
    world.store_machines.insert(m1(), record.clone());
    stored(world, record);
}

fn stored(world: &mut World, record: MachineRecord) {
    let machine = m1();
    world.tell(Fact::MachineStored { machine, record });
}

fn make_anew(world: &mut World, record: MachineRecord) {
    replace(world, record);
    world.redeclare(machine("m1"));
}

/// A lab of one machine that may be asked for at once.
fn settled() -> World {
    let mut world = World::new(vec![unproven(), machine("m1")]);
    world.run_for(30_000);
    world
}

/// The same some time after the machine was asked for.
fn asked_for(since_ms: u64) -> World {
    let mut world = settled();
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(since_ms);
    world
}

fn held_off(world: &mut World) {
    let ask = power(OverridePower::Off, None);
    let request = person("m1", "hold", ask);
    assert_eq!(world.call(request), Answer::Done);
    world.run_for(120_000);
    assert_eq!(wish(world), Wish::Off);
}

fn wish(world: &mut World) -> Wish {
    let now = world.now();
    world.lab.view(now).machines[&m1()].wanted
}

#[test]
fn a_persons_word_goes_with_the_object_it_was_stored_in() {
    let mut world = settled();
    held_off(&mut world);
    let nothing_left = world.call(increase(1, 0));
    assert!(
        matches!(nothing_left, Answer::Rejected(_)),
        "{nothing_left:?}"
    );
    make_anew(&mut world, MachineRecord::default());
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(120_000);
    assert_eq!(world.sims["m1"].boots, 1, "nobody holds it off any more");
}

#[test]
fn no_token_is_granted_again_though_the_record_of_the_last_one_is_gone() {
    let mut world = asked_for(120_000);
    let sent = world.commands.len();
    make_anew(&mut world, MachineRecord::default());
    held_off(&mut world);
    assert_tokens_rise(&world, sent);
}

/// Every command after the first so many has a higher token than each of these.
fn assert_tokens_rise(world: &World, sent: usize) {
    let tokens: Vec<Token> = world.commands.iter().map(|it| it.token).collect();
    let (before, after) = tokens.split_at(sent);
    let (highest, lowest) = (before.iter().max(), after.iter().min());
    assert!(
        highest.is_some() && highest < lowest,
        "{before:?} {after:?}"
    );
}

/// What a restored object holds.
fn backed_up() -> MachineRecord {
    MachineRecord {
        boots_s: vec![41],
        ..MachineRecord::default()
    }
}

#[test]
fn what_the_new_object_holds_is_taken_up() {
    let mut world = asked_for(120_000);
    let token = world.store_machines[&m1()].token;
    make_anew(&mut world, backed_up());
    held_off(&mut world);
    let stored = &world.store_machines[&m1()];
    assert_eq!(stored.boots_s, [41]);
    assert!(stored.token > token);
}

#[test]
fn what_is_written_into_the_new_object_a_moment_later_is_taken_up_and_outlasts_a_write_of_ours() {
    let mut world = settled();
    make_anew(&mut world, MachineRecord::default());
    stored(&mut world, backed_up());
    // A write that had begun before lands after it.
    world.store_machines.insert(m1(), MachineRecord::default());
    world.run_for(10);
    assert_eq!(world.store_machines[&m1()].boots_s, [41]);
}

#[test]
fn a_resumed_wake_goes_on_above_the_tokens_of_the_object_before() {
    let mut world = asked_for(25_000);
    let waking = world.store_machines[&m1()].clone();
    assert!(waking.operation.is_some());
    let sent = world.commands.len();
    make_anew(&mut world, waking);
    world.run_for(60_000);
    assert_tokens_rise(&world, sent);
}

#[test]
fn of_a_node_that_is_new_nothing_is_stored_before_there_is_something() {
    let mut world = World::new(vec![unproven()]);
    world.run_for(30_000);
    let before = world.writes;
    stored(&mut world, MachineRecord::default());
    world.tell(machine("m1"));
    world.run_for(10);
    assert_eq!(world.writes, before);
}

#[test]
fn a_write_for_the_old_object_that_lands_in_the_new_one_is_overtaken() {
    let mut world = settled();
    held_off(&mut world);
    let late = world.store_machines[&m1()].clone();
    assert!(late.override_.is_some());
    replace(&mut world, MachineRecord::default());
    world.store_machines.insert(m1(), late);
    world.redeclare(machine("m1"));
    world.run_for(1_000);
    assert_eq!(world.store_machines[&m1()].override_, None);
}

#[test]
fn a_repeated_increase_is_known_from_what_a_group_made_anew_holds() {
    let mut world = World::new(vec![unproven(), machine("m1"), machine("m2")]);
    world.run_for(30_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    let record = world.store_groups[&group_id()].clone();
    world.tell(Fact::GroupRemoved(group_id()));
    let group = group_id();
    world.tell(Fact::GroupStored { group, record });
    world.redeclare(unproven());
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    assert_eq!(world.store_groups[&group_id()].wanted.len(), 1);
}
