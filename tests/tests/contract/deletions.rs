//! Giving machines back before they have joined, and what may not be given back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coordinator_crds::{ConditionStatus, Group as GroupObject};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use proto_autoscaler::{ExternalGrpcNode, instance_status::InstanceState};
use serde_json::json;
use tests::{
    cluster_stage::Trail,
    harness::wait,
    hollow::{Faults, Power},
    recorder::{Record, Wish},
};
use tonic::Code;

use super::{
    failures::until_failed,
    floor::{
        Behind, Group, LIMIT, group, half_hollow, is_fenced, on_paper, on_shelf, packets, plan,
        refused, shared, state_of,
    },
    told::until_condition_of_machine,
};

/// What a relay sends for one order to wake.
const PACKETS_OF_ONE_WAKE: u32 = 3;

#[test]
fn c24_deleting_a_machine_that_is_being_created_takes_the_wish_back() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c24", &["c24a", "c24b"]).await?;
        group.increase(2).await?;
        let fake = group.caller.fake_node("c24a", "unregistered");
        group
            .caller
            .delete_nodes(group.name, vec![fake.clone()])
            .await?;
        ensure!(group.target().await? == 1);
        ensure!(group.creating().await? == ["c24b"]);
        group.caller.delete_nodes(group.name, vec![fake]).await?;
        ensure!(group.target().await? == 1);
        group.agrees().await
    })
}

#[test]
fn c24_no_packet_leaves_for_a_machine_that_was_deleted_while_it_booted_or_waited() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c24sent", &["c24d", "c24e", "c24f"]);
        // It waits for somebody who can wake it.
        let unreachable = json!({"wakeOnLAN": {"segment": "garage"}});
        plan.otherwise.insert("c24f", unreachable);
        let group = group(stage, plan, Behind::Nothing).await?;
        group.increase(3).await?;
        group.until_packets(&["c24d", "c24e"]).await?;
        let deleted = ["c24d", "c24f"].map(|name| group.caller.fake_node(name, "unregistered"));
        group
            .caller
            .delete_nodes(group.name, deleted.to_vec())
            .await?;
        ensure!(group.target().await? == 1 && group.creating().await? == ["c24e"]);
        let deleting = group.deleting().await?;
        ensure!(!deleting.contains(&"c24f".to_owned()), "{deleting:?}");
        // A relay could wake it from here on.
        let reachable = json!({"wakeOnLAN": {"segment": null}});
        group.edit_machine("c24f", reachable).await?;
        let again =
            |records: &[Record]| (packets(records, "c24e") > PACKETS_OF_ONE_WAKE).then_some(());
        let what = "a second wake for the one that is still wanted";
        stage.recorder.until(LIMIT, what, again).await?;
        // Theirs would have been due before.
        let records = stage.recorder.records();
        let left = ["c24d", "c24f"].map(|name| packets(&records, name));
        ensure!(left[0] <= PACKETS_OF_ONE_WAKE && left[1] == 0, "{left:?}");
        group.agrees().await
    })
}

#[test]
fn c24_machine_that_comes_up_although_it_was_deleted_is_stopped_and_leaves_no_node() -> Result<()> {
    shared(async |stage| {
        let group = on_shelf(stage, "c24late", &["c24h"]).await?;
        let slow = Faults {
            boots_slower_by: Duration::from_secs(10),
            ..Faults::default()
        };
        group.hollow["c24h"].set_faults(slow);
        stage.recorder.ask("c24h", Wish::On);
        group.increase(1).await?;
        group.hollow["c24h"].until(Power::Booting, LIMIT).await?;
        let fake = group.caller.fake_node("c24h", "unregistered");
        group.caller.delete_nodes(group.name, vec![fake]).await?;
        stage.recorder.ask("c24h", Wish::Off);
        ensure!(group.target().await? == 0 && group.creating().await?.is_empty());
        group.agrees().await?;
        group.hollow["c24h"].until(Power::Off, LIMIT).await?;
        stage.until_phase("c24h", "Sleeping").await?;
        stage.until_no_node("c24h").await?;
        wait::until(LIMIT, "it is off the list", async || {
            let left = group.instances().await?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        let moved = (stage.recorder.wakes("c24h"), stage.recorder.stops("c24h"));
        ensure!(moved == (1, 1), "{moved:?}");
        group.agrees().await
    })
}

/// Gives back a machine that a refusal has spared: before that nothing of a stop was on its Node, not even for a moment.
async fn fenced_only_by_what_is_allowed(
    group: &Group<'_>,
    nodes: &Trail<Node>,
    machine: &str,
) -> Result<()> {
    let stage = group.stage;
    let spared = stage.nodes().list(&ListParams::default()).await?.metadata;
    let spared = spared.resource_version.context("a list has a version")?;
    stage.recorder.ask(machine, Wish::Off);
    group.delete(machine).await?;
    let fenced = nodes.first(LIMIT, "a fence", |node| {
        let is_its = node.metadata.name.as_deref() == Some(machine);
        is_its && is_fenced(node)
    });
    let fenced = fenced.await?;
    ensure!(fenced > spared.parse()?, "{fenced}, spared at {spared}");
    Ok(())
}

#[test]
fn c25_minimum_protects_machines_that_have_joined_and_no_others() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c25", &["c25a"]);
        plan.spec["minSize"] = 1.into();
        stage.recorder.ask("c25a", Wish::On);
        let group = group(stage, plan, Behind::Hollow).await?;
        group.until_running(&["c25a"]).await?;
        let nodes = Trail::<Node>::follow(stage.nodes()).await?;
        refused(group.delete("c25a").await, Code::FailedPrecondition)?;
        group.is_open("c25a").await?;
        ensure!(group.running().await? == ["c25a"] && group.target().await? == 1);
        ensure!(stage.recorder.stops("c25a") == 0);
        group.agrees().await?;
        group.edit(json!({"minSize": 0})).await?;
        wait::until(LIMIT, "no minimum", async || {
            let row = group.row().await?;
            ensure!(row.min_size == 0, "{row:?}");
            Ok(())
        })
        .await?;
        fenced_only_by_what_is_allowed(&group, &nodes, "c25a").await
    })
}

#[test]
fn c25_machine_that_never_joined_may_go_at_the_minimum() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c25never", &["c25x", "c25y"]);
        plan.spec["minSize"] = 1.into();
        let group = group(stage, plan, Behind::Nothing).await?;
        wait::until(LIMIT, "the minimum is asked for", async || {
            let creating = group.creating().await?;
            ensure!(creating.len() == 1, "{creating:?}");
            Ok(())
        })
        .await?;
        let gone = group.creating().await?.swap_remove(0);
        // From here on it may come up, so it is not the next to be chosen.
        group.until_packets(&[&gone]).await?;
        let wishes = Trail::<GroupObject>::follow(stage.groups()).await?;
        let fake = group.caller.fake_node(&gone, "unregistered");
        group.caller.delete_nodes(group.name, vec![fake]).await?;
        let id = group.caller.provider_id(&gone);
        for instance in group.instances().await? {
            let is_leaving = state_of(&instance) == InstanceState::InstanceDeleting;
            ensure!(instance.id != id || is_leaving, "{instance:?}");
        }
        let lowered = |object: &GroupObject| {
            let wanted = object.status.as_ref().and_then(|it| it.wanted.as_ref());
            let is_it = object.metadata.name.as_deref() == Some(group.name);
            is_it && wanted.is_some_and(|wanted| wanted.machines.is_empty())
        };
        wishes.first(LIMIT, "a target below", lowered).await?;
        // The minimum is kept by the coordinator, with the other one.
        let other = if gone == "c25x" { "c25y" } else { "c25x" };
        wait::until(LIMIT, "another one in its place", async || {
            let creating = group.creating().await?;
            ensure!(creating == [other], "{creating:?}");
            Ok(())
        })
        .await?;
        ensure!(group.target().await? == 1);
        group.agrees().await
    })
}

#[test]
fn c25_machine_that_failed_to_boot_may_go_at_the_minimum() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c25failed", &["c25z"]);
        plan.spec["minSize"] = 1.into();
        let hopeless = json!({"timeouts": {"boot": "3s"}, "wakeOnLAN": {"segment": "garage"}});
        plan.otherwise.insert("c25z", hopeless);
        let group = group(stage, plan, Behind::Nothing).await?;
        let error = until_failed(&group, "c25z").await?;
        ensure!(error.error_code == "NO_RELAY", "{error:?}");
        let row = group.row().await?;
        ensure!(row.min_size == 1 && group.target().await? == 1, "{row:?}");
        let fake = group.caller.fake_node("c25z", "create-error");
        group.caller.delete_nodes(group.name, vec![fake]).await?;
        ensure!(group.target().await? == 0);
        let left = group.instances().await?;
        ensure!(left.is_empty(), "{left:?}");
        // The minimum does not bring it back at once.
        let left_out = ("Quarantined", ConditionStatus::True, "NoRelay");
        until_condition_of_machine(stage, "c25z", left_out).await?;
        ensure!(group.target().await? == 0);
        group.agrees().await
    })
}

#[test]
fn c26_one_foreign_node_among_several_refuses_all_of_them() -> Result<()> {
    shared(async |stage| {
        let machines = (&["c26c"][..], &["c26c", "c26x", "c26y"][..]);
        let group = half_hollow(stage, "c26", machines).await?;
        let other = on_paper(stage, "c26other", &["c26z"]).await?;
        stage.recorder.ask("c26c", Wish::On);
        group.increase(3).await?;
        other.increase(1).await?;
        group.until_running(&["c26c"]).await?;
        let nodes = Trail::<Node>::follow(stage.nodes()).await?;
        let stranger = ExternalGrpcNode {
            provider_id: "aws:///elsewhere/i-1".to_owned(),
            name: "ip-10-0-0-1".to_owned(),
            ..ExternalGrpcNode::default()
        };
        for foreign in [
            group.caller.node("c26z"),
            stranger,
            ExternalGrpcNode::default(),
        ] {
            let ours = ["c26c", "c26x"].map(|machine| group.caller.node(machine));
            let nodes = ours.into_iter().chain([foreign]).collect();
            let answer = group.caller.delete_nodes(group.name, nodes).await;
            refused(answer, Code::InvalidArgument)?;
            group.is_open("c26c").await?;
            ensure!(group.running().await? == ["c26c"]);
            ensure!(group.creating().await? == ["c26x", "c26y"]);
        }
        ensure!((group.target().await?, other.target().await?) == (3, 1));
        ensure!(stage.recorder.stops("c26c") == 0);
        group.agrees().await?;
        fenced_only_by_what_is_allowed(&group, &nodes, "c26c").await
    })
}

#[test]
fn c26_machine_of_the_group_that_is_off_already_is_deleted_without_effect() -> Result<()> {
    shared(async |stage| {
        let group = on_shelf(stage, "c26off", &["c26a", "c26b"]).await?;
        stage.recorder.ask("c26a", Wish::On);
        group.increase(1).await?;
        group.until_running(&["c26a"]).await?;
        group.delete("c26b").await?;
        ensure!(group.target().await? == 1);
        ensure!(group.running().await? == ["c26a"]);
        group.agrees().await
    })
}
