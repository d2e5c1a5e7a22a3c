//! A store that takes a wish and whose answer is lost: nothing is said that may not be so.

use coordinator_core::{Answer, RejectedKind};

use crate::declare::{delete, group_id, increase, lab};
use crate::world::{Store, World};

fn refusal(answer: &Answer) -> Option<RejectedKind> {
    match answer {
        Answer::Done => None,
        Answer::Rejected(rejected) => Some(rejected.kind),
    }
}

/// An increase by one that was stored, and that its caller was told has failed.
fn in_doubt() -> World {
    let mut world = World::new(lab(3));
    world.run_for(60_000);
    world.store = Store::Mute;
    let answer = world.call(increase(1, 0));
    assert_eq!(refusal(&answer), Some(RejectedKind::Unavailable));
    assert_eq!(world.store_groups[&group_id()].wanted.len(), 1);
    world
}

#[test]
fn a_machine_that_may_be_wanted_is_not_said_to_be_given_back() {
    let mut world = in_doubt();
    let wanted = world.store_groups[&group_id()].wanted[0].clone();
    let answer = world.call(delete(&[wanted.as_str()]));
    assert_eq!(refusal(&answer), Some(RejectedKind::Unavailable));
    world.store = Store::Up;
    world.run_for(5_000);
    assert_eq!(world.call(delete(&[wanted.as_str()])), Answer::Done);
    assert!(world.store_groups[&group_id()].wanted.is_empty());
}

#[test]
fn the_doubt_ends_by_itself_and_the_stored_wish_is_carried_out() {
    let mut world = in_doubt();
    world.store = Store::Up;
    world.run_for(120_000);
    assert_eq!(world.woken().len(), 1);
    let now = world.now();
    assert_eq!(world.lab.view(now).groups[&group_id()].target, 1);
}

#[test]
fn an_increase_in_doubt_adds_to_what_is_stored_and_to_nothing_else() {
    let mut world = in_doubt();
    world.store = Store::Up;
    assert_eq!(world.call(increase(1, 1)), Answer::Done);
    world.run_for(120_000);
    assert_eq!(world.woken().len(), 2);
    let now = world.now();
    assert_eq!(world.lab.view(now).groups[&group_id()].target, 2);
}

#[test]
fn an_increase_that_is_repeated_although_it_was_stored_wakes_nothing_more() {
    let mut world = in_doubt();
    world.store = Store::Up;
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(120_000);
    assert_eq!(world.woken().len(), 1);
    let now = world.now();
    assert_eq!(world.lab.view(now).groups[&group_id()].target, 1);
}

#[test]
fn a_write_that_was_not_taken_can_never_be_taken_later() {
    let mut world = World::new(lab(3));
    world.run_for(60_000);
    world.store = Store::Down;
    let answer = world.call(increase(1, 0));
    assert_eq!(refusal(&answer), Some(RejectedKind::Unavailable));
    let before = world
        .store_groups
        .get(&group_id())
        .map_or(0, |r| r.sequence);
    world.store = Store::Up;
    world.run_for(5_000);
    let stored = &world.store_groups[&group_id()];
    assert!(stored.sequence > before && stored.wanted.is_empty());
    world.run_for(120_000);
    assert!(world.effects.is_empty());
}
