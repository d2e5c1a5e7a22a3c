//! Orders that nobody stands behind any more, that were lost, or that only half of the world has heard of.

use coordinator_core::{
    Answer, Ask, Fact, GroupRecord, InstanceState, Joins, MachineId, MachineSpec, NotSent,
    OverridePower, PhaseName, PowerPolicy, Verb,
};

use crate::declare::{bmc, delete, group, group_id, increase, kubelet, lab, machine_spec, person};
use crate::steps::{phase, running};
use crate::world::World;

fn ask(world: &mut World, id: &str, ask: Ask) -> Answer {
    world.call(person("m1", id, ask))
}

fn power(power: OverridePower) -> Ask {
    let until_ms = None;
    Ask::Power { power, until_ms }
}

fn power_offs(world: &World) -> usize {
    let all = world.commands.iter();
    all.filter(|command| matches!(command.verb, Verb::PowerOff))
        .count()
}

#[test]
fn a_stop_that_was_lost_is_not_sent_again_once_it_was_taken_back() {
    let mut world = running(lab(1), 1);
    world.sims.get_mut("m1").expect("m1").ignores_stop = true;
    assert_eq!(
        ask(&mut world, "one", power(OverridePower::Off)),
        Answer::Done
    );
    while power_offs(&world) == 0 {
        world.run_for(10);
    }
    assert_eq!(ask(&mut world, "two", Ask::Release), Answer::Done);
    world.sims.get_mut("m1").expect("m1").ignores_stop = false;
    let sent = power_offs(&world);
    world.run_for(900_000);
    assert_eq!(power_offs(&world), sent);
    assert!(world.sims["m1"].on);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
}

#[test]
fn a_machine_that_heeds_an_order_which_was_taken_back_is_woken_again() {
    let mut world = running(lab(1), 1);
    assert_eq!(
        ask(&mut world, "one", power(OverridePower::Off)),
        Answer::Done
    );
    while power_offs(&world) == 0 {
        world.run_for(10);
    }
    assert_eq!(
        ask(&mut world, "two", power(OverridePower::Running)),
        Answer::Done
    );
    world.run_for(900_000);
    assert_eq!(world.stops("m1"), 1);
    assert!(world.sims["m1"].on);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
}

#[test]
fn an_order_does_not_leave_before_the_boot_it_is_for_is_stored() {
    let mut world = running(vec![group(), kubelet("m1")], 1);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    let stored = |world: &World| {
        let record = &world.store_machines[&MachineId::new("m1")];
        record.operation.clone().and_then(|op| op.boot_id)
    };
    while power_offs(&world) == 0 {
        world.run_for(1);
    }
    let order = world.commands.last().expect("an order");
    assert_eq!(order.boot_id.as_deref(), stored(&world).as_deref());
}

#[test]
fn the_end_of_a_wish_is_no_order() {
    let mut world = World::new(lab(1));
    world.run_for(30_000);
    let hour = Some(world.now().wall_ms + 20_000);
    let on = Ask::Power {
        power: OverridePower::Running,
        until_ms: hour,
    };
    assert_eq!(ask(&mut world, "one", on), Answer::Done);
    world.run_for(120_000);
    assert!(world.stopped().is_empty(), "{:?}", world.reasons());
    assert!(world.sims["m1"].on);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
}

#[test]
fn a_machine_that_only_its_bmc_sees_is_stopped_by_its_bmc_once_its_boot_is_overdue() {
    let spec = MachineSpec {
        joins: Joins::Kubelet,
        ..bmc("m1")
    };
    let mut world = running(vec![group(), Fact::MachineApplied(spec)], 1);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(180_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Off);
    // Its system hangs: power alone is seen.
    world.sims.get_mut("m1").expect("m1").mute = true;
    assert_eq!(world.call(increase(1, 9)), Answer::Done);
    world.run_for(60_000);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(1_500_000);
    assert!(!world.sims["m1"].on, "{:?}", world.reasons());
    assert_eq!(phase(&mut world, "m1"), PhaseName::Off);
}

/// Two machines with kubelets run, and their group has room for the first alone.
fn one_beyond() -> World {
    let mut world = running(vec![group(), kubelet("m1"), kubelet("m2")], 2);
    let one = coordinator_core::GroupSpec {
        max_size: Some(1),
        ..crate::declare::group_spec()
    };
    world.redeclare(Fact::GroupApplied(one));
    assert_eq!(world.call(delete(&["m2"])), Answer::Done);
    world.run_for(180_000);
    world.set_power("m2", true);
    world.run_for(60_000);
    let now = world.now();
    let listed = world.lab.view(now).groups[&group_id()].instances.len();
    assert_eq!(listed, 1, "no room for it");
    world
}

#[test]
fn a_running_machine_beyond_the_size_of_its_group_is_stopped_when_it_is_named() {
    let mut world = one_beyond();
    assert!(world.sims["m2"].on);
    assert_eq!(world.call(delete(&["m2"])), Answer::Done);
    world.run_for(180_000);
    assert!(!world.sims["m2"].on);
    let now = world.now();
    let group = world.lab.view(now).groups[&group_id()].clone();
    assert!(
        matches!(group.instances[..], [ref one] if one.state == InstanceState::Running),
        "{:?}",
        group.instances
    );
}

#[test]
fn a_word_against_the_declaration_holds() {
    for (declared, word, on) in [
        (PowerPolicy::AlwaysOff, OverridePower::Running, true),
        (PowerPolicy::AlwaysOn, OverridePower::Off, false),
    ] {
        let mut world = running(lab(1), 1);
        assert_eq!(ask(&mut world, "one", power(word)), Answer::Done);
        world.redeclare(Fact::MachineApplied(MachineSpec {
            power: declared,
            ..machine_spec("m1")
        }));
        world.run_for(300_000);
        assert_eq!(world.sims["m1"].on, on, "{declared:?} {word:?}");
        assert_eq!(ask(&mut world, "two", Ask::Release), Answer::Done);
        world.run_for(300_000);
        assert_eq!(world.sims["m1"].on, !on, "{declared:?} without a word");
    }
}

#[test]
fn a_word_to_keep_it_on_never_stops_an_unproven_machine() {
    let off = MachineSpec {
        power: PowerPolicy::AlwaysOff,
        ..machine_spec("m1")
    };
    let mut world = World::new(vec![group(), Fact::MachineApplied(off)]);
    world.set_power("m1", true);
    world.run_for(60_000);
    assert!(world.sims["m1"].on, "unproven: left alone");
    assert_eq!(
        ask(&mut world, "one", power(OverridePower::Running)),
        Answer::Done
    );
    world.run_for(300_000);
    assert!(world.sims["m1"].on && world.stopped().is_empty());
}

#[test]
fn nobody_confirms_off_before_anybody_could_be_heard() {
    let mut world = running(lab(1), 1);
    let machine = MachineId::new("m1");
    world.sims.get_mut("m1").expect("m1").mute = true;
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Unknown);
    world.sims.get_mut("m1").expect("m1").mute = false;
    world.restart();
    let answer = ask(&mut world, "one", Ask::ConfirmOff);
    assert!(matches!(answer, Answer::Rejected(_)), "{answer:?}");
    world.run_for(60_000);
    let now = world.now();
    let seen = world.lab.view(now).machines[&machine].phase;
    assert_eq!(seen, PhaseName::Running);
}

#[test]
fn a_wish_for_a_machine_that_is_gone_is_not_told_as_stored() {
    let mut world = running(lab(1), 1);
    world.store = crate::world::Store::Down;
    let ticket = world.ask(person("m1", "one", power(OverridePower::Off)));
    world.run_for(10);
    world.tell(Fact::MachineRemoved(MachineId::new("m1")));
    world.run_for(1_000);
    let (_, answer) = world.answers[&ticket].clone();
    assert!(
        matches!(&answer, Answer::Rejected(rejected) if rejected.kind == coordinator_core::RejectedKind::NotFound),
        "{answer:?}"
    );
}

#[test]
fn a_wake_that_never_left_proves_nothing() {
    let mut world = World::new(lab(1));
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    world.drop_reports = true;
    world.run_for(15_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(1_000);
    for command in world.commands.clone() {
        world.tell(Fact::NotSent {
            agent: command.agent,
            command: command.id,
            why: NotSent::NobodyListens,
        });
    }
    world.relays.insert("pi".into(), false);
    world.run_for(5_000);
    world.set_power("m1", true);
    world.run_for(60_000);
    let record = &world.store_machines[&MachineId::new("m1")];
    assert_eq!(record.proven_at_ms, None);
}

#[test]
fn a_decrease_leaves_a_machine_alone_whose_kubelet_has_registered() {
    let mut world = World::new(vec![group(), kubelet("k1"), kubelet("k2")]);
    world.sims.get_mut("k1").expect("k1").never_boots = true;
    world.sims.get_mut("k2").expect("k2").never_boots = true;
    world.run_for(15_000);
    assert_eq!(world.call(increase(2, 0)), Answer::Done);
    world.run_for(5_000);
    let registered = coordinator_core::NodeSeen {
        name: "k2".into(),
        uid: "new".into(),
        ..coordinator_core::NodeSeen::default()
    };
    world.tell(Fact::NodeSeen(registered));
    assert_eq!(world.call(crate::declare::decrease(-2)), Answer::Done);
    let now = world.now();
    let group = world.lab.view(now).groups[&group_id()].clone();
    assert_eq!(group.target, 1);
    assert_eq!(phase(&mut world, "k2"), PhaseName::Waking);
}

/// Nothing of the latest order has left, the broker says.
fn has_not_left(world: &mut World) {
    let last = world.commands.last().expect("an order").clone();
    world.tell(Fact::NotSent {
        agent: last.agent,
        command: last.id,
        why: NotSent::NoWay,
    });
}

#[test]
fn a_stop_that_never_left_is_not_sent_once_it_was_taken_back() {
    for released_first in [true, false] {
        let mut world = running(lab(1), 1);
        world.drop_reports = true;
        world.sims.get_mut("m1").expect("m1").ignores_stop = true;
        assert_eq!(
            ask(&mut world, "one", power(OverridePower::Off)),
            Answer::Done
        );
        while power_offs(&world) == 0 {
            world.run_for(10);
        }
        if released_first {
            assert_eq!(ask(&mut world, "two", Ask::Release), Answer::Done);
            has_not_left(&mut world);
        } else {
            has_not_left(&mut world);
            assert_eq!(ask(&mut world, "two", Ask::Release), Answer::Done);
        }
        world.sims.get_mut("m1").expect("m1").ignores_stop = false;
        let sent = power_offs(&world);
        world.run_for(900_000);
        assert_eq!(power_offs(&world), sent, "released first: {released_first}");
        assert!(world.sims["m1"].on);
        assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    }
}

#[test]
fn a_decrease_spares_a_machine_whose_kubelet_registers_before_it_is_stored() {
    let mut world = World::new(vec![group(), kubelet("k1"), kubelet("k2")]);
    world.sims.get_mut("k1").expect("k1").never_boots = true;
    world.sims.get_mut("k2").expect("k2").never_boots = true;
    world.run_for(15_000);
    assert_eq!(world.call(increase(2, 0)), Answer::Done);
    world.run_for(5_000);
    let ticket = world.ask(crate::declare::decrease(-2));
    world.settle();
    world.tell(Fact::NodeSeen(coordinator_core::NodeSeen {
        name: "k2".into(),
        uid: "new".into(),
        ..coordinator_core::NodeSeen::default()
    }));
    world.run_for(1_000);
    assert_eq!(world.answers[&ticket].1, Answer::Done);
    assert_eq!(
        world.store_groups[&group_id()].wanted,
        [MachineId::new("k2")]
    );
    assert_eq!(world.store_machines[&MachineId::new("k2")].order, None);
    assert_eq!(phase(&mut world, "k2"), PhaseName::Waking);
}

#[test]
fn a_refused_delete_stops_nothing_of_what_it_names() {
    let mut world = one_beyond();
    world.fences_fail = true;
    let answer = world.call(delete(&["m1", "m2"]));
    assert!(matches!(answer, Answer::Rejected(_)), "{answer:?}");
    world.fences_fail = false;
    world.run_for(600_000);
    for name in ["m1", "m2"] {
        assert!(world.sims[name].on, "{name}: {:?}", world.reasons());
        assert_eq!(
            world.store_machines[&MachineId::new(name)].order,
            None,
            "{name}"
        );
    }
}

#[test]
fn a_delete_whose_group_goes_meanwhile_leaves_no_order_behind() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    let ticket = world.ask(delete(&["k1"]));
    world.settle();
    world.tell(Fact::GroupRemoved(group_id()));
    world.run_for(10_000);
    assert!(matches!(world.answers[&ticket].1, Answer::Rejected(_)));
    assert_eq!(world.store_machines[&MachineId::new("k1")].order, None);
}

#[test]
fn a_wish_that_the_store_has_lost_with_its_group_wakes_nothing_once_that_is_declared_anew() {
    let mut world = running(vec![group(), Fact::MachineApplied(bmc("m1"))], 1);
    world.tell(Fact::GroupRemoved(group_id()));
    world.tell(Fact::GroupStored {
        group: group_id(),
        record: GroupRecord::default(),
    });
    world.store_groups.clear();
    world.set_power("m1", false);
    world.run_for(600_000);
    let effects = world.effects.len();
    world.tell(group());
    world.run_for(600_000);
    assert_eq!(world.effects.len(), effects);
    assert!(!world.sims["m1"].on);
}
