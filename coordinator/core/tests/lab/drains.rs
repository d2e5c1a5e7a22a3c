//! Our own stops: pods leave first, as their budgets allow; what nobody would bring back is left alone.

use coordinator_core::{
    Answer, Ask, DrainState, Event, EvictionOutcome, Fact, GroupSpec, MachineId, MachineSpec,
    MachineView, Mode, NodeSeen, OverridePower, PhaseName, PodStanding, PowerPolicy, Timeouts,
};

use crate::declare::{group, group_spec, kubelet, machine_spec, person, pod};
use crate::steps::{phase, running};
use crate::world::World;

pub(crate) const DRAIN_MS: u64 = 120_000;
const FENCE: &str = "homelab-autoscaler.dev/power-off";

/// A machine that runs, with pods that are drained for two minutes at most before people are told.
pub(crate) fn with_pods(pods: &[(&str, PodStanding)]) -> World {
    let spec = machine_spec("k1");
    let spec = MachineSpec {
        joins: coordinator_core::Joins::Kubelet,
        timeouts: Timeouts {
            drain_ms: DRAIN_MS,
            ..spec.timeouts
        },
        ..spec
    };
    let mut world = running(vec![group(), Fact::MachineApplied(spec)], 1);
    let pods = pods.iter().map(|(name, standing)| pod(name, *standing));
    world.pods.insert("k1".into(), pods.collect());
    world
}

pub(crate) fn ask(world: &mut World, id: &str, ask: Ask) {
    let request = person("k1", id, ask);
    assert_eq!(world.call(request), Answer::Done);
}

pub(crate) fn power(power: OverridePower, until_ms: Option<i64>) -> Ask {
    Ask::Power { power, until_ms }
}

pub(crate) fn ordered_off(pods: &[(&str, PodStanding)]) -> World {
    let mut world = with_pods(pods);
    ask(&mut world, "off", power(OverridePower::Off, None));
    world
}

pub(crate) fn keeps(world: &mut World, name: &str, retry_after_ms: Option<u64>) {
    let budget = "The disruption budget web needs 1 healthy pods and has 1 currently".into();
    let outcome = EvictionOutcome::Withheld {
        budget,
        retry_after_ms,
    };
    world.keeps.insert(name.into(), outcome);
}

pub(crate) fn evicted(world: &World) -> Vec<&str> {
    let names = world.evictions.iter().map(|(_, name)| name.as_str());
    names.collect()
}

pub(crate) fn view(world: &mut World) -> MachineView {
    let now = world.now();
    MachineView::clone(&world.lab.view(now).machines[&MachineId::new("k1")])
}

pub(crate) fn told<'a>(world: &'a World, reason: &str) -> Vec<&'a Event> {
    let events = world.events.iter();
    events.filter(|event| event.reason == reason).collect()
}

pub(crate) fn is_free(node: &NodeSeen) -> bool {
    !node.unschedulable && node.taints.iter().all(|taint| taint.key != FENCE)
}

#[test]
fn a_person_who_orders_a_machine_off_has_its_pods_evicted_first() {
    let mut world = ordered_off(&[
        ("web", PodStanding::Controlled),
        ("going", PodStanding::Ending),
    ]);
    world.run_for(30_000);
    assert_eq!(evicted(&world), ["web"], "once, and not what ends anyway");
    assert!(world.stopped().is_empty(), "both still end");
    let shown = view(&mut world);
    assert_eq!(
        (shown.why, shown.drain),
        ("Draining", Some(DrainState::Evicting))
    );
    assert!(shown.message.contains("default/going"), "{}", shown.message);
    let started = told(&world, "DrainStarted");
    assert_eq!(started.len(), 1);
    assert!(started[0].message.contains("default/web"), "{started:?}");
    world.pods.clear();
    world.run_for(30_000);
    assert_eq!(world.stops("k1"), 1);
    assert_eq!(view(&mut world).drain, None);
    assert!(told(&world, "DrainBlocked").is_empty());
}

#[test]
fn a_declaration_and_a_smaller_target_drain_as_well() {
    let mut world = with_pods(&[("web", PodStanding::Controlled)]);
    world.redeclare(Fact::MachineApplied(MachineSpec {
        joins: coordinator_core::Joins::Kubelet,
        power: PowerPolicy::AlwaysOff,
        ..machine_spec("k1")
    }));
    world.run_for(20_000);
    assert_eq!(evicted(&world), ["web"], "AlwaysOff");

    let manual = |target| {
        Fact::GroupApplied(GroupSpec {
            mode: Mode::Manual { target },
            ..group_spec()
        })
    };
    let mut world = World::new(vec![manual(1), kubelet("k1")]);
    world.run_for(180_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    let web = pod("web", PodStanding::Controlled);
    world.pods.insert("k1".into(), vec![web]);
    world.redeclare(manual(0));
    world.run_for(20_000);
    assert_eq!(evicted(&world), ["web"], "targetSize");
}

#[test]
fn pods_are_asked_a_few_at_a_time() {
    let names: Vec<String> = (0..20).map(|i| format!("web-{i:02}")).collect();
    let pods: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), PodStanding::Controlled))
        .collect();
    let mut world = ordered_off(&pods);
    world.run_for(40_000);
    let mut asked = evicted(&world);
    asked.sort_unstable();
    assert_eq!(asked, names, "each once");
    let mut rounds: Vec<u64> = world.evictions.iter().map(|(at, _)| *at).collect();
    rounds.dedup();
    assert_eq!(rounds.len(), 3, "{rounds:?}");
}

#[test]
fn what_a_budget_keeps_is_asked_for_again_no_sooner_than_the_server_wants() {
    for (retry_after_ms, at_least_ms) in [(None, 5_000), (Some(17_000), 17_000)] {
        let mut world = with_pods(&[("web", PodStanding::Controlled)]);
        keeps(&mut world, "web", retry_after_ms);
        ask(&mut world, "off", power(OverridePower::Off, None));
        world.run_for(90_000);
        let times: Vec<u64> = world.evictions.iter().map(|(at, _)| *at).collect();
        assert!(times.len() >= 3, "{times:?}");
        let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
        let shortest = pauses.min().expect("several");
        assert!(
            (at_least_ms..at_least_ms + 6_000).contains(&shortest),
            "{times:?}"
        );
        let shown = view(&mut world);
        assert_eq!(shown.why, "Draining");
        assert!(shown.message.contains("budget web"), "{}", shown.message);
    }
}

#[test]
fn a_drain_that_takes_too_long_is_told_once_and_nothing_is_forced() {
    let mut world = with_pods(&[("web", PodStanding::Controlled)]);
    keeps(&mut world, "web", None);
    ask(&mut world, "off", power(OverridePower::Off, None));
    world.run_for(DRAIN_MS + 30_000);
    let asked = world.evictions.len();
    let shown = view(&mut world);
    assert_eq!(
        (shown.why, shown.drain),
        ("DrainBlocked", Some(DrainState::Blocked))
    );
    for word in ["default/web", "budget web", "2m0s", "take the order back"] {
        assert!(shown.message.contains(word), "{word}: {}", shown.message);
    }
    world.run_for(3_600_000);
    assert_eq!(told(&world, "DrainBlocked").len(), 1);
    assert!(world.sims["k1"].on && world.stopped().is_empty());
    let later = world.evictions.len() - asked;
    assert!((50..=61).contains(&later), "once a minute: {later}");
    // Somebody makes room.
    world.keeps.clear();
    world.run_for(61_000);
    world.pods.clear();
    world.run_for(70_000);
    assert_eq!(world.stops("k1"), 1);
}

#[test]
fn a_pod_without_a_controller_holds_up_the_stop_and_every_eviction() {
    let mut world = ordered_off(&[("web", PodStanding::Controlled), ("pet", PodStanding::Bare)]);
    world.run_for(60_000);
    assert!(evicted(&world).is_empty() && world.stopped().is_empty());
    assert!(told(&world, "DrainStarted").is_empty());
    let shown = view(&mut world);
    assert_eq!(shown.why, "PodsStillRunning");
    for word in [
        "default/pet without a controller",
        "delete",
        "take the order back",
    ] {
        assert!(shown.message.contains(word), "{word}: {}", shown.message);
    }
    world.run_for(DRAIN_MS);
    assert_eq!(view(&mut world).why, "DrainBlocked");
    // A person deletes it.
    let left = vec![pod("web", PodStanding::Controlled)];
    world.pods.insert("k1".into(), left);
    world.run_for(61_000);
    assert_eq!(evicted(&world), ["web"]);
}

#[test]
fn a_pod_that_is_marked_holds_up_the_stop_as_well() {
    let mut world = ordered_off(&[
        ("web", PodStanding::Controlled),
        ("coordinator", PodStanding::NotSafe),
    ]);
    world.run_for(60_000);
    assert!(evicted(&world).is_empty() && world.stopped().is_empty());
    let message = view(&mut world).message;
    let words = "default/coordinator marked as not safe to evict";
    assert!(message.contains(words), "{message}");
}

#[test]
fn what_only_a_person_can_mend_is_told_at_once_and_seldom_asked_again() {
    let forbidden = EvictionOutcome::Forbidden("cannot create pods/eviction".into());
    let several = EvictionOutcome::Misconfigured("more than one PodDisruptionBudget".into());
    for (outcome, word) in [
        (forbidden, "cannot create pods/eviction"),
        (several, "more than one PodDisruptionBudget"),
    ] {
        let mut world = with_pods(&[("web", PodStanding::Controlled)]);
        world.keeps.insert("web".into(), outcome);
        ask(&mut world, "off", power(OverridePower::Off, None));
        world.run_for(50_000);
        assert_eq!(evicted(&world), ["web"], "not within a minute");
        let blocked = told(&world, "DrainBlocked");
        assert_eq!(blocked.len(), 1);
        assert!(blocked[0].message.contains(word), "{blocked:?}");
        assert!(blocked[0].message.contains("default/web"), "{blocked:?}");
    }
}

#[test]
fn a_pod_that_is_gone_or_could_not_be_asked_is_no_obstacle_by_itself() {
    let mut world = with_pods(&[
        ("gone", PodStanding::Controlled),
        ("slow", PodStanding::Controlled),
    ]);
    world.keeps.insert("gone".into(), EvictionOutcome::Gone);
    let slow = EvictionOutcome::Unanswered {
        fault: "nothing within 4s".into(),
        retry_after_ms: None,
    };
    world.keeps.insert("slow".into(), slow);
    ask(&mut world, "off", power(OverridePower::Off, None));
    world.run_for(13_000);
    assert_eq!(view(&mut world).why, "Draining");
    world.keeps.clear();
    world.run_for(10_000);
    world.pods.clear();
    world.run_for(30_000);
    assert_eq!(world.stops("k1"), 1);
}

#[test]
fn taking_the_order_back_ends_the_drain_and_frees_the_node() {
    let until_ms = |world: &World| world.now().wall_ms + 30_000;
    for way in ["power on", "released", "expired"] {
        let mut world = with_pods(&[("web", PodStanding::Controlled)]);
        keeps(&mut world, "web", None);
        let until_ms = (way == "expired").then(|| until_ms(&world));
        ask(&mut world, "off", power(OverridePower::Off, until_ms));
        world.run_for(20_000);
        assert!(!is_free(&world.nodes["k1"]), "{way}: it is fenced");
        match way {
            "power on" => ask(&mut world, "on", power(OverridePower::Running, None)),
            "released" => ask(&mut world, "release", Ask::Release),
            _ => world.run_for(12_000),
        }
        world.run_for(10_000);
        assert!(is_free(&world.nodes["k1"]), "{way}");
        assert_eq!(phase(&mut world, "k1"), PhaseName::Running, "{way}");
        let asked = world.evictions.len();
        world.run_for(120_000);
        assert_eq!(world.evictions.len(), asked, "{way}: nobody is evicted");
        assert!(world.stopped().is_empty(), "{way}");
    }
}

#[test]
fn a_cordon_of_a_person_outlives_a_drain_that_was_taken_back() {
    let mut world = with_pods(&[("web", PodStanding::Controlled)]);
    keeps(&mut world, "web", None);
    let node = world.nodes.get_mut("k1").expect("its Node");
    node.unschedulable = true;
    let node = node.clone();
    world.tell(Fact::NodeSeen(node));
    ask(&mut world, "off", power(OverridePower::Off, None));
    world.run_for(20_000);
    ask(&mut world, "on", power(OverridePower::Running, None));
    world.run_for(10_000);
    let node = &world.nodes["k1"];
    assert!(node.unschedulable, "it was cordoned before");
    assert!(node.taints.is_empty(), "{:?}", node.taints);
}

#[test]
fn a_drain_goes_on_after_a_restart_and_is_late_by_the_time_it_began() {
    let mut world = with_pods(&[("web", PodStanding::Controlled)]);
    keeps(&mut world, "web", None);
    ask(&mut world, "off", power(OverridePower::Off, None));
    world.run_for(DRAIN_MS / 2);
    world.restart();
    let asked = world.evictions.len();
    world.run_for(DRAIN_MS / 2 - 10_000);
    assert!(world.evictions.len() > asked, "it goes on");
    assert_eq!(view(&mut world).why, "Draining");
    assert_eq!(
        told(&world, "DrainStarted").len(),
        1,
        "it has not begun anew"
    );
    world.run_for(30_000);
    assert_eq!(view(&mut world).why, "DrainBlocked");
    world.keeps.clear();
    world.run_for(61_000);
    world.pods.clear();
    world.run_for(90_000);
    assert_eq!(world.stops("k1"), 1);
}

#[test]
fn a_persons_order_over_the_autoscalers_drains_what_that_has_left() {
    let mut world = with_pods(&[("late", PodStanding::Controlled)]);
    let delete = crate::declare::delete(&["k1"]);
    assert_eq!(world.call(delete), Answer::Done);
    world.run_for(30_000);
    assert!(evicted(&world).is_empty(), "its drain is only checked");
    assert_eq!(view(&mut world).drain, None);
    ask(&mut world, "off", power(OverridePower::Off, None));
    world.run_for(10_000);
    assert_eq!(evicted(&world), ["late"]);
}

#[test]
fn nobody_is_evicted_for_a_machine_that_is_not_to_be_stopped_now() {
    let mut world = with_pods(&[("web", PodStanding::Controlled)]);
    keeps(&mut world, "web", None);
    ask(&mut world, "off", power(OverridePower::Off, None));
    world.run_for(20_000);
    world.redeclare(Fact::GroupApplied(GroupSpec {
        paused: true,
        ..group_spec()
    }));
    world.run_for(6_000);
    let asked = world.evictions.len();
    world.run_for(120_000);
    assert_eq!(world.evictions.len(), asked, "its group is paused");
}
