//! Machines that are not what they were declared to be: another network card, another Node's name, a Node that stays.

use std::collections::BTreeMap;

use coordinator_core::{
    AgentInfo, Answer, Ask, Concern, Fact, Joins, MachineId, MachineSpec, MachineView, NodeSeen,
    PhaseName, PowerPolicy, RejectedKind, SharedMap, WakeMethod,
};

use crate::declare::{
    agent_info, bmc, delete, group, group_id, increase, kubelet, lab, machine_spec, person,
};
use crate::steps::{phase, running};
use crate::world::World;

const OTHER_MAC: &str = "1c:69:7a:0b:11:ff";
const SCALE_DOWN_DISABLED: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";

fn shown(world: &mut World, name: &str) -> MachineView {
    let now = world.now();
    MachineView::clone(&world.lab.view(now).machines[&MachineId::new(name)])
}

#[track_caller]
fn says(world: &mut World, name: &str, concern: Concern, words: &[&str]) {
    let concerns = shown(world, name).concerns;
    let message = concerns.get(&concern);
    assert!(message.is_some(), "no {concern:?} in {concerns:?}");
    for word in words {
        assert!(
            message.is_some_and(|m| m.contains(word)),
            "{word:?} is not in {message:?}"
        );
    }
    let told = world.events.iter().filter(|e| e.reason == concern.as_str());
    assert_eq!(told.count(), 1, "{:?}", world.reasons());
}

fn is_calm(world: &mut World, name: &str, concern: Concern) -> bool {
    !shown(world, name).concerns.contains_key(&concern)
}

/// Its agent tells which cards its host has.
fn cards(name: &str, macs: &[&str]) -> Fact {
    let macs = macs.iter().map(|mac| (*mac).to_owned()).collect();
    let info = AgentInfo {
        macs,
        ..agent_info(name)
    };
    Fact::AgentInfo(info.into())
}

fn mac_of(name: &str) -> String {
    machine_spec(name).wake_on_lan.expect("declared").mac
}

#[test]
fn a_machine_whose_card_was_swapped_is_not_stopped_until_its_address_is_right_again() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    world.tell(cards("k1", &[&mac_of("k1"), "02:00:00:00:00:09"]));
    world.run_for(15_000);
    assert!(is_calm(&mut world, "k1", Concern::ForeignMac), "one of two");
    world.tell(cards("k1", &[OTHER_MAC]));
    world.run_for(15_000);
    let words = [OTHER_MAC, &mac_of("k1"), "wakeOnLAN.mac", "ip link"];
    says(&mut world, "k1", Concern::ForeignMac, &words);
    let annotations = &world.nodes["k1"].annotations;
    assert_eq!(
        annotations.get(SCALE_DOWN_DISABLED).map(String::as_str),
        Some("true")
    );
    let answer = world.call(delete(&["k1"]));
    assert!(
        matches!(&answer, Answer::Rejected(r) if r.kind == RejectedKind::FailedPrecondition
            && r.message.contains("ForeignMAC")),
        "{answer:?}"
    );
    let prove = person("k1", "prove", Ask::Prove);
    assert!(matches!(world.call(prove), Answer::Rejected(_)));
    assert!(world.stopped().is_empty());

    let spec = machine_spec("k1");
    world.redeclare(Fact::MachineApplied(MachineSpec {
        joins: Joins::Kubelet,
        wake_on_lan: spec.wake_on_lan.map(|card| coordinator_core::WakeOnLan {
            mac: OTHER_MAC.into(),
            ..card
        }),
        ..machine_spec("k1")
    }));
    world.run_for(15_000);
    assert!(is_calm(&mut world, "k1", Concern::ForeignMac));
    assert!(
        !world.nodes["k1"]
            .annotations
            .contains_key(SCALE_DOWN_DISABLED)
    );
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
}

#[test]
fn the_machine_that_has_the_card_is_named() {
    let mut world = running(lab(2), 2);
    world.tell(cards("m1", &[&mac_of("m2")]));
    world.tell(cards("m2", &[&mac_of("m1")]));
    world.run_for(1_000);
    let concerns = shown(&mut world, "m1").concerns;
    let message = &concerns[&Concern::ForeignMac];
    assert!(message.contains("agent m2 has it"), "{message}");
}

#[test]
fn a_machine_that_its_bmc_can_wake_is_stopped_whatever_its_cards_are() {
    let both = MachineSpec {
        wake: vec![WakeMethod::Redfish, WakeMethod::WakeOnLan],
        wake_on_lan: machine_spec("r1").wake_on_lan,
        ..bmc("r1")
    };
    let mut world = running(vec![group(), Fact::MachineApplied(both)], 1);
    world.tell(cards("r1", &[OTHER_MAC]));
    world.run_for(1_000);
    says(&mut world, "r1", Concern::ForeignMac, &[OTHER_MAC]);
    assert_eq!(world.call(delete(&["r1"])), Answer::Done);
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Off);
}

/// The kubelet of a machine that runs registers under another name.
fn rename(world: &mut World, from: &str, to: &str, provider_id: &str) {
    let mut old = world.nodes.remove(from).expect("registered");
    let renamed = NodeSeen {
        name: to.into(),
        uid: "renamed".into(),
        provider_id: provider_id.into(),
        labels: SharedMap::default(),
        annotations: BTreeMap::new(),
        taints: Vec::new(),
        ..old.clone()
    };
    old.ready = false;
    world.tell(Fact::NodeSeen(old));
    world.nodes.insert(to.into(), renamed.clone());
    world.tell(Fact::NodeSeen(renamed));
}

fn under_node_name(node_name: &str) -> Fact {
    Fact::MachineApplied(MachineSpec {
        joins: Joins::Kubelet,
        node_name: node_name.into(),
        ..machine_spec("k1")
    })
}

#[test]
fn a_machine_whose_kubelet_registers_under_another_name_says_which_and_runs_once_that_is_declared()
{
    let mut world = running(vec![group(), kubelet("k1")], 1);
    rename(&mut world, "k1", "other", "");
    world.run_for(60_000);
    let words = ["Node other", "nodeName: other", "--hostname-override", "k1"];
    says(&mut world, "k1", Concern::NodeRenamed, &words);
    let told = shown(&mut world, "k1");
    assert!(!told.ready && told.phase == PhaseName::Running, "{told:?}");
    assert!(world.stopped().is_empty());

    world.redeclare(under_node_name("other"));
    world.tell(Fact::LeaseRenewed {
        name: "other".into(),
    });
    world.run_for(5_000);
    assert!(is_calm(&mut world, "k1", Concern::NodeRenamed));
    let told = shown(&mut world, "k1");
    assert!(told.ready && *told.node_name == *"other", "{told:?}");
    assert_eq!(world.nodes["other"].provider_id, "homelab://default/k1");
    let now = world.now();
    let view = world.lab.view(now);
    assert_eq!(view.by_node_name.get("other"), Some(&group_id()));
    assert_eq!(view.groups[&group_id()].target, 1);
}

#[test]
fn a_machine_whose_pods_run_under_another_nodes_name_is_not_stopped() {
    for old_node_goes in [false, true] {
        let mut world = running(vec![group(), kubelet("k1")], 1);
        rename(&mut world, "k1", "other", "");
        if old_node_goes {
            world.tell(Fact::NodeGone { name: "k1".into() });
        }
        world.run_for(60_000);
        let answer = world.call(delete(&["k1"]));
        assert!(
            matches!(&answer, Answer::Rejected(why) if why.message.contains("NodeRenamed")),
            "{answer:?}"
        );
        world.redeclare(Fact::MachineApplied(MachineSpec {
            joins: Joins::Kubelet,
            power: PowerPolicy::AlwaysOff,
            ..machine_spec("k1")
        }));
        world.run_for(120_000);
        assert!(world.stopped().is_empty(), "{old_node_goes}");
    }
}

#[test]
fn a_node_under_another_name_is_known_by_its_provider_id_where_no_agent_is_heard() {
    let mut world = World::new(vec![group(), kubelet("k1")]);
    world.sims.get_mut("k1").expect("k1").agentless = true;
    world.run_for(60_000);
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(5_000);
    let other = NodeSeen {
        name: "other".into(),
        uid: "o".into(),
        provider_id: "homelab://default/k1".into(),
        ready: true,
        ..NodeSeen::default()
    };
    world.tell(Fact::NodeSeen(other));
    world.run_for(1_000);
    says(&mut world, "k1", Concern::NodeRenamed, &["nodeName: other"]);
}

#[test]
fn a_strange_node_is_nobodys() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    let stranger = NodeSeen {
        name: "stranger".into(),
        uid: "s".into(),
        boot_id: world.boot_id("k1"),
        ready: true,
        ..NodeSeen::default()
    };
    world.tell(Fact::NodeSeen(stranger));
    world.run_for(60_000);
    assert!(
        is_calm(&mut world, "k1", Concern::NodeRenamed),
        "it has joined"
    );
}

#[test]
fn a_declaration_that_names_another_node_lets_go_of_the_old_one() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    world.redeclare(under_node_name("other"));
    world.run_for(60_000);
    assert!(
        !shown(&mut world, "k1").ready,
        "no Node of that name is there"
    );
    let now = world.now();
    let view = world.lab.view(now);
    assert_eq!(view.by_node_name.get("k1"), None);
    // And back.
    world.redeclare(kubelet("k1"));
    world.run_for(15_000);
    assert!(shown(&mut world, "k1").ready);
}

/// A machine that is off, and a Node of it that somebody has created since.
fn node_from_a_backup() -> World {
    let mut world = running(vec![group(), kubelet("k1"), kubelet("k2")], 1);
    let woken = world.woken();
    assert_eq!(woken.into_iter().next().as_deref(), Some("k1"));
    let old = world.nodes["k1"].clone();
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(180_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Off);
    assert!(!world.nodes.contains_key("k1"), "it was deleted");
    let restored = NodeSeen {
        uid: "restored".into(),
        ready: false,
        ..old
    };
    world.nodes.insert("k1".into(), restored.clone());
    world.tell(Fact::NodeSeen(restored));
    world.run_for(70_000);
    world
}

#[test]
fn a_node_that_stands_there_for_a_machine_that_is_off_is_told_and_another_machine_is_woken() {
    let mut world = node_from_a_backup();
    let words = [
        "Node k1",
        "not woken",
        "kubectl delete node k1",
        "finalizers",
    ];
    says(&mut world, "k1", Concern::OldNode, &words);
    let now = world.now();
    assert_eq!(world.lab.view(now).groups[&group_id()].max_size, 1);
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(60_000);
    assert_eq!(phase(&mut world, "k2"), PhaseName::Running);
    assert!(world.nodes.contains_key("k1"), "it is not ours to delete");

    world.nodes.remove("k1");
    world.tell(Fact::NodeGone { name: "k1".into() });
    world.run_for(1_000);
    assert!(is_calm(&mut world, "k1", Concern::OldNode));
    let now = world.now();
    assert_eq!(world.lab.view(now).groups[&group_id()].max_size, 2);
}

#[test]
fn a_machine_that_comes_back_with_its_old_node_runs_and_its_node_is_clean() {
    let mut world = node_from_a_backup();
    world.set_power("k1", true);
    world.run_for(30_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    assert!(is_calm(&mut world, "k1", Concern::OldNode));
    let node = &world.nodes["k1"];
    assert!(node.taints.is_empty() && !node.unschedulable, "{node:?}");
}

#[test]
fn a_node_that_goes_with_its_machine_is_never_told() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(300_000);
    world.set_power("k1", true);
    world.run_for(60_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
    assert!(
        !world.reasons().contains(&"OldNode"),
        "{:?}",
        world.reasons()
    );
}
