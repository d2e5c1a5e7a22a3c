//! What the autoscaler plans with: templates of machines that are off, and options.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use coordinator_crds::ConditionStatus;
use prost::Message as _;
use proto_autoscaler::{NodeGroupAutoscalingOptions, NodeGroupAutoscalingOptionsRequest, core_v1};
use serde_json::json;
use tests::recorder::Wish;
use tonic::Code;

use super::{
    floor::{Behind, Group, group, plan, refused, shared},
    returns::GROUP_LABEL,
    told::{until_condition_of_group, until_warned},
};

#[test]
fn c36_template_of_sleeping_machines_is_a_whole_node_that_is_ready() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c36", &["c36a"]);
        plan.spec = json!({"template": {
            "capacity": {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "50Gi"},
            "labels": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "rack": "left"},
            "taints": [{"key": "dedicated", "value": "batch", "effect": "NoSchedule"}],
        }});
        let group = group(stage, plan, Behind::Nothing).await?;
        let node = core_v1::Node::decode(group.caller.template(group.name).await?.as_slice())?;
        let metadata = node.metadata.context("metadata")?;
        for (label, value) in [
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            ("rack", "left"),
            (GROUP_LABEL, "c36"),
        ] {
            let carried = metadata.labels.get(label).map(String::as_str);
            ensure!(carried == Some(value), "{label}: {carried:?}");
        }
        let spec = node.spec.unwrap_or_default();
        ensure!(
            spec.provider_id.is_empty() && !spec.unschedulable,
            "{spec:?}"
        );
        let taints: Vec<&str> = spec.taints.iter().map(|taint| taint.key.as_str()).collect();
        ensure!(taints == ["dedicated"], "{taints:?}");
        let status = node.status.context("status")?;
        for resource in ["cpu", "memory", "pods", "ephemeral-storage"] {
            let has = |amounts: &BTreeMap<String, core_v1::Quantity>| {
                amounts
                    .get(resource)
                    .is_some_and(|amount| !amount.string.is_empty())
            };
            ensure!(
                has(&status.capacity) && has(&status.allocatable),
                "{resource}"
            );
        }
        let ready = status.conditions.iter().find(|one| one.r#type == "Ready");
        ensure!(ready.is_some_and(|one| one.status == "True"), "{ready:?}");
        Ok(())
    })
}

#[test]
fn c37_template_of_unknown_machines_is_unimplemented() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c37", &["c37a"]);
        plan.spec = json!({});
        let group = group(stage, plan, Behind::Nothing).await?;
        refused(group.caller.template(group.name).await, Code::Unimplemented)
    })
}

#[test]
fn c38_template_that_promised_more_than_came_is_told_and_follows_what_came() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c38", &["c38a"]);
        plan.spec = json!({"template": {"capacity": {"cpu": "8", "memory": "8Gi"}}});
        let group = group(stage, plan, Behind::Hollow).await?;
        let promised = async |resource: &str| {
            let node = core_v1::Node::decode(group.caller.template(group.name).await?.as_slice())?;
            let status = node.status.context("status")?;
            let of = |amounts: &BTreeMap<String, core_v1::Quantity>| {
                let amount = amounts.get(resource).cloned().unwrap_or_default();
                amount.string
            };
            anyhow::Ok((of(&status.capacity), of(&status.allocatable)))
        };
        let both = |amount: &str| (amount.to_owned(), amount.to_owned());
        ensure!(promised("cpu").await? == both("8"));
        stage.recorder.ask("c38a", Wish::On);
        group.increase(1).await?;
        group.until_running(&["c38a"]).await?;
        let drift = ("TemplateDrift", ConditionStatus::True, "TemplateDrift");
        let message = until_condition_of_group(stage, "c38", drift).await?;
        ensure!(message.contains("c38a has cpu 4 instead of 8"), "{message}");
        ensure!(!message.contains("memory"), "{message}");
        ensure!(until_warned(stage, "c38", "TemplateDrift").await? == message);
        ensure!(promised("cpu").await? == both("4"));
        ensure!(promised("memory").await? == both("8Gi"));
        let status = stage.groups().get("c38").await?.status;
        let advertised = status.and_then(|status| status.template);
        let source = advertised.map(|template| template.source);
        ensure!(
            source.as_ref().is_some_and(|from| from.contains("c38a")),
            "{source:?}"
        );
        Ok(())
    })
}

#[test]
fn c39_options_are_unimplemented_unless_the_group_overrides_one() -> Result<()> {
    shared(async |stage| {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let defaults = NodeGroupAutoscalingOptions {
            scale_down_utilization_threshold: 0.5,
            scale_down_gpu_utilization_threshold: 0.6,
            zero_or_max_node_scaling: false,
            ignore_daemon_sets_utilization: true,
            scale_down_unneeded_duration: seconds(600),
            scale_down_unready_duration: seconds(1_200),
            max_node_provision_duration: seconds(900),
            ..NodeGroupAutoscalingOptions::default()
        };
        let options = async |group: &Group<'_>| {
            let request = NodeGroupAutoscalingOptionsRequest {
                id: group.caller.group_id(group.name),
                defaults: Some(defaults),
            };
            let mut client = group.caller.client.clone();
            let answer = client.node_group_get_options(request).await;
            answer.map(|answer| answer.into_inner().node_group_autoscaling_options)
        };
        let plain = group(stage, plan("c39", &["c39a"]), Behind::Nothing).await?;
        refused(options(&plain).await, Code::Unimplemented)?;
        let mut overridden = plan("c39over", &["c39b"]);
        overridden.spec["scaleDown"] = json!({"unneededDuration": "2m"});
        let overridden = group(stage, overridden, Behind::Nothing).await?;
        let answer = options(&overridden).await?;
        let answer = answer.context("options")?;
        let times = [
            answer.scale_down_unneeded_duration,
            answer.scale_down_unready_duration,
            answer.max_node_provision_duration,
        ];
        ensure!(
            times == [seconds(120), seconds(1_200), seconds(900)],
            "{answer:?}"
        );
        let shares = [
            answer.scale_down_utilization_threshold,
            answer.scale_down_gpu_utilization_threshold,
        ];
        ensure!(shares == [0.5, 0.6], "{answer:?}");
        let switches = (
            answer.zero_or_max_node_scaling,
            answer.ignore_daemon_sets_utilization,
        );
        ensure!(switches == (false, true), "{answer:?}");
        Ok(())
    })
}
