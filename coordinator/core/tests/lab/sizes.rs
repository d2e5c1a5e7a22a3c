//! Sizes: exactly what was asked for, all or nothing, once.

use std::sync::Arc;

use coordinator_core::{
    Answer, Fact, GroupSpec, InstanceState, MachineId, RejectedKind, StoreFault,
};

use crate::declare::{decrease, delete, group_id, group_spec, increase, lab, machine};
use crate::world::{Store, World};

fn rejected(answer: &Answer) -> Option<RejectedKind> {
    match answer {
        Answer::Done => None,
        Answer::Rejected(rejected) => Some(rejected.kind),
    }
}

fn target(world: &mut World) -> u32 {
    let now = world.now();
    world.lab.view(now).groups[&group_id()].target
}

#[test]
fn increase_by_three_wakes_exactly_three() {
    let mut world = World::new(lab(6));
    assert_eq!(world.call(increase(3, 0)), Answer::Done);
    let now = world.now();
    let view = world.lab.view(now);
    let group = &view.groups[&group_id()];
    assert_eq!((group.target, group.instances.len()), (3, 3));
    assert!(
        group
            .instances
            .iter()
            .all(|i| i.state == InstanceState::Creating)
    );
    let promised: Vec<Arc<str>> = group
        .instances
        .iter()
        .map(|i| i.provider_id.clone())
        .collect();
    world.run_for(120_000);
    assert_eq!(
        world.woken().into_iter().collect::<Vec<_>>(),
        ["m1", "m2", "m3"]
    );
    let now = world.now();
    let group = world.lab.view(now).groups[&group_id()].clone();
    assert_eq!(group.ready, 3);
    assert_eq!(
        group
            .instances
            .iter()
            .map(|i| i.provider_id.clone())
            .collect::<Vec<_>>(),
        promised
    );
}

#[test]
fn five_identical_increases_that_nobody_looked_at_wake_one_machine() {
    let mut world = World::new(lab(6));
    let tickets: Vec<u64> = (0..5).map(|_| world.ask(increase(1, 0))).collect();
    world.run_for(1_000);
    assert!(tickets.iter().all(|t| world.answers[t].1 == Answer::Done));
    assert_eq!(target(&mut world), 1);
    // A late repetition, after the commit, has no effect either.
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    assert_eq!(target(&mut world), 1);
    world.run_for(120_000);
    assert_eq!(world.woken().len(), 1);
}

#[test]
fn identical_increases_share_the_error_of_the_first() {
    let mut world = World::new(lab(6));
    world.store = Store::Down;
    let tickets: Vec<u64> = (0..5).map(|_| world.ask(increase(1, 0))).collect();
    world.run_for(1_000);
    for ticket in tickets {
        assert_eq!(
            rejected(&world.answers[&ticket].1),
            Some(RejectedKind::Unavailable)
        );
    }
    world.store = Store::Up;
    world.run_for(120_000);
    assert_eq!(
        world.woken().len(),
        0,
        "a refused wish never comes true later"
    );
}

#[test]
fn two_increases_with_a_look_in_between_are_two_wishes() {
    let mut world = World::new(lab(6));
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    let now = world.now();
    let looked = world.lab.view(now).groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    assert_eq!(target(&mut world), 2);
}

#[test]
fn two_different_increases_at_once_both_apply() {
    let mut world = World::new(lab(6));
    let tickets = [world.ask(increase(1, 0)), world.ask(increase(2, 0))];
    world.run_for(1_000);
    assert!(tickets.iter().all(|t| world.answers[t].1 == Answer::Done));
    assert_eq!(target(&mut world), 3);
}

#[test]
fn a_repetition_after_a_restart_is_still_recognised() {
    let mut world = World::new(lab(6));
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.restart();
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    assert_eq!(target(&mut world), 1);
}

#[test]
fn bad_increases_change_nothing() {
    let mut specs = lab(3);
    specs[0] = Fact::GroupApplied(GroupSpec {
        max_size: Some(2),
        ..group_spec()
    });
    let mut world = World::new(specs);
    for (delta, kind) in [
        (0, RejectedKind::InvalidArgument),
        (-1, RejectedKind::InvalidArgument),
        (3, RejectedKind::FailedPrecondition),
        (i32::MAX, RejectedKind::FailedPrecondition),
    ] {
        assert_eq!(
            rejected(&world.call(increase(delta, 0))),
            Some(kind),
            "delta {delta}"
        );
    }
    world.redeclare(Fact::GroupApplied(GroupSpec {
        max_size: None,
        ..group_spec()
    }));
    assert_eq!(
        rejected(&world.call(increase(4, 0))),
        Some(RejectedKind::ResourceExhausted)
    );
    world.redeclare(Fact::GroupApplied(GroupSpec {
        paused: true,
        ..group_spec()
    }));
    assert_eq!(
        rejected(&world.call(increase(1, 0))),
        Some(RejectedKind::FailedPrecondition)
    );
    assert_eq!(target(&mut world), 0);
    assert_eq!(world.writes, 0);
}

#[test]
fn a_deadline_that_has_passed_before_the_commit_leaves_no_trace() {
    let mut world = World::new(lab(3));
    let ticket = world.ask_within(increase(1, 0), 0);
    world.run_for(60_000);
    assert_eq!(
        rejected(&world.answers[&ticket].1),
        Some(RejectedKind::DeadlineExceeded)
    );
    assert!(world.effects.is_empty());
    assert_eq!(world.writes, 0);
}

#[test]
fn a_lost_race_is_applied_to_what_is_stored_now() {
    let mut world = World::new(lab(4));
    let stored = world.store_groups.entry(group_id()).or_default();
    stored.sequence = 5;
    stored.wanted = vec![MachineId::new("m1")];
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    let stored = &world.store_groups[&group_id()];
    assert_eq!(stored.sequence, 6);
    assert_eq!(
        stored.wanted.len(),
        2,
        "m1 of the other writer and one more"
    );
}

#[test]
fn decrease_cancels_only_what_has_not_joined() {
    let mut world = World::new(lab(4));
    assert_eq!(world.call(increase(2, 0)), Answer::Done);
    world.run_for(120_000);
    world.sims.get_mut("m3").expect("m3").never_boots = true;
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(60_000);
    assert_eq!(world.call(decrease(-3)), Answer::Done);
    assert_eq!(target(&mut world), 2);
    assert!(world.sims["m1"].on && world.sims["m2"].on);
    assert_eq!(
        rejected(&world.call(decrease(1))),
        Some(RejectedKind::InvalidArgument)
    );
    // The cancelled one is deleted again by its id: nothing more happens.
    assert_eq!(world.call(delete(&["m3"])), Answer::Done);
    assert_eq!(target(&mut world), 2);
    world.run_for(900_000);
    assert!(world.stopped().is_empty());
}

#[test]
fn a_minimum_is_kept_by_the_coordinator_itself() {
    let mut specs = lab(3);
    specs[0] = Fact::GroupApplied(GroupSpec {
        min_size: 2,
        ..group_spec()
    });
    let mut world = World::new(specs);
    world.run_for(120_000);
    assert_eq!(world.woken().len(), 2);
    assert_eq!(target(&mut world), 2);
    let refused = world.call(delete(&["m1"]));
    assert_eq!(rejected(&refused), Some(RejectedKind::FailedPrecondition));
    assert_eq!(target(&mut world), 2);
}

#[test]
fn unknown_groups_and_foreign_machines_are_told_apart() {
    let mut world = World::new(lab(2));
    let nobody = coordinator_core::Request::Increase {
        group: coordinator_core::GroupId::new("default/none"),
        delta: 1,
        looked: 0,
    };
    assert_eq!(rejected(&world.call(nobody)), Some(RejectedKind::NotFound));
    assert_eq!(
        rejected(&world.call(delete(&["stranger"]))),
        Some(RejectedKind::InvalidArgument)
    );
}

#[test]
fn a_failed_store_is_said_and_the_next_call_works() {
    let mut world = World::new(lab(2));
    world.tell(Fact::CommitFailed {
        group: group_id(),
        fault: StoreFault::Refused,
    });
    world.run_for(10_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.redeclare(machine("m9"));
    assert_eq!(target(&mut world), 1);
}

#[test]
fn a_commit_that_is_too_late_for_one_caller_goes_on_for_the_others() {
    let mut world = World::new(lab(6));
    world.store_queue_ms = 500;
    let hasty = world.ask_within(increase(1, 0), 400);
    let patient = world.ask_within(increase(2, 0), 5_000);
    world.run_for(2_000);
    let late = Some(RejectedKind::DeadlineExceeded);
    assert_eq!(rejected(&world.answers[&hasty].1), late);
    assert_eq!(world.answers[&patient].1, Answer::Done);
    assert_eq!(target(&mut world), 2, "only what was not too late");
}

#[test]
fn a_repetition_has_its_effect_although_the_first_call_was_too_late() {
    let mut world = World::new(lab(6));
    world.store_queue_ms = 500;
    let hasty = world.ask_within(increase(1, 0), 400);
    world.settle();
    let patient: Vec<u64> = (0..3)
        .map(|_| world.ask_within(increase(1, 0), 5_000))
        .collect();
    world.run_for(2_000);
    let late = Some(RejectedKind::DeadlineExceeded);
    assert_eq!(rejected(&world.answers[&hasty].1), late);
    for ticket in patient {
        assert_eq!(world.answers[&ticket].1, Answer::Done);
    }
    assert_eq!(target(&mut world), 1);
    world.run_for(120_000);
    assert_eq!(world.woken().len(), 1);
}

#[test]
fn machines_whose_removal_is_too_late_are_not_ordered_off() {
    let mut world = World::new(lab(3));
    assert_eq!(world.call(increase(3, 0)), Answer::Done);
    world.run_for(120_000);
    world.store_queue_ms = 500;
    let hasty = world.ask_within(delete(&["m1"]), 400);
    let patient = world.ask_within(delete(&["m2"]), 5_000);
    world.run_for(2_000);
    let late = Some(RejectedKind::DeadlineExceeded);
    assert_eq!(rejected(&world.answers[&hasty].1), late);
    assert_eq!(world.answers[&patient].1, Answer::Done);
    assert_eq!(target(&mut world), 2);
    let ordered = |name| world.store_machines[&MachineId::new(name)].order.is_some();
    assert_eq!([ordered("m1"), ordered("m2")], [false, true]);
}

#[test]
fn names_that_nobody_declares_any_more_leave_the_wish_with_its_next_change() {
    let mut world = World::new(lab(3));
    assert_eq!(world.call(increase(2, 0)), Answer::Done);
    world.redeclare(Fact::MachineRemoved(MachineId::new("m1")));
    let stored = world.store_groups[&group_id()].clone();
    assert_eq!(stored.wanted.len(), 2, "no write for it alone");
    assert_eq!(world.call(increase(1, stored.sequence)), Answer::Done);
    let wanted = ["m2", "m3"].map(MachineId::new);
    assert_eq!(world.store_groups[&group_id()].wanted, wanted);
}
