//! Every read of the service, and the time that the contract grants a call.
//! Holds: the median of several tries must meet that time. A busy machine makes some of them slow; waiting for a part that is away
//! makes most of them slow.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proto_autoscaler::{
    GetAvailableGpuTypesRequest, GpuLabelRequest, Instance, NodeGroup, NodeGroupAutoscalingOptions,
    NodeGroupAutoscalingOptionsRequest,
};
use tests::caller::Caller;
use tonic::Status;

use super::prices::{node_price, pod_price};

/// What a read may take.
const READ: Duration = Duration::from_millis(200);
/// What an increase may take, and the refusal of any change.
pub(crate) const CHANGE: Duration = Duration::from_secs(1);
/// What the autoscaler waits for an answer unless it is told otherwise: for a call that is made once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Of how many tries the median is judged; odd, so that one of them is in the middle.
pub(crate) const TRIES: usize = 9;

/// Makes a call until it is certain that the median of all tries is in time, or late, and returns the last answer.
pub(crate) async fn within<T, E: Into<anyhow::Error>>(
    limit: Duration,
    what: &str,
    mut call: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let mut took = Vec::new();
    loop {
        let asked = Instant::now();
        let answer = call().await;
        took.push(asked.elapsed());
        let answer = answer.map_err(|error| error.into().context(what.to_owned()))?;
        let late = took.iter().filter(|took| **took > limit).count();
        ensure!(
            late <= TRIES / 2,
            "{what} took {took:?}, {limit:?} are granted"
        );
        if took.len() - late > TRIES / 2 {
            return Ok(answer);
        }
    }
}

/// What the reads have answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) groups: Vec<NodeGroup>,
    pub(crate) group_of: NodeGroup,
    pub(crate) target: i32,
    pub(crate) instances: Vec<Instance>,
    template: Vec<u8>,
    options: Option<NodeGroupAutoscalingOptions>,
    node_price: f64,
    pod_price: f64,
    gpu_label: String,
    gpu_types: Vec<String>,
}

impl Told {
    /// Makes every read of the service, for a group with a template, options and prices and for one of its machines.
    pub(crate) async fn of(caller: &Caller, group: &str, machine: &str) -> Result<Self> {
        within(READ, "Refresh", async || caller.refresh().await).await?;
        let node = || caller.fake_node(machine, "unregistered");
        Ok(Self {
            groups: within(READ, "NodeGroups", async || caller.groups().await).await?,
            group_of: within(READ, "NodeGroupForNode", async || {
                caller.group_for(node()).await
            })
            .await?,
            target: within(READ, "NodeGroupTargetSize", async || {
                caller.target(group).await
            })
            .await?,
            instances: within(READ, "NodeGroupNodes", async || {
                caller.instances(group).await
            })
            .await?,
            template: within(READ, "NodeGroupTemplateNodeInfo", async || {
                caller.template(group).await
            })
            .await?,
            options: within(READ, "NodeGroupGetOptions", async || {
                options(caller, group).await
            })
            .await?,
            node_price: within(READ, "PricingNodePrice", async || {
                node_price(caller, node()).await
            })
            .await?,
            pod_price: within(READ, "PricingPodPrice", async || pod_price(caller).await).await?,
            gpu_label: within(READ, "GPULabel", async || gpu_label(caller).await).await?,
            gpu_types: within(READ, "GetAvailableGPUTypes", async || {
                gpu_types(caller).await
            })
            .await?,
        })
    }
}

async fn options(
    caller: &Caller,
    group: &str,
) -> Result<Option<NodeGroupAutoscalingOptions>, Status> {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let defaults = NodeGroupAutoscalingOptions {
        scale_down_unneeded_duration: seconds(600),
        scale_down_unready_duration: seconds(1_200),
        max_node_provision_duration: seconds(900),
        ..NodeGroupAutoscalingOptions::default()
    };
    let request = NodeGroupAutoscalingOptionsRequest {
        id: caller.group_id(group),
        defaults: Some(defaults),
    };
    let mut client = caller.client.clone();
    let answer = client.node_group_get_options(request).await?;
    Ok(answer.into_inner().node_group_autoscaling_options)
}

async fn gpu_label(caller: &Caller) -> Result<String, Status> {
    let mut client = caller.client.clone();
    let answer = client.gpu_label(GpuLabelRequest {}).await?;
    Ok(answer.into_inner().label)
}

async fn gpu_types(caller: &Caller) -> Result<Vec<String>, Status> {
    let mut client = caller.client.clone();
    let asked = GetAvailableGpuTypesRequest {};
    let answer = client.get_available_gpu_types(asked).await?;
    Ok(answer.into_inner().gpu_types.into_keys().collect())
}
