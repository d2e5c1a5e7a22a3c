//! The cluster-autoscaler's loop: what it asks each time, in its order, and how long each call takes.
//! Holds: one connection, one call after the other.

use std::{
    collections::BTreeMap,
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use prost_types::Duration as WireDuration;
use proto_autoscaler::{
    ExternalGrpcNode, NodeGroupAutoscalingOptions, NodeGroupAutoscalingOptionsRequest,
    NodeGroupForNodeRequest, NodeGroupNodesRequest, NodeGroupTargetSizeRequest,
    NodeGroupTemplateNodeInfoRequest, NodeGroupsRequest, RefreshRequest,
    cloud_provider_client::CloudProviderClient, instance_status::InstanceState,
};
use serde_json::Value;
use tonic::{Response, Status, transport::Channel};

use super::{
    figures::{Samples, Unit},
    lab::{self, LIMIT, MEMBERS, Machine},
};
use crate::harness::wait;

pub(super) type Client = CloudProviderClient<Channel>;

/// How often the autoscaler's loop asks for a group's size: to count its Nodes, and twice to see whether it may shrink.
pub(crate) const SIZES_OF_A_GROUP: usize = 3;
/// How often it asks for the options of a Node's group while pods keep the Node busy: twice for how long it may take to start,
/// twice to judge whether it is needed.
pub(crate) const OPTIONS_OF_A_NODE: usize = 4;

/// The Nodes of a lab, as the autoscaler asks about them.
pub(super) struct Loop {
    groups: usize,
    nodes: Vec<ExternalGrpcNode>,
}

impl Loop {
    pub(super) fn over(groups: usize, machines: &[Machine]) -> Self {
        Self {
            groups,
            nodes: machines.iter().map(|m| node(&m.name)).collect(),
        }
    }

    /// Refresh and NodeGroups, then what is asked for each group and for each Node.
    pub(super) fn calls(&self) -> usize {
        // Instances and template: it keeps both for a while, so not every loop asks for them. These loops do.
        let of_a_group = SIZES_OF_A_GROUP + 2;
        2 + of_a_group * self.groups + (1 + OPTIONS_OF_A_NODE) * self.nodes.len()
    }

    /// Asks everything once.
    pub(super) async fn run(&self, client: &mut Client, calls: &mut Calls) -> Result<Duration> {
        let started = Instant::now();
        calls
            .time("Refresh", client.refresh(RefreshRequest {}))
            .await?;
        let groups = calls
            .time("NodeGroups", client.node_groups(NodeGroupsRequest {}))
            .await?
            .node_groups;
        ensure!(groups.len() == self.groups, "{} groups", groups.len());
        for group in groups {
            one_group(client, group.id, calls).await?;
        }
        for node in &self.nodes {
            let asked = NodeGroupForNodeRequest {
                node: Some(node.clone()),
            };
            let group = calls
                .time("NodeGroupForNode", client.node_group_for_node(asked))
                .await?
                .node_group
                .unwrap_or_default();
            ensure!(!group.id.is_empty(), "{} is in no group", node.name);
            for _ in 0..OPTIONS_OF_A_NODE {
                let asked = NodeGroupAutoscalingOptionsRequest {
                    id: group.id.clone(),
                    defaults: Some(defaults()),
                };
                let call = client.node_group_get_options(asked);
                calls.time("NodeGroupGetOptions", call).await?;
            }
        }
        Ok(started.elapsed())
    }
}

/// Durations by RPC.
#[derive(Default)]
pub(super) struct Calls {
    samples: BTreeMap<&'static str, Samples>,
}

impl Calls {
    pub(super) async fn time<A>(
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

    /// Each RPC by its name.
    pub(super) fn told(&self) -> Value {
        let told = self
            .samples
            .iter()
            .map(|(rpc, samples)| ((*rpc).to_owned(), samples.told(Unit::Milliseconds, None)));
        Value::Object(told.collect())
    }

    /// All of them as one.
    pub(super) fn together(&self) -> Samples {
        let mut all = Samples::default();
        for samples in self.samples.values() {
            all.extend(samples);
        }
        all
    }
}

async fn one_group(client: &mut Client, id: String, calls: &mut Calls) -> Result<()> {
    for _ in 0..SIZES_OF_A_GROUP {
        let asked = NodeGroupTargetSizeRequest { id: id.clone() };
        let call = client.node_group_target_size(asked);
        calls.time("NodeGroupTargetSize", call).await?;
    }
    let asked = NodeGroupNodesRequest { id: id.clone() };
    let nodes = calls
        .time("NodeGroupNodes", client.node_group_nodes(asked))
        .await?;
    ensure!(
        nodes.instances.len() == MEMBERS,
        "{id} has {} instances",
        nodes.instances.len()
    );
    let asked = NodeGroupTemplateNodeInfoRequest { id };
    let call = client.node_group_template_node_info(asked);
    calls.time("NodeGroupTemplateNodeInfo", call).await?;
    Ok(())
}

/// Waits until every machine of so many groups has been heard.
pub(super) async fn until_all_run(client: &Client, groups: usize) -> Result<()> {
    wait::until(LIMIT, "all machines are listed as running", async || {
        let mut client = client.clone();
        let mut running = 0;
        for group in 0..groups {
            let asked = NodeGroupNodesRequest {
                id: lab::group_id(group),
            };
            let instances = client.node_group_nodes(asked).await?.into_inner().instances;
            let runs = |state: InstanceState| state == InstanceState::InstanceRunning;
            let states = instances.into_iter().filter_map(|i| i.status);
            running += states.filter(|s| runs(s.instance_state())).count();
        }
        ensure!(running == groups * MEMBERS, "{running} run");
        Ok(())
    })
    .await
}

/// A Node as the autoscaler sends it, with the labels and annotations that a kubelet of a small cluster has.
pub(super) fn node(name: &str) -> ExternalGrpcNode {
    let labels = [
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("homelab-autoscaler.dev/group", "g00"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ];
    let annotations = [
        ("node.alpha.kubernetes.io/ttl", "0"),
        (
            "volumes.kubernetes.io/controller-managed-attach-detach",
            "true",
        ),
    ];
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    ExternalGrpcNode {
        provider_id: format!("homelab://default/{name}"),
        name: name.to_owned(),
        labels: labels.into_iter().map(owned).collect(),
        annotations: annotations.into_iter().map(owned).collect(),
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
