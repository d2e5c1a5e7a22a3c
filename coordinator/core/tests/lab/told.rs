//! What people are told: why a machine does not wake, what they should mend, who did what.

use coordinator_core::{
    AgentInfo, Answer, Ask, AutoscalerVersion, Concern, Concerns, Event, Fact, GroupSpec,
    MachineId, MachineSpec, MachineView, Mode, NodeObjectPolicy, OverridePower, PhaseName, Policy,
    Request, Timeouts, WakeMethod, Witness,
};

use crate::declare::{
    agent_info, bmc, delete, group, group_id, group_spec, increase, kubelet, lab, machine,
    machine_spec,
};
use crate::steps::{phase, running};
use crate::world::World;

fn view(world: &mut World, name: &str) -> MachineView {
    let now = world.now();
    MachineView::clone(&world.lab.view(now).machines[&MachineId::new(name)])
}

fn concerns_of_group(world: &mut World) -> Concerns {
    let now = world.now();
    world.lab.view(now).groups[&group_id()].concerns.clone()
}

/// The latest Event for a reason.
#[track_caller]
fn event<'a>(world: &'a World, reason: &str) -> &'a Event {
    let latest = world.events.iter().rev().find(|e| e.reason == reason);
    assert!(latest.is_some(), "no {reason} among {:?}", world.reasons());
    latest.expect("was just found")
}

#[track_caller]
fn says(text: &str, facts: &[&str]) {
    for fact in facts {
        assert!(text.contains(fact), "{fact:?} is not in {text:?}");
    }
}

fn relay(name: &str, segments: &[&str], credentials: &[&str]) -> Fact {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Fact::AgentInfo(
        AgentInfo {
            key: Some(format!("ed25519:{name}").into()),
            segments: owned(segments),
            credentials: Some(owned(credentials)),
            ..agent_info(name)
        }
        .into(),
    )
}

/// A lab with one machine that never boots, given up after two minutes.
fn dead(spec: MachineSpec) -> World {
    let timeouts = Timeouts {
        boot_ms: 120_000,
        ..spec.timeouts
    };
    let name = spec.id.as_str().to_owned();
    let spec = MachineSpec { timeouts, ..spec };
    let mut world = World::new(vec![group(), Fact::MachineApplied(spec), machine("m2")]);
    world.sims.get_mut(&name).expect("declared").never_boots = true;
    world
}

#[test]
fn a_wake_that_left_is_told_once_for_each_relay_with_target_train_and_who_asked() {
    let mut world = dead(machine_spec("m1"));
    world.relays.insert("nas".into(), true);
    world.tell(relay("nas", &["default"], &[]));
    world.run_for(15_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(70_000);
    let sent: Vec<&Event> = world
        .events
        .iter()
        .filter(|e| e.reason == "WakeSent")
        .collect();
    assert_eq!(sent.len(), 2, "one for each relay, however many trains");
    let mac = machine_spec("m1").wake_on_lan.expect("declared").mac;
    let asked = "asked by cluster-autoscaler IncreaseSize(1) at ";
    says(&sent[0].message, &[&mac, "relay nas", "train 1", asked]);
    says(&sent[1].message, &[&mac, "relay pi", "train 3", asked]);
    assert_eq!(view(&mut world, "m1").why, "WakeSent");
}

#[test]
fn an_unanswered_wake_tells_what_was_not_heard_and_how_it_goes_on() {
    let mut world = dead(machine_spec("m1"));
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(95_000);
    let shown = view(&mut world, "m1");
    assert_eq!(shown.why, "WakeUnanswered");
    assert_eq!(*shown.message, *event(&world, "WakeUnanswered").message);
    says(
        &shown.message,
        &[
            "90 s after",
            "no heartbeat",
            "no kubelet",
            "m1",
            "train 5",
            "each 20 s",
            "relay pi",
            "until ",
        ],
    );
}

#[test]
fn without_a_relay_those_that_could_be_one_are_named_with_where_they_are() {
    let mut world = running(lab(2), 1);
    world.tell(relay("m1", &["default"], &[]));
    world.tell(relay("old", &["default"], &[]));
    world.tell(relay("far", &["garage"], &[]));
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(120_000);
    world.relays.insert("pi".into(), false);
    world.run_for(60_000);
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(2, looked)), Answer::Done);
    world.run_for(5_000);
    let message = &event(&world, "NoRelay").message;
    says(
        message,
        &[
            "Cannot wake m2",
            "segment default",
            "pi was last heard at ",
            "m1 is off since ",
            "old was not heard",
        ],
    );
    assert!(!message.contains("far"), "{message}");
}

#[test]
fn a_bmc_that_accepts_and_does_nothing_is_told_asked_again_and_then_the_next_way_is_taken() {
    let both = MachineSpec {
        wake: vec![WakeMethod::Redfish, WakeMethod::WakeOnLan],
        wake_on_lan: machine_spec("r1").wake_on_lan,
        ..bmc("r1")
    };
    let mut world = World::new(vec![group(), Fact::MachineApplied(both)]);
    world.sims.get_mut("r1").expect("declared").never_boots = true;
    world.run_for(60_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(75_000);
    says(
        &event(&world, "BMCIgnoredWake").message,
        &[
            "https://10.0.0.1",
            "accepted On",
            "still reports Off after 60 s",
            "once more in 20 s",
            "wakeOnLAN",
        ],
    );
    world.run_for(90_000);
    let mac = machine_spec("r1").wake_on_lan.expect("declared").mac;
    says(&event(&world, "WakeSent").message, &[&mac]);
    let told = world
        .reasons()
        .into_iter()
        .filter(|r| *r == "BMCIgnoredWake");
    assert_eq!(told.count(), 1);
}

#[test]
fn a_machine_that_did_not_come_is_told_with_its_usual_boots_and_what_the_autoscaler_makes_of_it() {
    let mut world = running(vec![group(), machine("m1"), machine("m2")], 1);
    let first = world.woken().into_iter().next().expect("one was woken");
    assert_eq!(world.store_machines[&MachineId::new(&first)].boots_s, [30]);
    assert_eq!(world.call(delete(&[&first])), Answer::Done);
    world.run_for(120_000);
    world.sims.get_mut(&first).expect("declared").never_boots = true;
    let looked = world.store_groups[&group_id()].sequence;
    // The other one has never been off, so this takes both.
    assert_eq!(world.call(increase(2, looked)), Answer::Done);
    world.run_for(610_000);
    says(
        &event(&world, "BootTimeout").message,
        &[
            "No sign of life in 10m0s",
            "last 1 boots: 30–30 s",
            "cluster-autoscaler was told BOOT_TIMEOUT and backs off group default/workers",
        ],
    );
}

#[test]
fn a_quarantined_machine_says_what_its_group_has_without_it_and_who_wakes_instead() {
    let mut world = dead(machine_spec("m1"));
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(125_000);
    assert_eq!(view(&mut world, "m1").max_sizes, None, "it is wanted still");
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(5_000);
    let shown = view(&mut world, "m1");
    assert!(shown.quarantined_until_ms.is_some());
    assert_eq!(shown.max_sizes, Some((2, 1)));
    assert_eq!(shown.instead, [MachineId::new("m2")]);
    world.run_for(60_000);
    assert_eq!(view(&mut world, "m1").instead, [], "it has come");
}

#[test]
fn credentials_that_no_relay_holds_are_named_with_where_they_belong() {
    let mut world = World::new(vec![group(), Fact::MachineApplied(bmc("r1"))]);
    world.tell(relay("pi", &["default"], &["other"]));
    world.run_for(60_000);
    let shown = view(&mut world, "r1");
    let message = &shown.concerns[&Concern::MissingCredentials];
    says(
        message,
        &[
            "credentials r ",
            "https://10.0.0.1",
            "r.username, r.password and r.hosts",
            "/etc/homelab-agent/credentials",
            "Secret homelab-autoscaler-credentials",
            "pi (holds other)",
        ],
    );
    assert_eq!(event(&world, "MissingCredentials").message, *message);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(5_000);
    assert_eq!(view(&mut world, "r1").why, "MissingCredentials");
    assert!(!world.reasons().contains(&"NoRelay"), "relays there are");
    world.tell(relay("pi", &["default"], &["other", "r"]));
    world.run_for(15_000);
    assert_eq!(view(&mut world, "r1").concerns, Concerns::new());
    assert_eq!(world.wakes("r1"), 1);
}

#[test]
fn credentials_of_a_relay_that_sleeps_are_not_missing() {
    let mut world = World::new(vec![group(), Fact::MachineApplied(bmc("r1"))]);
    world.tell(relay("pi", &["default"], &[]));
    world.tell(relay("nas", &["default"], &["r"]));
    world.run_for(60_000);
    assert_eq!(view(&mut world, "r1").concerns, Concerns::new());
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(5_000);
    says(&event(&world, "NoRelay").message, &["nas was not heard"]);
}

#[test]
fn keeping_nodes_is_a_concern_until_an_autoscaler_that_understands_is_declared_or_calls() {
    let retaining = || {
        let spec = GroupSpec {
            node_object_policy: NodeObjectPolicy::Retain,
            ..group_spec()
        };
        vec![Fact::GroupApplied(spec), kubelet("k1")]
    };
    let version = |minor| AutoscalerVersion { major: 1, minor };
    let mut world = World::new(retaining());
    let unknown = concerns_of_group(&mut world)[&Concern::RetainNeedsCa136].clone();
    says(
        &unknown,
        &[
            "cluster-autoscaler 1.36 or newer",
            "counts the kept Nodes of sleeping machines as unready",
            "more than 3 Nodes and more than 45 % of all",
            "neither wakes nor stops any machine",
            "--autoscaler-version 1.36",
            "nodeObjectPolicy: Delete",
        ],
    );
    assert_eq!(event(&world, "RetainNeedsCA136").message, unknown);
    world.tell(Fact::AutoscalerSeen {
        version: version(35),
    });
    world.run_for(1);
    says(
        &concerns_of_group(&mut world)[&Concern::RetainNeedsCa136],
        &["This one is 1.35"],
    );
    world.tell(Fact::AutoscalerSeen {
        version: version(36),
    });
    world.run_for(1);
    assert_eq!(concerns_of_group(&mut world), Concerns::new());

    let policy = Policy {
        autoscaler: Some(version(37)),
        ..Policy::default()
    };
    let mut declared = World::with_policy(retaining(), policy);
    assert_eq!(concerns_of_group(&mut declared), Concerns::new());
    declared.tell(Fact::AutoscalerSeen {
        version: version(35),
    });
    declared.run_for(1);
    let seen = concerns_of_group(&mut declared);
    assert!(
        seen.contains_key(&Concern::RetainNeedsCa136),
        "what calls goes before what was declared"
    );
}

#[test]
fn a_concern_of_the_declaration_is_told_and_stops_nothing() {
    let message = "spec.timeouts.boot: 20m is too long".to_owned();
    let slow = MachineSpec {
        concerns: Concerns::from([(Concern::BootAboveProvisionTime, message.clone())]),
        ..machine_spec("m1")
    };
    let mut world = World::new(vec![group(), Fact::MachineApplied(slow)]);
    assert_eq!(event(&world, "BootAboveProvisionTime").message, message);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(60_000);
    assert_eq!(world.wakes("m1"), 2);
    let told = world
        .reasons()
        .into_iter()
        .filter(|r| *r == "BootAboveProvisionTime");
    assert_eq!(told.count(), 1);
}

#[test]
fn a_concern_of_a_groups_declaration_is_told_in_every_mode_until_it_is_mended() {
    let message = "spec.energy.timeZone: Not found".to_owned();
    for mode in [Mode::Autoscaler, Mode::Manual { target: 0 }] {
        let odd = GroupSpec {
            mode,
            concerns: Concerns::from([(Concern::UnknownTimeZone, message.clone())]),
            ..group_spec()
        };
        let mut world = World::new(vec![Fact::GroupApplied(odd.clone()), machine("m1")]);
        assert_eq!(event(&world, "UnknownTimeZone").message, message);
        assert_eq!(concerns_of_group(&mut world), odd.concerns);
        world.tell(Fact::GroupApplied(GroupSpec {
            concerns: Concerns::new(),
            ..odd
        }));
        world.run_for(1);
        assert_eq!(concerns_of_group(&mut world), Concerns::new());
    }
}

#[test]
fn who_established_power_is_kept_with_it() {
    let witness =
        |world: &World, name: &str| world.store_machines[&MachineId::new(name)].power.witness;
    let mut world = running(lab(1), 1);
    assert_eq!(witness(&world, "m1"), Some(Witness::Agent));
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(120_000);
    assert_eq!(witness(&world, "m1"), Some(Witness::Silence));

    let mut world = World::new(vec![group(), Fact::MachineApplied(bmc("r1"))]);
    world.run_for(120_000);
    assert_eq!(witness(&world, "r1"), Some(Witness::Bmc));

    let mut world = World::new(vec![group(), kubelet("k1")]);
    world.sims.get_mut("k1").expect("declared").agentless = true;
    world.set_power("k1", true);
    world.run_for(60_000);
    assert_eq!(witness(&world, "k1"), Some(Witness::Kubelet));
}

#[test]
fn who_asked_for_a_machine_is_whoever_did_and_nobody_for_one_found_running() {
    let mut world = World::new(vec![
        Fact::GroupApplied(GroupSpec {
            require_proof: false,
            ..group_spec()
        }),
        machine("m1"),
        machine("m2"),
        machine("m3"),
    ]);
    world.set_power("m1", true);
    world.run_for(30_000);
    assert_eq!(view(&mut world, "m1").by, "nobody: found running");
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(60_000);
    assert_eq!(
        view(&mut world, "m1").by,
        "nobody: found running",
        "the increase brought another one"
    );
    assert_eq!(
        view(&mut world, "m2").by,
        "cluster-autoscaler IncreaseSize(1)"
    );
    assert_eq!(view(&mut world, "m3").by, "");
}

#[test]
fn events_of_one_operation_name_it() {
    let mut world = running(lab(1), 1);
    let wake = event(&world, "WakeSent").operation.clone();
    assert!(wake.is_some());
    assert_eq!(event(&world, "Woken").operation, wake);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(200_000);
    let stop = event(&world, "PoweredOff").operation.clone();
    assert!(stop.is_some() && stop != wake, "{stop:?}");
    world.set_power("m1", true);
    world.run_for(60_000);
    assert_eq!(event(&world, "SeenRunning").operation, None);
}

#[test]
fn a_machine_that_falls_silent_is_told_with_what_to_do_about_it() {
    let mut world = running(lab(3), 3);
    world.sims.get_mut("m1").expect("m1").mute = true;
    world.run_for(300_000);
    let told = ["unknown", "`homelabctl power confirm-off m1`"];
    says(&event(&world, "Silent").message, &told);
    let message = view(&mut world, "m1").message;
    says(&message, &["is not heard any more", told[1]]);
}

#[test]
fn a_machine_that_goes_off_by_itself_is_told_with_what_becomes_of_it_and_where_to_look() {
    let specs = ["r1", "r2", "r3"].map(|name| Fact::MachineApplied(bmc(name)));
    let mut world = running([vec![group()], specs.to_vec()].concat(), 3);
    let wakes = world.wakes("r1");
    world.set_power("r1", false);
    world.run_for(300_000);
    let group = group_id();
    let told = [
        "BMC https://10.0.0.1",
        group.as_str(),
        "`homelabctl power on r1`",
        "`journalctl -b -1`",
    ];
    says(&event(&world, "LostPower").message, &told);
    says(&view(&mut world, "r1").message, &told);
    // What is told of it is so.
    assert_eq!(phase(&mut world, "r1"), PhaseName::Off);
    assert_eq!(world.store_groups[&group_id()].wanted.len(), 2);
    assert_eq!(world.wakes("r1"), wakes);
    let on = Request::Ask {
        machine: MachineId::new("r1"),
        id: "on".into(),
        ask: Ask::Power {
            power: OverridePower::Running,
            until_ms: None,
        },
        by: "user ann".into(),
    };
    assert_eq!(world.call(on), Answer::Done);
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Running);
}

#[test]
fn an_operation_has_a_deadline_while_it_is_under_way() {
    let mut world = World::new(lab(1));
    assert_eq!(view(&mut world, "m1").deadline_ms, None);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    let shown = view(&mut world, "m1");
    let left_ms = shown.deadline_ms.expect("under way") - shown.since_ms;
    assert!((600_000..601_000).contains(&left_ms), "{left_ms}");
    world.run_for(60_000);
    assert_eq!(view(&mut world, "m1").deadline_ms, None);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    let shown = view(&mut world, "m1");
    let left_ms = shown.deadline_ms.expect("under way") - shown.since_ms;
    assert_eq!(left_ms, 300_000);
}
