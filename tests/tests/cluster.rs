//! The main job in a cluster, on real programs: a pod without room in, packets and Redfish out, a running pod at the end.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use coordinator_crds::Group;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};
use tests::{
    cluster_stage::{
        Autoscaler, Changes, ClusterStage, Election, Excuse, GroupPlan, LIMIT, POWER_OFF, Plan,
        Planes, Trail, Woken, group_id,
        objects::{condition, has_taint},
    },
    harness::wait,
    hollow::Power,
    recorder::{Effect, OffHow, Wish},
    wiretap::Wiretap,
};

#[path = "cluster/drains.rs"]
mod drains;
#[path = "cluster/failures.rs"]
mod failures;
#[path = "homelabctl/front.rs"]
mod front;
#[path = "cluster/guide.rs"]
mod guide;
#[path = "cluster/main_job.rs"]
mod main_job;
#[path = "cluster/prices.rs"]
mod prices;
#[path = "cluster/rise_and_fall.rs"]
mod rise_and_fall;
#[path = "cluster/rpc_log.rs"]
mod rpc_log;
#[path = "cluster/soak.rs"]
mod soak;
#[path = "cluster/spares.rs"]
mod spares;
#[path = "cluster/volumes.rs"]
mod volumes;

/// The tests take turns on one control plane.
static PLANES: Planes = Planes::new();
/// A command may still be on its way for so long after the wish for it was taken back.
const GRACE: Duration = Duration::from_secs(10);

/// Who asks for machines in a story that both play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Model,
    Real,
}

impl Who {
    /// `None` where no real autoscaler is named.
    fn starts(self, stage: &ClusterStage, tap: &Wiretap) -> Result<Option<Autoscaler>> {
        match self {
            Self::Model => stage.model_autoscaler_at(&tap.address()).map(Some),
            Self::Real => stage.real_autoscaler_at(&tap.address(), &[]),
        }
    }
}

fn group(name: &'static str, woken: Woken, machines: &'static [&'static str]) -> GroupPlan {
    GroupPlan {
        name,
        woken,
        machines,
        spec: json!({"template": {"capacity": {"cpu": "4", "memory": "8Gi"}}}),
        otherwise: BTreeMap::new(),
    }
}

fn retained(mut group: GroupPlan) -> GroupPlan {
    group.spec["nodeObjectPolicy"] = "Retain".into();
    group
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

/// So much has the autoscaler changed, and found nothing wrong.
async fn changed(autoscaler: &mut Autoscaler, grown: u64, shrunk: u64) -> Result<()> {
    let failures = autoscaler.failures(Excuse::Nothing)?;
    ensure!(failures.is_empty(), "{failures:?}");
    let seen = autoscaler.changes().await?;
    ensure!(seen == Changes { grown, shrunk }, "{seen:?}");
    ensure!(autoscaler.finds_healthy().await?, "the cluster is healthy");
    Ok(())
}
