//! A process that follows takes over: it knows what the one before has stored, not what it read itself at its start.

use coordinator_core::{Answer, Fact, MachineId, PhaseName, PodStanding};

use crate::declare::{delete, group, kubelet, lab, pod};
use crate::steps::{phase, running};
use crate::world::World;

/// Ends the process that leads; another one that has read the store `early` follows it and hears what was stored since.
fn taken_over(world: &mut World, early: Vec<(MachineId, coordinator_core::MachineRecord)>) {
    let late = world.store_machines.clone();
    let groups = world.store_groups.clone();
    world.store_machines = early.into_iter().collect();
    world.follow();
    for (group, record) in groups {
        world.tell(Fact::GroupStored { group, record });
    }
    for (machine, record) in late {
        world.tell(Fact::MachineStored {
            machine: machine.clone(),
            record: record.clone(),
        });
        world.store_machines.insert(machine, record);
    }
    world.lead();
}

#[test]
fn an_order_of_the_leader_before_is_carried_to_its_end() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    let early = world.store_machines.clone().into_iter().collect();
    world
        .pods
        .insert("k1".into(), vec![pod("web", PodStanding::Controlled)]);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(20_000);
    taken_over(&mut world, early);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Stopping);
    world.pods.clear();
    world.run_for(180_000);
    assert_eq!(world.stops("k1"), 1);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Off);
}

#[test]
fn what_was_stored_while_it_followed_is_not_told_again_as_news() {
    let mut world = running(lab(1), 1);
    let early = world.store_machines.clone().into_iter().collect();
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(2_000);
    world.events.clear();
    taken_over(&mut world, early);
    world.run_for(1);
    assert_eq!(world.reasons(), Vec::<&str>::new());
}

#[test]
fn a_leader_holds_what_it_knows_against_an_echo() {
    let mut world = running(lab(1), 1);
    let echo = world.store_machines[&MachineId::new("m1")].clone();
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(150_000);
    world.tell(Fact::MachineStored {
        machine: MachineId::new("m1"),
        record: echo,
    });
    world.run_for(1_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Off);
}
