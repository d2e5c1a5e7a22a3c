//! What may change between the rounds of a drain: the wish, the boot, the list, who stands in the way.

use coordinator_core::{
    Answer, Fact, Joins, MachineId, MachineSpec, PhaseName, PodStanding, PowerPolicy,
};

use crate::declare::{decrease, group, increase, kubelet, machine_spec, pod};
use crate::drains::{evicted, is_free, ordered_off, power};
use crate::steps::{phase, running};
use crate::world::{Store, World};

const K1: &str = "k1";

fn declared(power: PowerPolicy) -> Fact {
    Fact::MachineApplied(MachineSpec {
        joins: Joins::Kubelet,
        power,
        ..machine_spec(K1)
    })
}

fn listed(pods: &[(&str, PodStanding)]) -> Fact {
    let pods = pods.iter().map(|(name, standing)| pod(name, *standing));
    Fact::PodsListed {
        machine: MachineId::new(K1),
        outcome: Ok(pods.collect()),
    }
}

#[test]
fn an_empty_list_lets_no_order_leave_that_was_taken_back_at_the_same_moment() {
    for lists in [1, 2] {
        let mut world = running(vec![group(), kubelet(K1)], 1);
        world.redeclare(declared(PowerPolicy::AlwaysOff));
        world.until_listing();
        if lists == 2 {
            world.run_for(4);
            world.until_listing();
        }
        world.tell(declared(PowerPolicy::AlwaysOn));
        world.tell(listed(&[]));
        world.run_for(120_000);
        assert!(world.stopped().is_empty(), "at list {lists}");
        assert_eq!(phase(&mut world, K1), PhaseName::Running);
        assert!(is_free(&world.nodes[K1]));
    }
}

#[test]
fn a_machine_that_the_autoscaler_does_not_wait_for_any_more_is_not_drained() {
    let mut world = World::new(vec![group(), kubelet(K1)]);
    world.run_for(60_000);
    let web = pod("web", PodStanding::Controlled);
    world.pods.insert(K1.into(), vec![web]);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(5_000);
    assert_eq!(phase(&mut world, K1), PhaseName::Waking);
    assert_eq!(world.call(decrease(-1)), Answer::Done);
    world.run_for(120_000);
    assert_eq!(phase(&mut world, K1), PhaseName::Stopping);
    assert_eq!(evicted(&world), [""; 0]);
    assert!(world.stopped().is_empty());
    world.pods.clear();
    world.run_for(30_000);
    assert_eq!(world.stops(K1), 1);
}

#[test]
fn nobody_is_evicted_for_a_boot_that_is_not_stored() {
    let mut world = ordered_off(&[("web", PodStanding::Controlled)]);
    world.until_listing();
    world.store = Store::Down;
    // It has restarted by itself.
    world.sims.get_mut(K1).expect("known").boots += 1;
    world.beat(K1);
    world.run_for(30_000);
    assert_eq!(evicted(&world), [""; 0]);
    world.store = Store::Up;
    world.run_for(60_000);
    assert_eq!(evicted(&world), ["web"]);
}
