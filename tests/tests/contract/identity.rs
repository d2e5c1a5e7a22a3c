//! Machines that are not what they were declared to be.

use anyhow::{Result, ensure};
use coordinator_crds::ConditionStatus;
use kube::api::{DeleteParams, PostParams};
use serde_json::{from_value, json};

use super::{
    floor::{on_paper, shared},
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
