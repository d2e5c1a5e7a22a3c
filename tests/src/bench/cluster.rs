//! Writes to the Kubernetes API for one power-on, in a real cluster.
//! Holds: machines are asked for one after the other, and each write is counted by the coordinator itself until there are no more.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};
use proto_autoscaler::{
    NodeGroupIncreaseSizeRequest, RefreshRequest, cloud_provider_client::CloudProviderClient,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::figures;
use crate::cluster_stage::{ClusterStage, GroupPlan, LIMIT, Plan, Planes, Woken, group_id};

const GROUP: &str = "packet";
const MACHINES: [&str; 3] = ["nuc1", "nuc2", "nuc3"];
/// Upper bound that the design has set, Leases and Events apart.
const GOAL_WRITES: f64 = 6.0;
/// Without a new write for so long, there are no more. The stage's longest wait, for a silent Lease, is shorter.
const QUIET: Duration = Duration::from_secs(8);

/// Writes by kind.
type Writes = BTreeMap<String, u64>;

pub(super) async fn measure() -> Result<Value> {
    let plan = Plan::quick(vec![GroupPlan {
        name: GROUP,
        woken: Woken::Packet,
        machines: &MACHINES,
        spec: json!({"template": {"capacity": {"cpu": "4", "memory": "8Gi"}}}),
    }]);
    let stage = ClusterStage::start(plan, Planes::new().own().await?).await?;
    let mut client = CloudProviderClient::new(stage.channel()?);
    let before = settled(&stage).await?;
    for running in 1..=MACHINES.len() {
        client.refresh(RefreshRequest {}).await?;
        let id = group_id(GROUP);
        let asked = NodeGroupIncreaseSizeRequest { delta: 1, id };
        client.node_group_increase_size(asked).await?;
        let fits = |state: &Value| count_running(state) == running;
        stage.until("one more machine runs", fits).await?;
        settled(&stage).await?;
    }
    let after = settled(&stage).await?;
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
    Ok(json!({"power_ons": MACHINES.len(), "api_writes_per_power_on": told}))
}

/// Leases are renewed anyway, and Events are for people.
fn counts(kind: &str) -> bool {
    !matches!(kind, "lease" | "event")
}

fn count_running(state: &Value) -> usize {
    let phases = MACHINES.map(|name| &state["machines"][name]["phase"]);
    phases.iter().filter(|phase| **phase == "Running").count()
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
