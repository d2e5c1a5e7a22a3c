//! The main job in a cluster, on real programs: a pod without room in, packets and Redfish out, a running pod at the end.

use std::time::Duration;

use anyhow::{Result, ensure};
use coordinator_crds::Group;
use k8s_openapi::api::core::v1::Node;
use proto_autoscaler::{
    ExternalGrpcNode, NodeGroupDeleteNodesRequest, NodeGroupForNodeRequest,
    NodeGroupIncreaseSizeRequest, NodeGroupTargetSizeRequest, RefreshRequest,
    cloud_provider_client::CloudProviderClient,
};
use serde_json::{Value, json};
use tests::{
    cluster_stage::{
        Autoscaler, ClusterStage, Election, GroupPlan, LIMIT, POWER_OFF, Plan, Planes, REAL, Trail,
        Woken, group_id,
        objects::{condition, has_taint},
        provider_id,
    },
    harness::wait,
    hollow::Power,
    recorder::{Effect, OffHow, Wish},
};
use tonic::transport::Channel;

#[path = "cluster/failures.rs"]
mod failures;
#[path = "cluster/main_job.rs"]
mod main_job;
#[path = "cluster/spares.rs"]
mod spares;

/// The tests take turns on one control plane.
static PLANES: Planes = Planes::new();
/// A command may still be on its way for so long after the wish for it was taken back.
const GRACE: Duration = Duration::from_secs(10);

type Client = CloudProviderClient<Channel>;

fn group(name: &'static str, woken: Woken, machines: &'static [&'static str]) -> GroupPlan {
    GroupPlan {
        name,
        woken,
        machines,
        spec: json!({"template": {"capacity": {"cpu": "4", "memory": "8Gi"}}}),
    }
}

fn retained(mut group: GroupPlan) -> GroupPlan {
    group.spec["nodeObjectPolicy"] = "Retain".into();
    group
}

async fn increase(client: &mut Client, group: &str, delta: i32) -> Result<()> {
    let id = group_id(group);
    client
        .node_group_increase_size(NodeGroupIncreaseSizeRequest { delta, id })
        .await?;
    Ok(())
}

async fn target(client: &mut Client, group: &str) -> Result<i32> {
    client.refresh(RefreshRequest {}).await?;
    let id = group_id(group);
    let target = client
        .node_group_target_size(NodeGroupTargetSizeRequest { id })
        .await?;
    Ok(target.into_inner().target_size)
}

fn as_seen(machine: &str) -> ExternalGrpcNode {
    ExternalGrpcNode {
        provider_id: provider_id(machine),
        name: machine.to_owned(),
        ..ExternalGrpcNode::default()
    }
}

async fn delete(client: &mut Client, group: &str, machine: &str) -> Result<(), tonic::Status> {
    let request = NodeGroupDeleteNodesRequest {
        nodes: vec![as_seen(machine)],
        id: group_id(group),
    };
    client.node_group_delete_nodes(request).await.map(drop)
}

/// The group of a Node with its real name; empty if it has none.
async fn group_of(client: &mut Client, machine: &str) -> Result<String> {
    let request = NodeGroupForNodeRequest {
        node: Some(as_seen(machine)),
    };
    let answer = client.node_group_for_node(request).await?.into_inner();
    Ok(answer.node_group.unwrap_or_default().id)
}

fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").as_deref() == Some("True")
}

fn provider_id_of(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref()
}

/// The machine that is on, of several of which one is.
fn the_one_that_is_on(stage: &ClusterStage, names: &[&str]) -> Result<String> {
    let on = names
        .iter()
        .filter(|name| stage.machines[**name].power() == Power::On);
    let on: Vec<_> = on.collect();
    ensure!(on.len() == 1, "on: {on:?}");
    Ok((*on[0]).to_owned())
}

/// Nothing happened that nobody asked for, and the machine was woken and stopped so often.
fn effects_are(stage: &ClusterStage, machine: &str, wakes: usize, stops: usize) -> Result<()> {
    let seen = (stage.recorder.wakes(machine), stage.recorder.stops(machine));
    ensure!(seen == (wakes, stops), "{machine}: {seen:?}");
    let unasked = stage.recorder.unasked_effects(GRACE);
    ensure!(unasked.is_empty(), "unasked: {unasked:?}");
    Ok(())
}
