//! Machines that are not what they were declared to be.

use anyhow::{Context, Result, ensure};
use coordinator_crds::ConditionStatus;
use kube::api::{DeleteParams, PostParams};
use serde_json::{from_value, json};
use tests::{harness::wait, hollow::Power, recorder::Wish, stage::mac};
use tonic::Code;

use super::{
    floor::{Behind, LIMIT, group, on_paper, on_shelf, plan, refused, shared},
    told::{until_condition_of_machine, until_warned},
};

#[test]
fn c42_node_under_another_name_is_told_and_belongs_to_its_machine_once_that_is_declared()
-> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c42renamed", &["c42c"]).await?;
        group.increase(1).await?;
        let promised = group.caller.provider_id("c42c");
        let node = json!({"metadata": {"name": "c42-other"}, "spec": {"providerID": promised}});
        let params = PostParams::default();
        stage.nodes().create(&params, &from_value(node)?).await?;
        let kind = "NodeRenamed";
        let told = (kind, ConditionStatus::True, kind);
        let message = until_condition_of_machine(stage, "c42c", told).await?;
        ensure!(message.contains("nodeName: c42-other"), "{message}");
        ensure!(until_warned(stage, "c42c", kind).await? == message);

        // What the message offers helps.
        let declared = json!({"nodeName": "c42-other"});
        group.edit_machine("c42c", declared).await?;
        let mended = (kind, ConditionStatus::False, "Mended");
        until_condition_of_machine(stage, "c42c", mended).await?;
        ensure!(group.creating().await? == ["c42c"]);
        group.agrees().await?;
        let params = DeleteParams::default();
        stage.nodes().delete("c42-other", &params).await?;
        Ok(())
    })
}

#[test]
fn c42_machine_with_another_network_card_is_told_and_not_stopped_before_it_is_declared()
-> Result<()> {
    const DECLARED: &str = "02:00:5e:00:53:2a";
    shared(async |stage| {
        let mut plan = plan("c42card", &["c42d"]);
        plan.spec["requireProof"] = false.into();
        let other = json!({"wakeOnLAN": {"mac": DECLARED}});
        plan.otherwise.insert("c42d", other);
        let group = group(stage, plan, Behind::Hollow).await?;
        group.hollow["c42d"].press_button();
        group.until_running(&["c42d"]).await?;
        let (kind, card) = ("ForeignMAC", mac("c42d").to_string());
        let told = (kind, ConditionStatus::True, kind);
        let message = until_condition_of_machine(stage, "c42d", told).await?;
        ensure!(
            message.contains(DECLARED) && message.contains(&card),
            "{message}"
        );
        ensure!(until_warned(stage, "c42d", kind).await? == message);
        let refusal = group.delete("c42d").await.err().context("it is refused")?;
        ensure!(
            refusal.code() == Code::FailedPrecondition && refusal.message().contains(kind),
            "{refusal:?}"
        );
        ensure!(group.running().await? == ["c42d"] && group.target().await? == 1);
        group.is_open("c42d").await?;
        ensure!(group.hollow["c42d"].power() == Power::On);

        // What the message offers helps.
        let declared = json!({"wakeOnLAN": {"mac": card}});
        group.edit_machine("c42d", declared).await?;
        let mended = (kind, ConditionStatus::False, "Mended");
        until_condition_of_machine(stage, "c42d", mended).await?;
        stage.recorder.ask("c42d", Wish::Off);
        group.delete("c42d").await?;
        group.hollow["c42d"].until(Power::Off, LIMIT).await?;
        ensure!(group.target().await? == 0 && stage.recorder.stops("c42d") == 1);
        group.agrees().await
    })
}

#[test]
fn c42_node_that_somebody_makes_for_a_sleeping_machine_is_told_and_keeps_it_asleep_until_it_is_gone()
-> Result<()> {
    shared(async |stage| {
        let group = on_shelf(stage, "c42old", &["c42e", "c42f"]).await?;
        stage.recorder.ask("c42e", Wish::On);
        group.increase(1).await?;
        group.until_running(&["c42e"]).await?;
        stage.recorder.ask("c42e", Wish::Off);
        group.delete("c42e").await?;
        stage.until_phase("c42e", "Sleeping").await?;
        stage.until_no_node("c42e").await?;

        let node = from_value(json!({"metadata": {"name": "c42e"}}))?;
        let made = stage.nodes().create(&PostParams::default(), &node).await?;
        let kind = "OldNode";
        let told = (kind, ConditionStatus::True, kind);
        let message = until_condition_of_machine(stage, "c42e", told).await?;
        ensure!(message.contains("kubectl delete node c42e"), "{message}");
        ensure!(until_warned(stage, "c42e", kind).await? == message);
        // The group does without it, although it has been off for longest.
        let row = group.row().await?;
        ensure!(row.max_size == 1, "{row:?}");
        group.caller.refresh().await?;
        refused(group.increase(2).await, Code::ResourceExhausted)?;
        stage.recorder.ask("c42f", Wish::On);
        group.increase(1).await?;
        ensure!(group.creating().await? == ["c42f"]);
        group.until_running(&["c42f"]).await?;
        ensure!(stage.recorder.wakes("c42e") == 1);
        let left = stage.nodes().get("c42e").await?;
        ensure!(left.metadata.uid == made.metadata.uid, "{left:?}");

        // What the message says helps.
        let params = DeleteParams::default();
        stage.nodes().delete("c42e", &params).await?;
        let mended = (kind, ConditionStatus::False, "Mended");
        until_condition_of_machine(stage, "c42e", mended).await?;
        wait::until(LIMIT, "room for it", async || {
            let row = group.row().await?;
            ensure!(row.max_size == 2, "{row:?}");
            Ok(())
        })
        .await?;
        stage.recorder.ask("c42e", Wish::On);
        group.caller.refresh().await?;
        group.increase(1).await?;
        group.until_running(group.machines).await?;
        ensure!(stage.recorder.wakes("c42e") == 2);
        group.agrees().await
    })
}
