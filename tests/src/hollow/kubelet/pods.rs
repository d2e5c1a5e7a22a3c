//! Pods on a hollow Node: what is bound to it runs at once, what is deleted ends at once.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::objects::seconds_now;

/// Between two looks at the Node's pods.
const LOOK: Duration = Duration::from_millis(300);

/// Runs the Node's pods for ever.
pub(super) async fn run_all(client: Client, node: String) {
    let bound = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Err(error) = run_once(&client, &bound).await {
            tracing::warn!(%node, error = format!("{error:#}"), "a hollow kubelet looks after its pods again");
        }
    }
}

async fn run_once(client: &Client, bound: &ListParams) -> Result<()> {
    let all: Api<Pod> = Api::all(client.clone());
    for pod in all.list(bound).await.context("list the Node's pods")? {
        let namespace = pod.namespace().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if pod.metadata.deletion_timestamp.is_some() {
            end(&pods, &pod).await?;
        } else if phase.is_none_or(|phase| phase == "Pending") {
            begin(&pods, &pod).await?;
        }
    }
    Ok(())
}

async fn begin(pods: &Api<Pod>, pod: &Pod) -> Result<()> {
    let patch = Patch::Strategic(json!({"status": running(pod)}));
    let begun = pods
        .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
        .await;
    gone_is_fine(begun).with_context(|| format!("start pod {}", pod.name_any()))
}

async fn end(pods: &Api<Pod>, pod: &Pod) -> Result<()> {
    let at_once = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let ended = pods.delete(&pod.name_any(), &at_once).await;
    gone_is_fine(ended).with_context(|| format!("end pod {}", pod.name_any()))
}

/// Somebody else may have removed the pod since the list was read.
fn gone_is_fine<T>(outcome: kube::Result<T>) -> kube::Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

fn running(pod: &Pod) -> Value {
    let now = seconds_now();
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice());
    let statuses: Vec<Value> = containers
        .unwrap_or_default()
        .iter()
        .map(|container| {
            json!({
                "name": container.name,
                "image": container.image.as_deref().unwrap_or_default(),
                "imageID": "hollow",
                "ready": true,
                "started": true,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            })
        })
        .collect();
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
    json!({
        "phase": "Running",
        "startTime": now,
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": conditions,
        "containerStatuses": statuses,
    })
}
