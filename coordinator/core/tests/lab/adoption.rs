//! First contact, silence, power cuts, people: nothing is stopped that nobody may stop.

use coordinator_core::{
    Answer, Ask, Concern, Fact, GroupSpec, InstanceState, Joins, MachineId, MachineSpec,
    MachineView, NodeSeen, OverridePower, PhaseName, PodStanding, PowerPolicy, RejectedKind,
};

use crate::declare::{
    bmc, delete, group, group_id, group_spec, increase, kubelet, lab, machine, machine_spec,
    person, pod,
};
use crate::steps::{phase, running};
use crate::world::World;

fn target(world: &mut World) -> u32 {
    let now = world.now();
    world.lab.view(now).groups[&group_id()].target
}

#[test]
fn installing_into_a_lab_whose_machines_are_all_on_stops_none() {
    let mut specs = lab(3);
    specs.push(kubelet("k1"));
    let mut world = World::new(specs);
    for name in ["m1", "m2", "m3", "k1"] {
        world.set_power(name, true);
    }
    world.run_for(3_600_000);
    assert!(world.effects.is_empty());
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    let now = world.now();
    let view = world.lab.view(now);
    assert_eq!(
        view.groups[&group_id()].target,
        0,
        "unproven machines are not counted"
    );
    assert!(view.by_node_name.is_empty(), "and not the autoscaler's");
    for name in ["m1", "k1"] {
        let answer = world.call(delete(&[name]));
        assert!(
            matches!(answer, Answer::Rejected(r) if r.kind == RejectedKind::FailedPrecondition)
        );
    }
    world.run_for(600_000);
    assert!(world.effects.is_empty());
}

#[test]
fn without_required_proof_a_machine_that_is_on_counts_at_once() {
    let specs = vec![
        Fact::GroupApplied(GroupSpec {
            require_proof: false,
            ..group_spec()
        }),
        machine("m1"),
    ];
    let mut world = World::new(specs);
    world.set_power("m1", true);
    world.run_for(30_000);
    assert_eq!(target(&mut world), 1);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(120_000);
    assert_eq!(world.stops("m1"), 1);
}

#[test]
fn a_proof_stops_once_and_wakes_once_and_then_the_machine_counts() {
    let mut world = World::new(lab(1));
    world.set_power("m1", true);
    world.run_for(30_000);
    assert_eq!(world.call(person("m1", "a", Ask::Prove)), Answer::Done);
    world.run_for(300_000);
    assert_eq!(world.stops("m1"), 1);
    assert!(world.sims["m1"].on);
    assert!(
        world.store_machines[&MachineId::new("m1")]
            .proven_at_ms
            .is_some()
    );
    assert_eq!(target(&mut world), 1);
    // The same request delivered again is the same request.
    assert_eq!(world.call(person("m1", "a", Ask::Prove)), Answer::Done);
    world.run_for(300_000);
    assert_eq!(world.stops("m1"), 1);
}

#[test]
fn no_proof_is_taken_against_what_keeps_the_machine_on_or_off() {
    let declared = |power| {
        Fact::MachineApplied(MachineSpec {
            power,
            ..machine_spec("m1")
        })
    };
    let by_hand = |power| Ask::Power {
        power,
        until_ms: None,
    };
    for power in [PowerPolicy::AlwaysOn, PowerPolicy::AlwaysOff] {
        let mut world = running(lab(1), 1);
        world.tell(declared(power));
        let answer = world.call(person("m1", "a", Ask::Prove));
        assert!(matches!(answer, Answer::Rejected(_)), "{power:?}");
    }
    let mut world = running(lab(1), 1);
    world.call(person("m1", "a", by_hand(OverridePower::Off)));
    let answer = world.call(person("m1", "b", Ask::Prove));
    assert!(matches!(answer, Answer::Rejected(_)));
}

#[test]
fn a_proof_does_not_outlive_what_overrules_it() {
    let mut world = running(vec![group(), kubelet("m1")], 1);
    world
        .pods
        .insert("m1".into(), vec![pod("p", PodStanding::Bare)]);
    assert_eq!(world.call(person("m1", "a", Ask::Prove)), Answer::Done);
    world.run_for(5_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Stopping);
    let on = Ask::Power {
        power: OverridePower::Running,
        until_ms: None,
    };
    assert_eq!(world.call(person("m1", "b", on)), Answer::Done);
    world.run_for(5_000);
    world.pods.clear();
    assert_eq!(world.call(person("m1", "c", Ask::Release)), Answer::Done);
    world.run_for(600_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
    assert_eq!(world.stops("m1"), 0);
}

#[test]
fn an_override_holds_for_its_time_and_ends_by_itself() {
    let mut world = World::new(lab(2));
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(120_000);
    let until_ms = Some(world.now().wall_ms + 3_600_000);
    let off = Ask::Power {
        power: OverridePower::Off,
        until_ms,
    };
    assert_eq!(world.call(person("m1", "a", off)), Answer::Done);
    world.run_for(200_000);
    assert!(!world.sims["m1"].on);
    assert_eq!(target(&mut world), 0);
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(120_000);
    assert!(
        world.sims["m2"].on && !world.sims["m1"].on,
        "the held one is not chosen"
    );
    world.run_for(3_600_000);
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(120_000);
    assert!(world.sims["m1"].on);
}

#[test]
fn silence_is_unknown_and_moves_nothing() {
    let mut world = World::new(lab(3));
    assert_eq!(world.call(increase(3, 0)), Answer::Done);
    world.run_for(120_000);
    let wakes = world.effects.len();
    world.sims.get_mut("m1").expect("m1").mute = true;
    world.run_for(600_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Unknown);
    assert_eq!(world.effects.len(), wakes);
    assert_eq!(target(&mut world), 3);
    world.sims.get_mut("m1").expect("m1").mute = false;
    world.run_for(20_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Running);
}

#[test]
fn much_silence_at_once_freezes_the_group() {
    let mut world = World::new(lab(4));
    assert_eq!(world.call(increase(4, 0)), Answer::Done);
    world.run_for(120_000);
    let before = world.effects.len();
    for name in ["m1", "m2", "m3"] {
        world.sims.get_mut(name).expect("machine").mute = true;
    }
    world.run_for(60_000);
    assert_eq!(
        world
            .reasons()
            .iter()
            .filter(|r| **r == "MassSilence")
            .count(),
        1
    );
    assert_eq!(world.effects.len(), before);
    assert_eq!(target(&mut world), 4);
}

#[test]
fn after_a_power_cut_wanted_machines_come_back_one_by_one_after_the_hold() {
    let mut world = World::new(vec![
        group(),
        Fact::MachineApplied(bmc("r1")),
        Fact::MachineApplied(bmc("r2")),
    ]);
    world.run_for(60_000);
    assert_eq!(world.call(increase(2, 0)), Answer::Done);
    world.run_for(120_000);
    let before = world.effects.len();
    let cut_ms = world.now_ms;
    world.set_power("r1", false);
    world.set_power("r2", false);
    world.run_for(240_000);
    assert_eq!(
        world.effects.len(),
        before,
        "time for the BIOS to start them by itself"
    );
    world.run_for(240_000);
    let times: Vec<u64> = world.effects[before..]
        .iter()
        .map(|(at, _)| at - cut_ms)
        .collect();
    assert!(times[0] >= 300_000, "{times:?}");
    assert!(world.sims["r1"].on && world.sims["r2"].on);
}

#[test]
fn a_machine_switched_off_by_hand_is_no_longer_counted() {
    let mut specs = vec![group()];
    specs.extend(["r1", "r2", "r3"].map(|name| Fact::MachineApplied(bmc(name))));
    let mut world = World::new(specs);
    world.run_for(60_000);
    assert_eq!(world.call(increase(3, 0)), Answer::Done);
    world.run_for(120_000);
    let wakes = world.wakes("r1");
    world.set_power("r1", false);
    world.run_for(300_000);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Off);
    assert_eq!(target(&mut world), 2);
    assert_eq!(world.wakes("r1"), wakes);
}

#[test]
fn a_person_who_has_looked_may_confirm_off_but_not_against_evidence() {
    let mut world = World::new(lab(1));
    world.set_power("m1", true);
    world.run_for(30_000);
    let refused = world.call(person("m1", "a", Ask::ConfirmOff));
    assert!(matches!(refused, Answer::Rejected(r) if r.kind == RejectedKind::FailedPrecondition));
    world.set_power("m1", false);
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Unknown);
    assert_eq!(world.call(person("m1", "b", Ask::ConfirmOff)), Answer::Done);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Off);
}

#[test]
fn deleting_declarations_moves_no_power() {
    let mut world = World::new(lab(2));
    assert_eq!(world.call(increase(2, 0)), Answer::Done);
    world.run_for(120_000);
    let before = world.effects.len();
    world.redeclare(Fact::MachineRemoved(MachineId::new("m1")));
    world.redeclare(Fact::GroupRemoved(group_id()));
    world.run_for(600_000);
    assert_eq!(world.effects.len(), before);
}

#[test]
fn a_machine_found_on_beyond_the_maximum_counts_once_there_is_room() {
    let sized = |max| {
        Fact::GroupApplied(GroupSpec {
            require_proof: false,
            max_size: Some(max),
            ..group_spec()
        })
    };
    let mut world = World::new(vec![sized(1), machine("m1"), machine("m2")]);
    world.set_power("m1", true);
    world.set_power("m2", true);
    world.run_for(30_000);
    assert_eq!(target(&mut world), 1);
    assert_eq!(phase(&mut world, "m2"), PhaseName::Running, "left alone");
    world.redeclare(sized(2));
    world.run_for(30_000);
    assert_eq!(target(&mut world), 2);
    assert!(world.effects.is_empty());
}

const FOREIGN: &str = "aws:///elsewhere/i-1";

fn shown(world: &mut World, name: &str) -> MachineView {
    let now = world.now();
    MachineView::clone(&world.lab.view(now).machines[&MachineId::new(name)])
}

fn states(world: &mut World) -> Vec<InstanceState> {
    let now = world.now();
    let group = world.lab.view(now).groups[&group_id()].clone();
    let states = group.instances.iter().map(|one| one.state.clone());
    states.collect()
}

#[test]
fn a_woken_machine_whose_node_has_a_foreign_id_does_not_run_until_that_id_is_declared() {
    let unasked = Fact::GroupApplied(GroupSpec {
        require_proof: false,
        ..group_spec()
    });
    let mut world = World::new(vec![unasked, kubelet("k1")]);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    let brought = NodeSeen {
        name: "k1".into(),
        uid: "by-hand".into(),
        provider_id: FOREIGN.into(),
        ..NodeSeen::default()
    };
    world.nodes.insert("k1".into(), brought);
    world.run_for(120_000);
    let told = shown(&mut world, "k1");
    let message = &told.concerns[&Concern::ForeignProviderId];
    for word in [
        FOREIGN,
        "homelab://default/k1",
        "delete the Node",
        "providerID",
    ] {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    assert_eq!((told.why, told.ready), ("ForeignProviderID", false));
    assert_eq!(states(&mut world), [InstanceState::Creating]);
    // Past its boot timeout it is no other machine.
    world.run_for(900_000);
    assert_eq!(states(&mut world), [InstanceState::Creating]);
    assert_eq!(shown(&mut world, "k1").why, "ForeignProviderID");
    let events = world.reasons().into_iter();
    assert_eq!(events.filter(|r| *r == "ForeignProviderID").count(), 1);
    world.redeclare(Fact::MachineApplied(MachineSpec {
        joins: Joins::Kubelet,
        provider_id: Some(FOREIGN.into()),
        ..machine_spec("k1")
    }));
    world.run_for(30_000);
    assert_eq!(states(&mut world), [InstanceState::Running]);
    let told = shown(&mut world, "k1");
    assert!(told.ready && told.concerns.is_empty(), "{told:?}");
}

#[test]
fn a_running_machine_whose_node_comes_back_with_a_foreign_id_counts_again_once_that_is_mended() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    let right = world.nodes["k1"].clone();
    let register = |world: &mut World, uid: &str, provider_id: &str| {
        let node = NodeSeen {
            uid: uid.into(),
            provider_id: provider_id.into(),
            ..right.clone()
        };
        world.nodes.insert("k1".into(), node.clone());
        world.tell(Fact::NodeSeen(node));
        world.run_for(15_000);
    };
    register(&mut world, "second", FOREIGN);
    assert_eq!(states(&mut world), [InstanceState::Creating]);
    assert!(!shown(&mut world, "k1").ready);
    assert_eq!(target(&mut world), 1, "it is wanted still");
    register(&mut world, "third", "");
    assert_eq!(world.nodes["k1"].provider_id, "homelab://default/k1");
    assert_eq!(states(&mut world), [InstanceState::Running]);
    let told = shown(&mut world, "k1");
    assert!(told.ready && told.concerns.is_empty(), "{told:?}");
    assert_eq!(told.why, "Running");
}
