//! Giving machines back before they have joined, and what may not be given back.

use anyhow::{Result, ensure};
use proto_autoscaler::ExternalGrpcNode;
use tests::{harness::wait, recorder::Wish};
use tonic::Code;

use super::floor::{Behind, LIMIT, group, on_paper, on_shelf, plan, refused, shared};

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
fn c25_minimum_protects_machines_that_have_joined_and_no_others() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c25", &["c25a"]);
        plan.spec["minSize"] = 1.into();
        stage.recorder.ask("c25a", Wish::On);
        let group = group(stage, plan, Behind::Hollow).await?;
        group.until_running(&["c25a"]).await?;
        refused(group.delete("c25a").await, Code::FailedPrecondition)?;
        ensure!(group.running().await? == ["c25a"]);
        group.agrees().await
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
        let fake = group
            .caller
            .fake_node(&group.creating().await?[0], "unregistered");
        group.caller.delete_nodes(group.name, vec![fake]).await?;
        group.agrees().await
    })
}

#[test]
fn c26_one_foreign_node_among_several_refuses_all_of_them() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c26", &["c26x", "c26y"]).await?;
        let other = on_paper(stage, "c26other", &["c26z"]).await?;
        group.increase(2).await?;
        other.increase(1).await?;
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
            let nodes = vec![group.caller.node("c26x"), foreign];
            let answer = group.caller.delete_nodes(group.name, nodes).await;
            refused(answer, Code::InvalidArgument)?;
            ensure!(group.creating().await? == ["c26x", "c26y"]);
        }
        ensure!((group.target().await?, other.target().await?) == (2, 1));
        Ok(())
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
