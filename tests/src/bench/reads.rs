//! The reads of the cluster-autoscaler at 1,000 Nodes, and what they and the Nodes cost the coordinator.
//! Holds: one connection, one call after the other, while every machine beats each ten seconds; only loops that are warm count.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use prost_types::Duration as WireDuration;
use proto_autoscaler::{
    ExternalGrpcNode, GetAvailableGpuTypesRequest, GpuLabelRequest, NodeGroupAutoscalingOptions,
    NodeGroupAutoscalingOptionsRequest, NodeGroupForNodeRequest, NodeGroupNodesRequest,
    NodeGroupTargetSizeRequest, NodeGroupTemplateNodeInfoRequest, NodeGroupsRequest,
    RefreshRequest, cloud_provider_client::CloudProviderClient, instance_status::InstanceState,
};
use serde_json::{Value, json};
use tokio::time::sleep;
use tonic::{Response, Status, transport::Channel};

use super::{
    beats::{self, Beats},
    figures::{self, Samples, Unit},
    footprint,
    lab::{self, GROUPS, LIMIT, Lab, MEMBERS, Plan},
};
use crate::harness::{Process, Transport, wait};

const WARM_UP: usize = 5;
const LOOPS: usize = 50;
/// How long the coordinator is watched while nobody calls it.
const REST: Duration = Duration::from_secs(30);
/// Upper bounds that the design has set.
const GOAL_LOOP_S: f64 = 0.5;
const GOAL_RESIDENT_MIB: f64 = 20.0;
const GOAL_REST_PERCENT: f64 = 0.5;

type Client = CloudProviderClient<Channel>;

pub(super) async fn measure() -> Result<Value> {
    beats::allow_many_connections()?;
    let machines = lab::machines();
    let lab = Lab::start(Plan {
        transport: Transport::Plain,
        wake: None,
        timing: &[],
    })
    .await?;
    let _beats = Beats::start(&lab.broker, &machines).await?;
    let mut client = Client::new(lab.connect().await?);
    until_all_run(&client).await?;

    let nodes: Vec<ExternalGrpcNode> = machines.iter().map(|m| node(&m.name)).collect();
    for _ in 0..WARM_UP {
        one_loop(&mut client, &nodes, &mut Calls::default()).await?;
    }
    let mut calls = Calls::default();
    let mut loops = Samples::default();
    let before = footprint::cpu_time(&lab.coordinator)?;
    for _ in 0..LOOPS {
        let started = Instant::now();
        one_loop(&mut client, &nodes, &mut calls).await?;
        loops.push(started.elapsed());
    }
    let spent = footprint::cpu_time(&lab.coordinator)? - before;
    seldom_asked(&mut client, &mut calls).await?;
    let rest_percent = at_rest(&lab.coordinator).await?;
    Ok(json!({
        "nodes": machines.len(),
        "groups": GROUPS,
        "broker": "mosquitto",
        "calls_per_loop": calls_per_loop(),
        "rpc_ms": calls.told(),
        "loop_s": loops.told(Unit::Seconds, Some(GOAL_LOOP_S)),
        "loop_cpu_ms": figures::rounded(spent.as_secs_f64() * 1_000.0 / LOOPS as f64),
        "rest_cpu_percent": figures::against(rest_percent, GOAL_REST_PERCENT),
        "coordinator_resident_mib": footprint::resident(&lab.coordinator, GOAL_RESIDENT_MIB)?,
    }))
}

/// Refresh, NodeGroups, four calls for each group, one for each Node.
const fn calls_per_loop() -> usize {
    2 + 4 * GROUPS + GROUPS * MEMBERS
}

/// Durations by RPC.
#[derive(Default)]
struct Calls {
    samples: BTreeMap<&'static str, Samples>,
}

impl Calls {
    async fn time<A>(
        &mut self,
        rpc: &'static str,
        call: impl Future<Output = Result<Response<A>, Status>>,
    ) -> Result<A> {
        let started = Instant::now();
        let answer = call.await.with_context(|| format!("call {rpc}"))?;
        let samples = self.samples.entry(rpc).or_default();
        samples.push(started.elapsed());
        Ok(answer.into_inner())
    }

    fn told(&self) -> Value {
        let told = self
            .samples
            .iter()
            .map(|(rpc, samples)| ((*rpc).to_owned(), samples.told(Unit::Milliseconds, None)));
        Value::Object(told.collect())
    }
}

/// What the autoscaler asks in each of its loops, in its order.
async fn one_loop(
    client: &mut Client,
    nodes: &[ExternalGrpcNode],
    calls: &mut Calls,
) -> Result<()> {
    calls
        .time("Refresh", client.refresh(RefreshRequest {}))
        .await?;
    let groups = calls
        .time("NodeGroups", client.node_groups(NodeGroupsRequest {}))
        .await?
        .node_groups;
    ensure!(groups.len() == GROUPS, "{} groups", groups.len());
    for group in groups {
        one_group(client, group.id, calls).await?;
    }
    for node in nodes {
        let asked = NodeGroupForNodeRequest {
            node: Some(node.clone()),
        };
        let group = calls
            .time("NodeGroupForNode", client.node_group_for_node(asked))
            .await?
            .node_group
            .unwrap_or_default();
        ensure!(!group.id.is_empty(), "{} is in no group", node.name);
    }
    Ok(())
}

async fn one_group(client: &mut Client, id: String, calls: &mut Calls) -> Result<()> {
    let asked = NodeGroupTargetSizeRequest { id: id.clone() };
    calls
        .time("NodeGroupTargetSize", client.node_group_target_size(asked))
        .await?;
    let asked = NodeGroupNodesRequest { id: id.clone() };
    let nodes = calls
        .time("NodeGroupNodes", client.node_group_nodes(asked))
        .await?;
    ensure!(
        nodes.instances.len() == MEMBERS,
        "{id} has {} instances",
        nodes.instances.len()
    );
    let asked = NodeGroupTemplateNodeInfoRequest { id: id.clone() };
    let call = client.node_group_template_node_info(asked);
    calls.time("NodeGroupTemplateNodeInfo", call).await?;
    let asked = NodeGroupAutoscalingOptionsRequest {
        id,
        defaults: Some(defaults()),
    };
    let call = client.node_group_get_options(asked);
    calls.time("NodeGroupGetOptions", call).await?;
    Ok(())
}

/// Asked once, or now and then: not part of each loop.
async fn seldom_asked(client: &mut Client, calls: &mut Calls) -> Result<()> {
    for _ in 0..LOOPS * GROUPS {
        let label = client.gpu_label(GpuLabelRequest {});
        calls.time("GPULabel", label).await?;
        let types = client.get_available_gpu_types(GetAvailableGpuTypesRequest {});
        calls.time("GetAvailableGPUTypes", types).await?;
    }
    Ok(())
}

/// Share of one core that the heartbeats of all machines take while nobody calls, in percent.
async fn at_rest(coordinator: &Process) -> Result<f64> {
    let (before, started) = (footprint::cpu_time(coordinator)?, Instant::now());
    sleep(REST).await;
    let spent = footprint::cpu_time(coordinator)? - before;
    Ok(spent.as_secs_f64() / started.elapsed().as_secs_f64() * 100.0)
}

async fn until_all_run(client: &Client) -> Result<()> {
    wait::until(LIMIT, "all machines are listed as running", async || {
        let mut client = client.clone();
        let mut running = 0;
        for group in 0..GROUPS {
            let asked = NodeGroupNodesRequest {
                id: lab::group_id(group),
            };
            let instances = client.node_group_nodes(asked).await?.into_inner().instances;
            let runs = |state: InstanceState| state == InstanceState::InstanceRunning;
            let states = instances.into_iter().filter_map(|i| i.status);
            running += states.filter(|s| runs(s.instance_state())).count();
        }
        ensure!(running == GROUPS * MEMBERS, "{running} run");
        Ok(())
    })
    .await
}

/// A Node as the autoscaler sends it, with the labels and annotations that a kubelet of a small cluster has.
fn node(name: &str) -> ExternalGrpcNode {
    let owned = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let labels = owned(&[
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("homelab-autoscaler.dev/group", "g00"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ]);
    let annotations = owned(&[
        ("node.alpha.kubernetes.io/ttl", "0"),
        (
            "volumes.kubernetes.io/controller-managed-attach-detach",
            "true",
        ),
    ]);
    ExternalGrpcNode {
        provider_id: format!("homelab://default/{name}"),
        name: name.to_owned(),
        labels: labels.into_iter().collect(),
        annotations: annotations.into_iter().collect(),
    }
}

/// The autoscaler's own defaults.
fn defaults() -> NodeGroupAutoscalingOptions {
    let minutes = |minutes: i64| {
        Some(WireDuration {
            seconds: minutes * 60,
            nanos: 0,
        })
    };
    NodeGroupAutoscalingOptions {
        scale_down_utilization_threshold: 0.5,
        scale_down_gpu_utilization_threshold: 0.5,
        scale_down_unneeded_duration: minutes(10),
        scale_down_unready_duration: minutes(20),
        max_node_provision_duration: minutes(15),
        ..NodeGroupAutoscalingOptions::default()
    }
}
