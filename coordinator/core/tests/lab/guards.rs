//! What must not move power: pauses, repeated reports, machines that were on all along, Nodes of machines that live.

use coordinator_core::{
    AgentId, AgentInfo, Answer, Fact, ForceOff, GroupSpec, MachineSpec, Mode, PhaseName,
    PodStanding, Policy, PowerPolicy, PowerRead, RejectedKind, Repeat, Report, ReportState,
    Timeouts, WakeMethod, WakeOnLan,
};

use crate::declare::{
    agent_info, bmc, decrease, delete, group, group_id, group_spec, increase, kubelet, lab,
    machine, machine_spec, pod, relay_info,
};
use crate::steps::{phase, running};
use crate::world::World;

#[test]
fn a_node_registered_anew_by_hand_is_not_taken_for_the_one_left_behind() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    world.sims.get_mut("k1").expect("k1").agentless = true;
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(300_000);
    if world.sims["k1"].on {
        world.set_power("k1", false);
    }
    world.run_for(300_000);
    world.set_power("k1", true);
    world.run_for(60_000);
    assert!(
        world.nodes.contains_key("k1"),
        "the Node of a live machine stays"
    );
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    // Nor is it deleted by a coordinator that starts before the kubelet's next sign of life.
    world.restart();
    world.run_for(60_000);
    assert!(world.nodes.contains_key("k1"));
}

#[test]
fn a_result_that_is_repeated_is_read_once() {
    let mut world = running(vec![group(), Fact::MachineApplied(bmc("r1"))], 1);
    let old = Report {
        agent: AgentId::new("pi"),
        command: "01JD0000000000000000000000".into(),
        state: ReportState::Done,
        code: String::new(),
        message: String::new(),
        repeat: Repeat::MayHelp,
        read: Some(PowerRead::Off),
        trusted: true,
    };
    for _ in 0..5 {
        world.tell(Fact::Reported(old.clone()));
        world.run_for(6_000);
    }
    assert_eq!(phase(&mut world, "r1"), PhaseName::Running);
    assert_eq!(world.store_groups[&group_id()].wanted.len(), 1);
}

#[test]
fn a_pause_holds_up_what_is_under_way() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    world
        .pods
        .insert("k1".into(), vec![pod("late", PodStanding::Controlled)]);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(20_000);
    world.redeclare(Fact::GroupApplied(GroupSpec {
        paused: true,
        ..group_spec()
    }));
    world.pods.clear();
    world.run_for(120_000);
    assert!(world.stopped().is_empty());
    world.redeclare(group());
    world.run_for(120_000);
    assert_eq!(world.stops("k1"), 1);
}

fn pause(world: &mut World) {
    world.redeclare(Fact::GroupApplied(GroupSpec {
        paused: true,
        ..group_spec()
    }));
}

/// A lab in which `m1` was asked for and boots, `m2` was and has failed, and `m3` was and nobody can wake it; then a pause.
fn paused_while_three_are_awaited() -> World {
    let mut away = machine_spec("m3");
    away.wake_on_lan = away.wake_on_lan.map(|target| WakeOnLan {
        segment: "garage".into(),
        ..target
    });
    let away = Fact::MachineApplied(away);
    let mut world = World::new(vec![group(), machine("m1"), machine("m2"), away]);
    world.sims.get_mut("m1").expect("m1").boot_takes_ms = 1_000_000;
    world.sims.get_mut("m2").expect("m2").never_boots = true;
    assert_eq!(world.call(increase(3, 0)), Answer::Done);
    world.run_for(10_000);
    let slow = MachineSpec {
        timeouts: Timeouts {
            boot_ms: 3_000_000,
            ..machine_spec("m1").timeouts
        },
        ..machine_spec("m1")
    };
    world.redeclare(Fact::MachineApplied(slow));
    world.run_for(700_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Waking);
    assert_eq!(phase(&mut world, "m2"), PhaseName::WakeFailed);
    assert_eq!([1, 0], ["m2", "m3"].map(|name| world.wakes(name).min(1)));
    pause(&mut world);
    world.effects.clear();
    world
}

/// The target and how many instances are listed.
fn size(world: &mut World) -> (u32, usize) {
    let now = world.now();
    let view = world.lab.view(now);
    let group = &view.groups[&group_id()];
    (group.target, group.instances.len())
}

#[test]
fn a_paused_group_takes_back_the_wish_for_what_has_not_joined_and_moves_no_power() {
    for asks in [
        &[delete(&["m2"]), delete(&["m3"]), delete(&["m1"])][..],
        &[delete(&["m1", "m2", "m3"]), delete(&["m2"])],
        &[decrease(-1), decrease(-1), decrease(-1)],
        &[decrease(-3), delete(&["m2"])],
    ] {
        let mut world = paused_while_three_are_awaited();
        assert_eq!(size(&mut world), (3, 3));
        for ask in asks {
            assert_eq!(world.call(ask.clone()), Answer::Done, "{ask:?}");
        }
        assert_eq!(size(&mut world), (0, 0), "{asks:?}");
        world.run_for(60_000);
        assert_eq!(world.effects, [], "{asks:?}");
        // A coordinator that starts in the pause knows it too.
        world.restart();
        world.run_for(60_000);
        assert_eq!(size(&mut world).0, 0, "{asks:?}");
        assert_eq!(world.effects, [], "{asks:?}");
    }
}

#[test]
fn a_machine_that_comes_up_in_a_pause_although_nobody_wants_it_is_stopped_after_it() {
    let mut world = paused_while_three_are_awaited();
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(600_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    assert_eq!(world.effects, [], "nothing is switched in a pause");
    world.redeclare(group());
    world.run_for(200_000);
    assert_eq!(world.stops("m1"), 1);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Off);
}

#[test]
fn what_has_joined_a_paused_group_is_not_given_back() {
    let mut world = running(vec![group(), machine("m1"), machine("m2")], 2);
    assert_eq!(world.call(delete(&["m2"])), Answer::Done);
    world.run_for(200_000);
    world.effects.clear();
    pause(&mut world);
    let refused = world.call(delete(&["m1"]));
    assert!(
        matches!(&refused, Answer::Rejected(r) if r.kind == RejectedKind::FailedPrecondition),
        "{refused:?}"
    );
    assert_eq!(world.call(decrease(-1)), Answer::Done, "of those to come");
    assert_eq!(world.call(delete(&["m2"])), Answer::Done, "it is off");
    world.run_for(60_000);
    assert_eq!(size(&mut world), (1, 1));
    assert_eq!(world.effects, []);
}

#[test]
fn a_relay_that_became_the_last_one_after_its_order_is_not_stopped() {
    let mut world = running(vec![group(), kubelet("k1"), machine("m2")], 1);
    world.tell(Fact::AgentInfo(
        AgentInfo {
            key: Some("ed25519:k1".into()),
            ..relay_info("k1")
        }
        .into(),
    ));
    world
        .pods
        .insert("k1".into(), vec![pod("late", PodStanding::Controlled)]);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(20_000);
    world.relays.insert("pi".into(), false);
    world.run_for(60_000);
    world.pods.clear();
    world.run_for(300_000);
    assert!(world.stopped().is_empty(), "nobody could wake m2 any more");
    assert!(world.reasons().contains(&"NotStopped"));
    world.relays.insert("pi".into(), true);
    world.run_for(300_000);
    assert_eq!(world.stops("k1"), 1);
}

/// An agent that holds these BMC credentials and relays for these segments.
fn tell_relay(world: &mut World, name: &str, segments: &[&str], credentials: Option<&[&str]>) {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let info = AgentInfo {
        key: Some(format!("ed25519:{name}").into()),
        segments: owned(segments),
        credentials: credentials.map(owned),
        ..agent_info(name)
    };
    world.tell(Fact::AgentInfo(info.into()));
}

#[track_caller]
fn is_kept_as_a_relay(world: &mut World, name: &str) {
    let refused = world.call(delete(&[name]));
    assert!(
        matches!(&refused, Answer::Rejected(r) if r.message.contains("LastRelay")),
        "{refused:?}"
    );
}

#[test]
fn the_last_relay_that_can_wake_a_machine_is_not_stopped() {
    let both = MachineSpec {
        wake: vec![WakeMethod::Redfish, WakeMethod::WakeOnLan],
        wake_on_lan: machine_spec("m2").wake_on_lan,
        ..bmc("m2")
    };
    let packet = machine_spec("m2");
    let only_bmc = bmc("m2");
    for (other, ours, theirs, stops) in [
        // Who else holds the credentials?
        (&only_bmc, &["r"][..], Some(&[][..]), false),
        (&only_bmc, &["r"], Some(&["x"]), false),
        (&only_bmc, &["r"], Some(&["x", "r"]), true),
        // It names none because they are too many to be named.
        (&only_bmc, &["r"], None, true),
        (&only_bmc, &["x"], Some(&[]), true),
        // It is woken by packet, which the other relay sends.
        (&both, &["r"], Some(&[]), true),
        (&packet, &["r"], Some(&[]), true),
    ] {
        let specs = vec![group(), machine("m1"), Fact::MachineApplied(other.clone())];
        let mut world = running(specs, 2);
        tell_relay(&mut world, "m1", &["elsewhere"], Some(ours));
        tell_relay(&mut world, "pi", &["default"], theirs);
        let answer = world.call(delete(&["m1"]));
        assert_eq!(
            answer == Answer::Done,
            stops,
            "{ours:?} {theirs:?}: {answer:?}"
        );
        world.run_for(200_000);
        assert_eq!(world.stops("m1"), usize::from(stops), "{ours:?} {theirs:?}");
    }
}

#[test]
fn two_relays_that_wake_only_each_other_let_one_of_them_sleep() {
    let specs = ["m1", "m2"].map(|name| {
        let mut spec = bmc(name);
        if let Some(redfish) = &mut spec.redfish {
            redfish.credentials = name.into();
        }
        Fact::MachineApplied(spec)
    });
    let mut world = running([vec![group()], specs.to_vec()].concat(), 2);
    tell_relay(&mut world, "pi", &["default"], Some(&[]));
    tell_relay(&mut world, "m1", &["default"], Some(&["m2"]));
    tell_relay(&mut world, "m2", &["default"], Some(&["m1"]));
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    is_kept_as_a_relay(&mut world, "m2");
}

#[test]
fn a_relay_that_is_confirmed_off_counts_no_more_though_it_was_heard_lately() {
    let mut world = running(
        vec![group(), machine("m1"), Fact::MachineApplied(bmc("r1"))],
        2,
    );
    tell_relay(&mut world, "pi", &["default"], Some(&[]));
    tell_relay(&mut world, "m1", &["default"], Some(&["r"]));
    tell_relay(&mut world, "r1", &["default"], Some(&["r"]));
    assert_eq!(world.call(delete(&["r1"])), Answer::Done);
    while phase(&mut world, "r1") != PhaseName::Off {
        world.run_for(1_000);
    }
    is_kept_as_a_relay(&mut world, "m1");
}

#[test]
fn a_relay_is_not_kept_for_a_machine_that_nobody_may_wake() {
    let only_watched = MachineSpec {
        power: PowerPolicy::Unmanaged,
        ..bmc("r1")
    };
    let specs = vec![group(), machine("m1"), Fact::MachineApplied(only_watched)];
    let mut world = running(specs, 1);
    tell_relay(&mut world, "pi", &["default"], Some(&[]));
    tell_relay(&mut world, "m1", &["default"], Some(&["r"]));
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
}

#[test]
fn a_machine_that_only_its_own_agent_could_wake_is_not_stopped() {
    let mut world = running(vec![group(), machine("m1")], 1);
    tell_relay(&mut world, "m1", &["default"], Some(&[]));
    world.relays.insert("pi".into(), false);
    world.run_for(60_000);
    is_kept_as_a_relay(&mut world, "m1");
    world.relays.insert("pi".into(), true);
    world.run_for(60_000);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
}

#[test]
fn a_machine_that_was_on_before_a_wake_that_was_taken_back_is_not_stopped() {
    let mut world = World::new(lab(1));
    world.sims.get_mut("m1").expect("m1").mute = true;
    world.set_power("m1", true);
    world.run_for(120_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(1_000);
    assert_eq!(world.call(decrease(-1)), Answer::Done);
    world.sims.get_mut("m1").expect("m1").mute = false;
    world.run_for(900_000);
    assert!(world.stopped().is_empty());
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
}

#[test]
fn a_redfish_wake_that_was_taken_back_is_not_called_off_by_older_readings() {
    let mut world = World::new(vec![group(), Fact::MachineApplied(bmc("r1"))]);
    world.run_for(600_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(500);
    assert_eq!(world.call(delete(&["r1"])), Answer::Done);
    world.run_for(300_000);
    assert_eq!(world.stops("r1"), 1, "it came up, and was stopped");
    assert!(!world.sims["r1"].on);
}

#[test]
fn power_is_not_cut_over_pods_that_still_run() {
    let timeouts = Timeouts {
        boot_ms: 600_000,
        stop_ms: 60_000,
        drain_ms: 600_000,
        off_hold_ms: 60_000,
    };
    let spec = MachineSpec {
        joins: coordinator_core::Joins::Kubelet,
        force_off: ForceOff::AfterTimeout,
        timeouts,
        ..bmc("r1")
    };
    let mut world = running(vec![group(), Fact::MachineApplied(spec)], 1);
    world
        .pods
        .insert("r1".into(), vec![pod("late", PodStanding::Controlled)]);
    assert_eq!(world.call(delete(&["r1"])), Answer::Done);
    world.run_for(600_000);
    assert!(world.sims["r1"].on && world.stopped().is_empty());
}

#[test]
fn a_manual_group_makes_up_for_a_machine_that_does_not_start_and_keeps_to_it() {
    let manual = GroupSpec {
        mode: Mode::Manual { target: 1 },
        ..group_spec()
    };
    let mut specs = vec![group()];
    for name in ["m1", "m2"] {
        let timeouts = Timeouts {
            boot_ms: 60_000,
            ..machine_spec(name).timeouts
        };
        specs.push(Fact::MachineApplied(MachineSpec {
            timeouts,
            ..machine_spec(name)
        }));
    }
    let mut world = World::new(specs);
    world.sims.get_mut("m1").expect("m1").never_boots = true;
    world.redeclare(Fact::GroupApplied(manual));
    world.run_for(200_000);
    assert!(world.sims["m2"].on);
    assert!(world.writes < 20, "{} writes", world.writes);
}

#[test]
fn the_machines_of_coordinator_and_broker_are_not_stopped_and_the_autoscaler_is_told() {
    let policy = Policy {
        own_node: Some("k1".into()),
        broker_node: Some("k2".into()),
        grace_ms: 15_000,
        ..Policy::default()
    };
    let specs = vec![group(), kubelet("k1"), kubelet("k2"), kubelet("k3")];
    let mut world = World::with_policy(specs, policy);
    assert_eq!(world.call(increase(3, 0)), Answer::Done);
    world.run_for(120_000);
    for (name, reason) in [("k1", "OwnMachine"), ("k2", "BrokerMachine")] {
        let Answer::Rejected(refused) = world.call(delete(&[name])) else {
            panic!("{name} was given back");
        };
        assert!(refused.message.contains(reason), "{}", refused.message);
        let told = &world.nodes[name].annotations;
        assert_eq!(
            told["cluster-autoscaler.kubernetes.io/scale-down-disabled"],
            "true"
        );
        assert_eq!(
            told["homelab-autoscaler.dev/scale-down-disabled-by"],
            reason
        );
    }
    assert_eq!(world.call(delete(&["k3"])), Answer::Done);
    world.run_for(120_000);
    assert_eq!(world.stopped().into_iter().collect::<Vec<_>>(), ["k3"]);
}
