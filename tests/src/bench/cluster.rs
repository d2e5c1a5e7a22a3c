//! Writes to the Kubernetes API for one power-on, in a real cluster.
//! Holds: machines are asked for one after the other, and each write is counted by the coordinator itself until there are no more.
//! Holds: the first time and the next are told apart; keys and templates are learned once.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};
use proto_autoscaler::{
    ExternalGrpcNode, NodeGroupDeleteNodesRequest, NodeGroupIncreaseSizeRequest, RefreshRequest,
    cloud_provider_client::CloudProviderClient,
};
use serde_json::{Value, json};
use tokio::time::sleep;
use tonic::transport::Channel;

use super::figures;
use crate::cluster_stage::{
    ClusterStage, GroupPlan, LIMIT, Plan, Planes, Woken, group_id, provider_id,
};

const GROUP: &str = "packet";
const MACHINES: [&str; 3] = ["nuc1", "nuc2", "nuc3"];
/// Upper bound that the design has set, Leases and Events apart.
const GOAL_WRITES: f64 = 6.0;
/// Without a new write for so long, there are no more. The stage's longest wait, for a silent Lease, is shorter.
const QUIET: Duration = Duration::from_secs(8);

type Client = CloudProviderClient<Channel>;
/// Writes by kind.
type Writes = BTreeMap<String, u64>;

pub(super) async fn measure() -> Result<Value> {
    let plan = Plan::quick(vec![GroupPlan {
        name: GROUP,
        woken: Woken::Packet,
        machines: &MACHINES,
        spec: json!({"template": {"capacity": {"cpu": "4", "memory": "8Gi"}}}),
        otherwise: BTreeMap::new(),
    }])
    .soon_silent();
    let stage = ClusterStage::start(plan, Planes::new().own().await?).await?;
    let mut client = CloudProviderClient::new(stage.channel()?);
    let unknown = settled(&stage).await?;
    wake_all(&stage, &mut client).await?;
    let known = settled(&stage).await?;
    stop_all(&stage, &mut client).await?;
    let before = settled(&stage).await?;
    wake_all(&stage, &mut client).await?;
    let after = settled(&stage).await?;
    Ok(json!({
        "power_ons": MACHINES.len(),
        "api_writes_per_power_on": told(&before, &after),
        "api_writes_per_first_power_on": told(&unknown, &known),
    }))
}

/// Writes for one machine, with those that count beside their goal.
fn told(before: &Writes, after: &Writes) -> Value {
    let each = |kind: &str| {
        let written = after[kind] - before.get(kind).copied().unwrap_or_default();
        written as f64 / MACHINES.len() as f64
    };
    let counted = after.keys().filter(|kind| counts(kind));
    let mut told = figures::against(counted.map(|kind| each(kind)).sum(), GOAL_WRITES);
    let kinds = after
        .keys()
        .map(|kind| (kind.clone(), figures::rounded(each(kind)).into()));
    told["by_kind"] = Value::Object(kinds.collect());
    told
}

async fn wake_all(stage: &ClusterStage, client: &mut Client) -> Result<()> {
    for running in 1..=MACHINES.len() {
        client.refresh(RefreshRequest {}).await?;
        let id = group_id(GROUP);
        let asked = NodeGroupIncreaseSizeRequest { delta: 1, id };
        client.node_group_increase_size(asked).await?;
        let fits = |state: &Value| count(state, "Running") == running;
        stage.until("one more machine runs", fits).await?;
        settled(stage).await?;
    }
    Ok(())
}

async fn stop_all(stage: &ClusterStage, client: &mut Client) -> Result<()> {
    let node = |name: &str| ExternalGrpcNode {
        provider_id: provider_id(name),
        name: name.to_owned(),
        ..ExternalGrpcNode::default()
    };
    let asked = NodeGroupDeleteNodesRequest {
        nodes: MACHINES.map(node).to_vec(),
        id: group_id(GROUP),
    };
    client.node_group_delete_nodes(asked).await?;
    let fits = |state: &Value| count(state, "Sleeping") == MACHINES.len();
    stage.until("all machines sleep", fits).await.map(drop)
}

/// Leases are renewed anyway, and Events are for people.
fn counts(kind: &str) -> bool {
    !matches!(kind, "lease" | "event")
}

/// Machines in this phase.
fn count(state: &Value, wanted: &str) -> usize {
    let phases = MACHINES.map(|name| &state["machines"][name]["phase"]);
    phases.iter().filter(|phase| **phase == wanted).count()
}

/// The writes so far, once nothing but Leases has been written for a while.
async fn settled(stage: &ClusterStage) -> Result<Writes> {
    let without_leases = |writes: &Writes| -> u64 {
        let others = writes.iter().filter(|(kind, _)| *kind != "lease");
        others.map(|(_, count)| count).sum()
    };
    let mut last = stage.api_writes().await?;
    for _ in 0..LIMIT.as_secs() / QUIET.as_secs() {
        sleep(QUIET).await;
        let now = stage.api_writes().await?;
        if without_leases(&now) == without_leases(&last) {
            return Ok(now);
        }
        last = now;
    }
    bail!("writes do not end within {LIMIT:?}: {last:?}")
}
