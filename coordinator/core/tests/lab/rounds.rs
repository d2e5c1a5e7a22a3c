//! What may change between the rounds of a drain: the wish, the boot, the list, who stands in the way.

use coordinator_core::{
    Answer, Ask, EvictionOutcome, Fact, Joins, MachineId, MachineSpec, OverridePower, PhaseName,
    PodStanding, PowerPolicy, SharedMap,
};

use crate::declare::{decrease, delete, group, increase, kubelet, machine_spec, pod};
use crate::drains::{
    DRAIN_MS, ask, evicted, is_free, keeps, ordered_off, power, told, view, with_pods,
};
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
fn pods_that_their_budgets_keep_do_not_keep_the_others_from_being_asked() {
    let names: Vec<String> = (0..20).map(|i| format!("web-{i:02}")).collect();
    let pods: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), PodStanding::Controlled))
        .collect();
    let mut world = with_pods(&pods);
    for name in &names {
        keeps(&mut world, name, None);
    }
    ask(&mut world, "off", power(OverridePower::Off, None));
    world.run_for(40_000);
    for name in &names {
        let asked = evicted(&world)
            .iter()
            .filter(|asked| *asked == name)
            .count();
        assert!(asked >= 2, "{name}: {asked}");
    }
}

#[test]
fn nobody_is_said_to_have_been_asked_who_was_not() {
    let names: Vec<String> = (0..9).map(|i| format!("web-{i}")).collect();
    let pods: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), PodStanding::Controlled))
        .collect();
    let mut world = ordered_off(&pods);
    world.until_listing();
    world.run_for(4);
    assert_eq!(evicted(&world).len(), 8);
    let message = view(&mut world).message;
    assert!(message.contains("default/web-8 to be asked"), "{message}");

    let mut world = ordered_off(&[("web", PodStanding::Controlled), ("pet", PodStanding::Bare)]);
    world.run_for(20_000);
    let message = view(&mut world).message;
    assert!(message.contains("default/web to be asked"), "{message}");
}

#[test]
fn a_drain_is_over_once_the_autoscalers_order_is_all_that_remains() {
    let mut world = with_pods(&[("web", PodStanding::Controlled)]);
    keeps(&mut world, "web", None);
    assert_eq!(world.call(delete(&[K1])), Answer::Done);
    ask(&mut world, "off", power(OverridePower::Off, None));
    world.run_for(20_000);
    assert!(view(&mut world).drain.is_some());
    ask(&mut world, "release", Ask::Release);
    world.run_for(20_000);
    assert_eq!(phase(&mut world, K1), PhaseName::Stopping);
    let shown = view(&mut world);
    assert_eq!((shown.why, shown.drain), ("PodsStillRunning", None));
}

#[test]
fn what_held_a_pod_up_is_forgotten_once_it_leaves() {
    let mut world = with_pods(&[("web", PodStanding::Controlled)]);
    let forbidden = EvictionOutcome::Forbidden("cannot create pods/eviction".into());
    world.keeps.insert("web".into(), forbidden);
    ask(&mut world, "off", power(OverridePower::Off, None));
    world.run_for(20_000);
    assert_eq!(view(&mut world).why, "DrainBlocked");
    // A person deletes it, and it takes its time.
    let going = pod("web", PodStanding::Ending);
    world.pods.insert(K1.into(), vec![going]);
    world.run_for(20_000);
    assert_eq!(view(&mut world).why, "Draining");
}

#[test]
fn a_drain_that_is_stuck_is_told_once_although_a_list_fails_now_and_then() {
    let mut world = with_pods(&[("web", PodStanding::Controlled)]);
    keeps(&mut world, "web", None);
    ask(&mut world, "off", power(OverridePower::Off, None));
    world.run_for(DRAIN_MS + 30_000);
    assert_eq!(told(&world, "DrainBlocked").len(), 1);
    for _ in 0..3 {
        world.until_listing();
        world.tell(Fact::PodsListed {
            machine: MachineId::new(K1),
            outcome: Err("the API server restarts".into()),
        });
        world.run_for(1);
        assert_eq!(view(&mut world).why, "PodsUnknown");
        world.run_for(70_000);
        assert_eq!(view(&mut world).why, "DrainBlocked");
    }
    assert_eq!(told(&world, "DrainBlocked").len(), 1);
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

#[test]
fn a_machine_that_is_declared_unmanaged_during_its_drain_gets_its_node_back() {
    for by_person in [false, true] {
        let mut world = with_pods(&[("web", PodStanding::Controlled)]);
        keeps(&mut world, "web", None);
        if by_person {
            let node = world.nodes.get_mut(K1).expect("its Node");
            node.unschedulable = true;
            let node = node.clone();
            world.tell(Fact::NodeSeen(node));
        }
        ask(&mut world, "off", power(OverridePower::Off, None));
        world.run_for(20_000);
        assert!(!world.nodes[K1].taints.is_empty(), "it is fenced");
        world.redeclare(declared(PowerPolicy::Unmanaged));
        let asked = world.evictions.len();
        world.run_for(30_000);
        let node = &world.nodes[K1];
        assert!(node.taints.is_empty(), "{:?}", node.taints);
        assert_eq!(node.unschedulable, by_person);
        assert_eq!(world.evictions.len(), asked);
        // A person's own hands are left alone.
        let writes = world.writes;
        let node = world.nodes.get_mut(K1).expect("its Node");
        node.unschedulable = true;
        node.labels = SharedMap::default();
        let node = node.clone();
        world.tell(Fact::NodeSeen(node));
        world.run_for(30_000);
        assert!(world.nodes[K1].unschedulable && world.nodes[K1].labels.is_empty());
        assert_eq!(world.writes, writes);
    }
}
