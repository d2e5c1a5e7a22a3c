//! Stops: ordered, fenced, free of pods, proven.

use std::sync::Arc;

use coordinator_core::{
    Answer, Fact, ForceOff, GroupSpec, HeldNode, InstanceState, MachineId, MachineSpec,
    NodeObjectPolicy, PhaseName, PodStanding, PowerState, RejectedKind, Timeouts,
};

use crate::declare::{
    bmc, decrease, delete, group, group_id, group_spec, increase, kubelet, lab, pod,
};
use crate::steps::{phase, running};
use crate::world::{Store, World};

#[test]
fn delete_drops_the_target_at_once_and_lists_the_machine_as_deleting_until_it_is_off() {
    let mut world = running(lab(2), 2);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    let now = world.now();
    let group = world.lab.view(now).groups[&group_id()].clone();
    assert_eq!(group.target, 1);
    let state = |name: &str| {
        group
            .instances
            .iter()
            .find(|i| i.machine.as_str() == name)
            .map(|i| i.state.clone())
    };
    assert_eq!(state("m1"), Some(InstanceState::Deleting));
    world.run_for(10_000);
    assert!(!world.sims["m1"].on);
    assert_eq!(
        phase(&mut world, "m1"),
        PhaseName::Stopping,
        "silence is not off before its hold time"
    );
    world.run_for(70_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Off);
    let record = &world.store_machines[&MachineId::new("m1")];
    assert!(
        record.order.is_none() && record.power.inferred() && record.power.state == PowerState::Off
    );
    assert_eq!(world.stops("m1"), 1);
    assert!(world.sims["m2"].on);
}

#[test]
fn the_same_delete_again_changes_nothing() {
    let mut world = running(lab(2), 2);
    for _ in 0..3 {
        assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    }
    world.run_for(120_000);
    world.restart();
    assert_eq!(
        world.call(delete(&["m1"])),
        Answer::Done,
        "after off and a restart"
    );
    world.run_for(60_000);
    assert_eq!(world.stops("m1"), 1);
    assert_eq!(
        world.store_groups[&group_id()].wanted,
        [MachineId::new("m2")]
    );
}

#[test]
fn ten_deletes_at_once_count_once_each() {
    let mut world = running(lab(10), 10);
    let names: Vec<String> = (1..=10).map(|i| format!("m{i}")).collect();
    let tickets: Vec<u64> = names
        .iter()
        .map(|name| world.ask(delete(&[name])))
        .collect();
    world.run_for(1_000);
    assert!(tickets.iter().all(|t| world.answers[t].1 == Answer::Done));
    assert!(world.store_groups[&group_id()].wanted.is_empty());
    world.run_for(200_000);
    assert!(names.iter().all(|name| world.stops(name) == 1));
}

#[test]
fn one_foreign_node_among_several_stops_none() {
    let mut world = running(lab(2), 2);
    let answer = world.call(delete(&["m1", "stranger"]));
    assert!(matches!(answer, Answer::Rejected(r) if r.kind == RejectedKind::InvalidArgument));
    world.run_for(120_000);
    assert!(world.stopped().is_empty());
}

#[test]
fn pods_that_do_not_belong_there_hold_the_stop_up() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    let late = pod("late", PodStanding::Controlled);
    world.pods.insert("k1".into(), vec![late]);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(60_000);
    assert!(world.stopped().is_empty());
    assert!(world.reasons().contains(&"PodsStillRunning"));
    assert!(world.evictions.is_empty(), "the autoscaler has drained it");
    world.pods.clear();
    world.run_for(30_000);
    assert_eq!(world.stops("k1"), 1);
    world.run_for(120_000);
    assert!(
        !world.nodes.contains_key("k1"),
        "the Node goes once off is confirmed"
    );
    assert_eq!(phase(&mut world, "k1"), PhaseName::Off);
}

#[test]
fn a_node_is_fenced_before_the_answer_and_kept_until_off_is_confirmed() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    assert!(world.nodes["k1"].unschedulable);
    assert!(
        world.nodes["k1"]
            .taints
            .iter()
            .any(|t| t.key == "homelab-autoscaler.dev/power-off")
    );
    world.run_for(20_000);
    assert!(!world.sims["k1"].on && world.nodes.contains_key("k1"));
}

#[test]
fn what_people_put_on_a_node_comes_back_with_the_machine() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    let node = world.nodes.get_mut("k1").expect("node");
    Arc::make_mut(&mut node.labels).insert("disk".into(), "ssd".into());
    let node = node.clone();
    world.tell(Fact::NodeSeen(node));
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(200_000);
    assert!(!world.nodes.contains_key("k1"));
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(120_000);
    let node = &world.nodes["k1"];
    assert_eq!(node.labels["disk"], "ssd");
    assert!(!node.unschedulable && node.taints.is_empty());
}

#[test]
fn a_failed_commit_takes_the_fence_back() {
    let mut world = running(vec![group(), kubelet("k1")], 1);
    world.ask(delete(&["k1"]));
    world.run_for(2);
    world.store = Store::Down;
    world.run_for(8_000);
    world.store = Store::Up;
    world.run_for(30_000);
    assert!(!world.nodes["k1"].unschedulable && world.nodes["k1"].taints.is_empty());
    assert!(world.stopped().is_empty() && world.sims["k1"].on);
}

#[test]
fn a_machine_that_is_still_booting_is_stopped_when_it_appears() {
    let mut world = World::new(lab(1));
    assert_eq!(world.call(increase(1, 0)), Answer::Done);
    world.run_for(5_000);
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(40_000);
    assert_eq!(
        world.stops("m1"),
        1,
        "the packet had left: it came up and was stopped"
    );
    world.run_for(120_000);
    assert_eq!(phase(&mut world, "m1"), PhaseName::Off);
    let now = world.now();
    assert!(world.lab.view(now).groups[&group_id()].instances.is_empty());
}

#[test]
fn a_bmc_confirms_off_without_waiting_for_the_hold_time() {
    let mut world = running(vec![group(), Fact::MachineApplied(bmc("r1"))], 1);
    assert_eq!(world.call(delete(&["r1"])), Answer::Done);
    world.run_for(25_000);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Off);
    let record = &world.store_machines[&MachineId::new("r1")];
    assert!(!record.power.inferred());
}

#[test]
fn power_is_cut_only_where_that_is_allowed() {
    for (force_off, cuts) in [(ForceOff::Never, false), (ForceOff::AfterTimeout, true)] {
        let timeouts = Timeouts {
            boot_ms: 600_000,
            stop_ms: 60_000,
            drain_ms: 600_000,
            off_hold_ms: 60_000,
        };
        let spec = MachineSpec {
            force_off,
            timeouts,
            ..bmc("r1")
        };
        let mut world = running(vec![group(), Fact::MachineApplied(spec)], 1);
        world.sims.get_mut("r1").expect("r1").ignores_stop = true;
        assert_eq!(world.call(delete(&["r1"])), Answer::Done);
        world.run_for(120_000);
        assert_eq!(world.sims["r1"].on, !cuts, "{force_off:?}");
        assert!(world.reasons().contains(&"StopTimedOut"));
        let now = world.now();
        let listed = world.lab.view(now).groups[&group_id()].instances.len();
        assert_eq!(
            listed,
            usize::from(!cuts),
            "deleting until off is confirmed"
        );
    }
}

#[test]
fn a_lost_report_is_made_up_for_by_the_same_command_not_a_second_stop() {
    let mut world = running(lab(1), 1);
    world.drop_reports = true;
    assert_eq!(world.call(delete(&["m1"])), Answer::Done);
    world.run_for(3_000);
    world.drop_reports = false;
    world.run_for(200_000);
    assert_eq!(world.stops("m1"), 1);
}

#[test]
fn a_retained_node_is_suspended_until_its_kubelet_is_back() {
    let retain = GroupSpec {
        node_object_policy: NodeObjectPolicy::Retain,
        ..group_spec()
    };
    let mut world = running(vec![Fact::GroupApplied(retain), kubelet("k1")], 1);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(200_000);
    assert!(world.nodes["k1"].suspended && world.nodes["k1"].unschedulable);
    let now = world.now();
    assert!(world.lab.view(now).held_nodes["k1"] == HeldNode::Away);
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(10_000);
    assert!(world.nodes["k1"].suspended, "still booting");
    let now = world.now();
    let view = world.lab.view(now);
    assert!(view.held_nodes["k1"] == HeldNode::Away);
    assert_eq!(view.by_provider_id["homelab://default/k1"], group_id());
    world.run_for(100_000);
    let node = &world.nodes["k1"];
    assert!(!node.suspended && !node.unschedulable && node.taints.is_empty());
    let now = world.now();
    let view = world.lab.view(now);
    assert!(matches!(view.held_nodes["k1"], HeldNode::BackSince(_)));
    assert_eq!(view.by_node_name["k1"], group_id());
}

fn retained(name: &str) -> Vec<Fact> {
    let retain = GroupSpec {
        node_object_policy: NodeObjectPolicy::Retain,
        ..group_spec()
    };
    vec![Fact::GroupApplied(retain), kubelet(name)]
}

#[test]
fn a_running_machine_whose_node_still_says_suspended_is_resumed() {
    let mut world = running(retained("k1"), 1);
    // What was kept for it is done with, and the mark shows up late.
    let node = world.nodes.get_mut("k1").expect("node");
    node.suspended = true;
    let node = node.clone();
    world.tell(Fact::NodeSeen(node));
    let now = world.now();
    assert_eq!(world.lab.view(now).held_nodes["k1"], HeldNode::Away);
    world.run_for(30_000);
    assert!(!world.nodes["k1"].suspended);
    let now = world.now();
    let view = world.lab.view(now);
    assert!(matches!(view.held_nodes["k1"], HeldNode::BackSince(_)));
    assert_eq!(phase(&mut world, "k1"), PhaseName::Running);
}

#[test]
fn a_kept_node_is_nobodys_while_its_machine_may_still_come_to_be_stopped() {
    let mut world = running(retained("k1"), 1);
    assert_eq!(world.call(delete(&["k1"])), Answer::Done);
    world.run_for(200_000);
    let looked = world.store_groups[&group_id()].sequence;
    assert_eq!(world.call(increase(1, looked)), Answer::Done);
    world.run_for(1_000);
    assert_eq!(world.call(decrease(-1)), Answer::Done);
    world.run_for(1_000);
    assert_eq!(phase(&mut world, "k1"), PhaseName::Stopping);
    let now = world.now();
    assert!(world.lab.view(now).held_nodes["k1"] == HeldNode::Away);
}
