//! Volumes that exist on one machine alone: its Node says so to the cluster-autoscaler while that is so.

use std::sync::Arc;

use coordinator_core::{
    Answer, Concern, Fact, GroupSpec, HOSTNAME_LABEL, LocalVolumePolicy, LocalVolumes, MachineId,
    Mode, NodeObjectPolicy, PhaseName, SCALE_DOWN_DISABLED, SCALE_DOWN_DISABLED_BY, Severity,
};

use crate::declare::{delete, group, group_id, group_spec, increase, kubelet};
use crate::steps::{phase, running};
use crate::world::World;

const CLAIM: &str = "default/data-db-0";

fn volumes(hosts: &[&str]) -> Fact {
    let held = hosts
        .iter()
        .map(|host| ((*host).to_owned(), vec![CLAIM.to_owned()]));
    Fact::LocalVolumes(Arc::new(held.collect::<LocalVolumes>()))
}

fn see(world: &mut World, hosts: &[&str]) {
    world.tell(volumes(hosts));
    world.run_for(10_000);
}

/// What a Node says to the cluster-autoscaler, and why.
fn mark<'a>(world: &'a World, name: &str) -> Option<(&'a str, Option<&'a str>)> {
    let annotations = &world.nodes[name].annotations;
    let mark = annotations.get(SCALE_DOWN_DISABLED)?;
    let by = annotations.get(SCALE_DOWN_DISABLED_BY);
    Some((mark.as_str(), by.map(String::as_str)))
}

const OURS: Option<(&str, Option<&str>)> = Some(("true", Some("LocalVolume")));

fn told(world: &mut World, name: &str) -> Option<String> {
    let now = world.now();
    let view = world.lab.view(now);
    let concerns = &view.machines[&MachineId::new(name)].concerns;
    concerns.get(&Concern::LocalVolume).cloned()
}

#[test]
fn a_node_with_a_local_volume_is_marked_while_it_has_one_and_says_why() {
    let mut world = running(vec![group(), kubelet("k1"), kubelet("k2")], 2);
    assert_eq!(mark(&world, "k1"), None);
    see(&mut world, &["k1"]);
    assert_eq!((mark(&world, "k1"), mark(&world, "k2")), (OURS, None));
    let sentence = told(&mut world, "k1").expect("a condition");
    assert!(sentence.contains(CLAIM), "{sentence}");
    assert_eq!(told(&mut world, "k2"), None);
    let events = world.events.iter();
    let event: Vec<_> = events.filter(|e| e.reason == "LocalVolume").collect();
    assert_eq!(event.len(), 1);
    assert_eq!(event[0].severity, Severity::Normal, "nothing is wrong");
    see(&mut world, &[]);
    assert_eq!(mark(&world, "k1"), None);
    assert_eq!(told(&mut world, "k1"), None);
}

#[test]
fn a_mark_of_a_person_is_neither_changed_nor_taken_away() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    let node = world.nodes.get_mut("k1").expect("its Node");
    let persons = (SCALE_DOWN_DISABLED.to_owned(), "true".to_owned());
    node.annotations.extend([persons]);
    let node = node.clone();
    world.tell(Fact::NodeSeen(node));
    see(&mut world, &["k1"]);
    assert_eq!(mark(&world, "k1"), Some(("true", None)));
    see(&mut world, &[]);
    assert_eq!(mark(&world, "k1"), Some(("true", None)));
}

#[test]
fn the_host_name_label_says_which_node_is_meant() {
    let mut world = running(vec![group(), kubelet("k1"), kubelet("k2")], 2);
    for (name, host) in [("k1", "host-1"), ("k2", "k1")] {
        let node = world.nodes.get_mut(name).expect("its Node");
        let label = (HOSTNAME_LABEL.to_owned(), host.to_owned());
        Arc::make_mut(&mut node.labels).extend([label]);
        let node = node.clone();
        world.tell(Fact::NodeSeen(node));
    }
    see(&mut world, &["host-1"]);
    assert_eq!((mark(&world, "k1"), mark(&world, "k2")), (OURS, None));
}

#[test]
fn a_group_may_ignore_local_volumes_and_one_that_a_person_sizes_has_nobody_to_tell() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    see(&mut world, &["k1"]);
    assert_eq!(mark(&world, "k1"), OURS);
    world.redeclare(Fact::GroupApplied(GroupSpec {
        local_volume_policy: LocalVolumePolicy::Ignore,
        ..group_spec()
    }));
    world.run_for(10_000);
    assert_eq!(mark(&world, "k1"), None);
    assert_eq!(told(&mut world, "k1"), None);
    world.redeclare(group());
    world.run_for(10_000);
    assert_eq!(mark(&world, "k1"), OURS);
    world.redeclare(Fact::GroupApplied(GroupSpec {
        mode: Mode::Manual { target: 1 },
        ..group_spec()
    }));
    world.run_for(10_000);
    assert_eq!(mark(&world, "k1"), None);
}

#[test]
fn the_mark_stands_again_after_a_sleep_whatever_becomes_of_the_node_object() {
    for policy in [NodeObjectPolicy::Delete, NodeObjectPolicy::Retain] {
        let spec = GroupSpec {
            node_object_policy: policy,
            ..group_spec()
        };
        let mut world = running(vec![Fact::GroupApplied(spec), kubelet("k1")], 1);
        see(&mut world, &["k1"]);
        // Whoever does not look at the mark may still give it back.
        assert_eq!(world.call(delete(&["k1"])), Answer::Done);
        world.run_for(200_000);
        assert_eq!(phase(&mut world, "k1"), PhaseName::Off);
        assert!(told(&mut world, "k1").is_some(), "{policy:?}: it waits");
        let looked = world.store_groups[&group_id()].sequence;
        assert_eq!(world.call(increase(1, looked)), Answer::Done);
        world.run_for(120_000);
        assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
        assert_eq!(mark(&world, "k1"), OURS, "{policy:?}");
        see(&mut world, &[]);
        assert_eq!(mark(&world, "k1"), None, "{policy:?}");
    }
}

#[test]
fn after_a_restart_a_mark_stays_until_somebody_has_looked() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    see(&mut world, &["k1"]);
    world.restart();
    world.run_for(60_000);
    assert_eq!(mark(&world, "k1"), OURS, "nobody has looked");
    see(&mut world, &[]);
    assert_eq!(mark(&world, "k1"), None);
}

#[test]
fn a_group_that_ignores_local_volumes_needs_nobody_to_look() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    see(&mut world, &["k1"]);
    world.restart();
    world.redeclare(Fact::GroupApplied(GroupSpec {
        local_volume_policy: LocalVolumePolicy::Ignore,
        ..group_spec()
    }));
    world.run_for(60_000);
    assert_eq!(mark(&world, "k1"), None);
}
