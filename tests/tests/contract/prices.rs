//! What the autoscaler's price expander and its metrics ask: prices of Nodes and Pods, GPUs.
//! Holds: no other check declares energy or GPUs, because one group with prices makes both calls answer.

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use prost::Message as _;
use prost_types::Timestamp;
use proto_autoscaler::{
    ExternalGrpcNode, GetAvailableGpuTypesRequest, GpuLabelRequest, PricingNodePriceRequest,
    PricingPodPriceRequest, core_v1,
};
use serde_json::json;
use tests::{caller::Caller, harness::wait};
use tonic::{Code, Status};

use super::floor::{Behind, LIMIT, group, on_paper, plan, refused, shared};

/// 20:30 to 21:30 in UTC on a day in January: half an hour before 22:00 in Berlin, and half an hour behind it.
const FROM: i64 = 1_768_509_000;
const TO: i64 = FROM + 3_600;
/// What 100 W cost in that hour: one half at 0.30, the other at 0.10.
const PRICE: f64 = 0.1 * 0.2;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// The price of a Node in that hour.
pub(crate) async fn node_price(caller: &Caller, node: ExternalGrpcNode) -> Result<f64, Status> {
    let request = PricingNodePriceRequest {
        node: Some(node),
        start_timestamp: at(FROM),
        end_timestamp: at(TO),
        ..PricingNodePriceRequest::default()
    };
    let mut client = caller.client.clone();
    let answer = client.pricing_node_price(request).await?;
    Ok(answer.into_inner().price)
}

/// The price of a Pod that asks for one CPU.
pub(crate) async fn pod_price(caller: &Caller) -> Result<f64, Status> {
    let cpu = core_v1::Quantity { string: "1".into() };
    let resources = core_v1::ResourceRequirements {
        requests: [("cpu".to_owned(), cpu)].into(),
        ..core_v1::ResourceRequirements::default()
    };
    let container = core_v1::Container {
        resources: Some(resources),
        ..core_v1::Container::default()
    };
    let spec = core_v1::PodSpec {
        containers: vec![container],
        ..core_v1::PodSpec::default()
    };
    let pod = core_v1::Pod {
        spec: Some(spec),
        ..core_v1::Pod::default()
    };
    let request = PricingPodPriceRequest {
        pod_bytes: pod.encode_to_vec(),
        start_timestamp: at(FROM),
        end_timestamp: at(TO),
        ..PricingPodPriceRequest::default()
    };
    let mut client = caller.client.clone();
    Ok(client.pricing_pod_price(request).await?.into_inner().price)
}

/// A Node as the autoscaler makes one up: its name says nothing that we gave out, its labels are those of the template.
fn made_up(name: &str, group: &str) -> ExternalGrpcNode {
    ExternalGrpcNode {
        name: name.to_owned(),
        labels: [
            ("homelab-autoscaler.dev/group", group),
            ("cluster-autoscaler.kubernetes.io/template-node", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        ..ExternalGrpcNode::default()
    }
}

fn is(found: f64, expected: f64) -> Result<()> {
    ensure!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    Ok(())
}

#[test]
fn c40_gpu_label_and_types_are_always_answered_and_only_nodes_with_gpus_carry_the_label()
-> Result<()> {
    shared(async |stage| {
        let mut client = stage.caller()?.client;
        let label = client.gpu_label(GpuLabelRequest {}).await?;
        let label = label.into_inner().label;
        let asked = GetAvailableGpuTypesRequest {};
        client.get_available_gpu_types(asked).await?;
        let mut gpu = plan("c40gpu", &["c40a"]);
        gpu.spec = json!({"template": {
            "capacity": {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"},
            "labels": {"homelab-autoscaler.dev/gpu": "rtx-3060"},
        }});
        let gpu = group(stage, gpu, Behind::Nothing).await?;
        let plain = on_paper(stage, "c40", &["c40b"]).await?;
        for (group, kind) in [(&gpu, Some("rtx-3060")), (&plain, None)] {
            let template = group.caller.template(group.name).await?;
            let node = core_v1::Node::decode(template.as_slice())?;
            let labels = node.metadata.context("metadata")?.labels;
            let carried = labels.get(&label).map(String::as_str);
            ensure!(carried == kind, "{}: {carried:?}", group.name);
        }
        let types = client.get_available_gpu_types(asked).await?.into_inner();
        ensure!(types.gpu_types.contains_key("rtx-3060"), "{types:?}");
        Ok(())
    })
}

#[test]
fn c41_prices_are_both_unimplemented_or_both_told_for_nodes_known_by_labels_too() -> Result<()> {
    shared(async |stage| {
        let silent = on_paper(stage, "c41silent", &["c41b"]).await?;
        let fake = silent.caller.fake_node("c41b", "unregistered");
        refused(node_price(&silent.caller, fake).await, Code::Unimplemented)?;
        refused(pod_price(&silent.caller).await, Code::Unimplemented)?;

        let mut priced = plan("c41", &["c41a"]);
        priced.spec["energy"] = json!({"watts": 100, "perKWh": "0.3", "timeZone": "Europe/Berlin",
            "windows": [{"from": "22:00", "to": "06:00", "perKWh": "0.1"}]});
        let priced = group(stage, priced, Behind::Nothing).await?;
        for node in [
            made_up("template-node-for-lab/c41-4711", "c41"),
            made_up("template-node-for-lab/c41-4711-upcoming-0", "c41"),
            made_up("anything", "c41"),
        ] {
            is(node_price(&priced.caller, node).await?, PRICE)?;
        }
        priced.increase(1).await?;
        let booting = priced.caller.fake_node("c41a", "unregistered");
        is(node_price(&priced.caller, booting).await?, PRICE)?;
        // A quarter of a machine with four CPUs.
        is(pod_price(&priced.caller).await?, PRICE / 4.0)?;
        let other = made_up("template-node-for-lab/c41silent-4711", "c41silent");
        refused(
            node_price(&silent.caller, other).await,
            Code::FailedPrecondition,
        )?;
        let stranger = made_up("ip-10-0-0-1", "nobody");
        refused(node_price(&silent.caller, stranger).await, Code::NotFound)?;

        let groups = stage.groups();
        groups.delete("c41", &DeleteParams::default()).await?;
        wait::until(LIMIT, "no prices are left", async || {
            let answer = pod_price(&silent.caller).await;
            refused(answer, Code::Unimplemented)
        })
        .await
    })
}
