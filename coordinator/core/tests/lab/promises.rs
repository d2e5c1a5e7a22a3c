//! What a group promises of machines that do not run: the least of what was learned, declared or usual.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator_core::{
    AgentInfo, Answer, Concern, Declared, Fact, GroupSpec, Learned, MachineId, MachineRecord,
    NodeSeen, Taint, Template,
};

use crate::declare::{agent_info, delete, group, group_id, group_spec, increase, kubelet};
use crate::steps::running;
use crate::world::World;

type Words = [(&'static str, &'static str)];

fn words(pairs: &Words) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn taint(key: &str) -> Taint {
    Taint {
        key: key.into(),
        value: String::new(),
        effect: "NoSchedule".into(),
    }
}

fn declaring(capacity: &Words) -> Fact {
    Fact::GroupApplied(GroupSpec {
        declared: Declared {
            capacity: words(capacity),
            taints: vec![taint("declared")],
            ..Declared::default()
        },
        ..group_spec()
    })
}

/// What a machine has brought once: the same as capacity and as allocatable.
fn brought(resources: &Words, labels: &Words, taints: &[&str]) -> MachineRecord {
    MachineRecord {
        learned: Some(Box::new(Learned {
            capacity: words(resources).into(),
            allocatable: words(resources).into(),
            labels: words(labels).into(),
            taints: taints.iter().map(|key| taint(key)).collect(),
            at_ms: 17,
        })),
        ..MachineRecord::default()
    }
}

/// A lab whose machines have brought this; those without a record have never joined.
fn lab(group: Fact, machines: &[(&str, Option<MachineRecord>)]) -> World {
    let nodes = machines.iter().map(|(name, _)| kubelet(name));
    let mut world = World::new(std::iter::once(group).chain(nodes).collect());
    for (name, record) in machines {
        if let Some(record) = record {
            let id = MachineId::new(name);
            world.store_machines.insert(id, record.clone());
        }
    }
    world.restart();
    world
}

fn template(world: &mut World) -> Option<Template> {
    let now = world.now();
    world.lab.view(now).groups[&group_id()].template.clone()
}

fn heterogeneous(world: &mut World) -> Option<String> {
    let now = world.now();
    let view = world.lab.view(now);
    view.groups[&group_id()]
        .concerns
        .get(&Concern::Heterogeneous)
        .cloned()
}

#[test]
fn a_template_that_is_only_declared_has_what_every_kubelet_brings() {
    let mut world = lab(
        declaring(&[("cpu", "4"), ("memory", "8Gi")]),
        &[("k1", None)],
    );
    let template = template(&mut world).expect("declared");
    for resources in [&template.capacity, &template.allocatable] {
        let usual = [
            ("cpu", "4"),
            ("memory", "8Gi"),
            ("pods", "110"),
            ("ephemeral-storage", "10Gi"),
        ];
        assert_eq!(*resources, words(&usual));
    }
    let labels = [
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("homelab-autoscaler.dev/group", "workers"),
    ];
    assert_eq!(template.labels, words(&labels));
    assert_eq!(template.taints, [taint("declared")]);
    assert!(template.declared && template.learned_from.is_empty());
}

#[test]
fn an_agent_tells_the_architecture_before_its_machine_has_joined() {
    let mut world = lab(
        declaring(&[("cpu", "4"), ("memory", "8Gi")]),
        &[("k1", None)],
    );
    world.tell(Fact::AgentInfo(
        AgentInfo {
            arch: Some("arm64".into()),
            ..agent_info("k1")
        }
        .into(),
    ));
    let template = template(&mut world).expect("declared");
    assert_eq!(template.labels["kubernetes.io/arch"], "arm64");
}

#[test]
fn where_architectures_differ_none_is_promised() {
    let arch = |arch| {
        brought(
            &[("cpu", "4"), ("memory", "8Gi")],
            &[("kubernetes.io/arch", arch)],
            &[],
        )
    };
    let mut world = lab(
        group(),
        &[("k1", Some(arch("amd64"))), ("k2", Some(arch("arm64")))],
    );
    let template = template(&mut world).expect("learned");
    assert!(!template.labels.contains_key("kubernetes.io/arch"));
    assert_eq!(template.labels["kubernetes.io/os"], "linux");
}

#[test]
fn nobody_knows_what_machines_bring_that_neither_joined_nor_are_declared() {
    assert_eq!(template(&mut lab(group(), &[("k1", None)])), None);
    let half = declaring(&[("cpu", "4")]);
    assert_eq!(template(&mut lab(half, &[("k1", None)])), None);
}

#[test]
fn the_least_of_each_resource_is_promised_and_the_taints_of_any() {
    let small = brought(&[("cpu", "4"), ("memory", "16Gi")], &[], &["slow"]);
    let large = brought(
        &[("cpu", "8"), ("memory", "15900Mi"), ("nvidia.com/gpu", "1")],
        &[],
        &["gpu"],
    );
    let mut world = lab(group(), &[("k1", Some(small)), ("k2", Some(large))]);
    let template = template(&mut world).expect("learned");
    assert_eq!(template.allocatable["cpu"], "4");
    assert_eq!(template.allocatable["memory"], "15900Mi");
    assert!(
        !template.allocatable.contains_key("nvidia.com/gpu"),
        "the other one has none"
    );
    assert_eq!(template.taints, [taint("slow"), taint("gpu")]);
    assert_eq!(template.learned_from, ["k1", "k2"].map(MachineId::new));
    assert_eq!(template.learned_at_ms, Some(17));
}

#[test]
fn a_machine_that_never_joined_lowers_the_promise_to_what_is_declared() {
    let known = brought(&[("cpu", "16"), ("memory", "64Gi")], &[], &[]);
    let group = declaring(&[("cpu", "4"), ("example.com/dongle", "1")]);
    let mut world = lab(group.clone(), &[("k1", Some(known.clone())), ("k2", None)]);
    let with_stranger = template(&mut world).expect("known in part");
    assert_eq!(with_stranger.allocatable["cpu"], "4");
    assert_eq!(
        with_stranger.allocatable["memory"], "64Gi",
        "like the others"
    );
    let mut world = lab(group, &[("k1", Some(known))]);
    let learned = template(&mut world).expect("learned");
    assert_eq!(learned.allocatable["cpu"], "16");
    assert_eq!(
        learned.allocatable["example.com/dongle"], "1",
        "nobody has learned it"
    );
}

#[test]
fn machines_that_differ_much_are_named_with_what_they_differ_in() {
    let small = brought(
        &[("cpu", "4"), ("memory", "16Gi"), ("pods", "110")],
        &[],
        &[],
    );
    let large = brought(
        &[
            ("cpu", "16"),
            ("memory", "17Gi"),
            ("pods", "110"),
            ("nvidia.com/gpu", "1"),
        ],
        &[],
        &[],
    );
    let mut world = lab(group(), &[("k1", Some(small.clone())), ("k2", Some(large))]);
    let message = heterogeneous(&mut world).expect("they differ");
    assert!(
        message.contains("cpu from 4 on k1 to 16 on k2"),
        "{message}"
    );
    assert!(message.contains("nvidia.com/gpu only on k2"), "{message}");
    assert!(
        !message.contains("memory") && !message.contains("pods"),
        "{message}"
    );
    let told = || world.events.iter().filter(|e| e.reason == "Heterogeneous");
    assert_eq!(told().count(), 1, "once, however often it is looked at");
    let mut alike = lab(group(), &[("k1", Some(small.clone())), ("k2", Some(small))]);
    assert_eq!(heterogeneous(&mut alike), None);
}

#[test]
fn zones_hugepages_and_gpus_are_promised_as_far_as_all_machines_share_them() {
    let zone = "topology.kubernetes.io/zone";
    let with = |hugepages, gpus, zone_name| {
        let resources = [
            ("cpu", "4"),
            ("memory", "16Gi"),
            ("hugepages-2Mi", hugepages),
            ("nvidia.com/gpu", gpus),
        ];
        brought(&resources, &[(zone, zone_name), ("disk", "ssd")], &[])
    };
    let cellar = with("1Gi", "2", "cellar");
    let mut world = lab(
        group(),
        &[
            ("k1", Some(cellar.clone())),
            ("k2", Some(with("512Mi", "1", "cellar"))),
        ],
    );
    let together = template(&mut world).expect("learned");
    for resources in [&together.capacity, &together.allocatable] {
        assert_eq!(resources["hugepages-2Mi"], "512Mi");
        assert_eq!(resources["nvidia.com/gpu"], "1");
    }
    assert_eq!(together.labels[zone], "cellar");
    let attic = with("1Gi", "2", "attic");
    let mut world = lab(group(), &[("k1", Some(cellar)), ("k2", Some(attic))]);
    let apart = template(&mut world).expect("learned");
    assert!(!apart.labels.contains_key(zone), "{:?}", apart.labels);
    assert_eq!(apart.labels["disk"], "ssd");
}

#[test]
fn what_a_node_carries_for_good_is_promised_and_what_passes_is_not() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    let mut node = world.nodes["k1"].clone();
    let zone = ("topology.kubernetes.io/zone", "cellar");
    Arc::make_mut(&mut node.labels).extend(words(&[zone]));
    Arc::make_mut(&mut node.capacity).insert("hugepages-2Mi".into(), "1Gi".into());
    let keys = ["dedicated", "node.kubernetes.io/memory-pressure"];
    node.taints = keys.map(taint).to_vec();
    see(&mut world, node);
    let promised = template(&mut world).expect("learned");
    assert_eq!(promised.labels[zone.0], zone.1);
    assert_eq!(promised.capacity["hugepages-2Mi"], "1Gi");
    assert_eq!(promised.taints, [taint("dedicated")]);
}

#[test]
fn a_label_alone_that_a_node_gets_or_loses_is_learned_too() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    let before = world.nodes["k1"].clone();
    let mut labelled = before.clone();
    Arc::make_mut(&mut labelled.labels).extend(words(&[("disk", "ssd")]));
    see(&mut world, labelled);
    let promised = template(&mut world).expect("learned");
    assert_eq!(promised.labels.get("disk").map(String::as_str), Some("ssd"));
    see(&mut world, before);
    let promised = template(&mut world).expect("learned");
    assert_eq!(promised.labels.get("disk"), None);
}

/// The Node of `k1` is like this from now on.
fn see(world: &mut World, node: NodeSeen) {
    world.nodes.insert("k1".into(), node.clone());
    world.tell(Fact::NodeSeen(node));
    world.run_for(1_000);
}

fn drift(world: &mut World) -> Option<String> {
    let now = world.now();
    let view = world.lab.view(now);
    view.groups[&group_id()]
        .concerns
        .get(&Concern::TemplateDrift)
        .cloned()
}

#[test]
fn a_machine_that_comes_with_less_than_was_declared_is_told_and_the_promise_follows() {
    let declared = declaring(&[("cpu", "8"), ("memory", "7Gi"), ("nvidia.com/gpu", "1")]);
    let mut world = World::new(vec![declared, kubelet("k1")]);
    assert_eq!(drift(&mut world), None, "nothing has come yet");
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(120_000);
    let message = drift(&mut world).expect("less came");
    assert!(
        message.contains("k1 has cpu 3900m instead of 8"),
        "{message}"
    );
    for silent in ["memory", "nvidia", "110"] {
        assert!(!message.contains(silent), "{silent}: {message}");
    }
    assert_eq!(
        template(&mut world).expect("learned").allocatable["cpu"],
        "3900m"
    );
    let told = || world.events.iter().filter(|e| e.reason == "TemplateDrift");
    assert_eq!(told().count(), 1);
}

#[test]
fn a_machine_that_comes_back_with_less_is_told_until_it_comes_as_promised() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    assert_eq!(drift(&mut world), None, "nothing was promised");
    come_back(&mut world, "7150Mi");
    assert_eq!(drift(&mut world), None, "a kernel's whim");
    come_back(&mut world, "3Gi");
    let message = drift(&mut world).expect("a module is gone");
    assert!(
        message.contains("k1 has memory 3Gi instead of 7150Mi"),
        "{message}"
    );
    come_back(&mut world, "3Gi");
    assert_eq!(drift(&mut world), None, "that much was promised");
}

/// `k1` goes down and comes up with so much memory.
fn come_back(world: &mut World, memory: &str) {
    let node = world.nodes["k1"].clone();
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(120_000);
    assert!(!world.nodes.contains_key("k1"), "its Node went with it");
    let mut fresh = node;
    fresh.uid = format!("{}+", fresh.uid);
    fresh.taints.clear();
    fresh.unschedulable = false;
    Arc::make_mut(&mut fresh.allocatable).insert("memory".into(), memory.into());
    world.nodes.insert("k1".into(), fresh);
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(120_000);
    assert!(world.sims["k1"].on);
}
