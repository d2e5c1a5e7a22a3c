//! What people can read of a group or machine: conditions and Events.

use anyhow::{Context, Result, ensure};
use coordinator_crds::{Condition, ConditionStatus};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use tests::{
    cluster_stage::{ClusterStage, LAB},
    harness::wait,
};

use super::floor::LIMIT;

/// Waits until a condition of a machine is as it should be, and returns its message.
pub(crate) async fn until_condition_of_machine(
    stage: &ClusterStage,
    machine: &str,
    (kind, status, reason): (&str, ConditionStatus, &str),
) -> Result<String> {
    wait::until(LIMIT, kind, async || {
        let object = stage.machine_objects().get(machine).await?;
        let conditions = object.status.unwrap_or_default().conditions;
        message(&conditions, (kind, status, reason))
    })
    .await
}

/// Waits until a condition of a group is as it should be, and returns its message.
pub(crate) async fn until_condition_of_group(
    stage: &ClusterStage,
    group: &str,
    (kind, status, reason): (&str, ConditionStatus, &str),
) -> Result<String> {
    wait::until(LIMIT, kind, async || {
        let object = stage.groups().get(group).await?;
        let conditions = object.status.unwrap_or_default().conditions;
        message(&conditions, (kind, status, reason))
    })
    .await
}

fn message(
    conditions: &[Condition],
    (kind, status, reason): (&str, ConditionStatus, &str),
) -> Result<String> {
    let found = conditions.iter().find(|one| one.type_ == kind);
    let found = found.with_context(|| format!("no {kind} among {conditions:?}"))?;
    ensure!(
        found.status == status && found.reason == reason,
        "{found:?}"
    );
    Ok(found.message.clone())
}

/// Waits until people have been warned of this about an object, and returns the sentence.
pub(crate) async fn until_warned(
    stage: &ClusterStage,
    object: &str,
    reason: &str,
) -> Result<String> {
    until_told(stage, object, ("Warning", reason)).await
}

/// Waits until people have been told of this about an object, with this severity, and returns the sentence.
pub(crate) async fn until_told(
    stage: &ClusterStage,
    object: &str,
    (severity, reason): (&str, &str),
) -> Result<String> {
    wait::until(LIMIT, reason, async || {
        let told = events(stage, object, reason).await?;
        let event = told.into_iter().next().context("nobody was told")?;
        ensure!(event.type_.as_deref() == Some(severity), "{event:?}");
        event.note.context("an Event says something")
    })
    .await
}

/// How often people have been told of this about an object: what is said again counts on the same Event.
pub(crate) async fn times_told(stage: &ClusterStage, object: &str, reason: &str) -> Result<i32> {
    let told = events(stage, object, reason).await?;
    let times = told
        .iter()
        .map(|event| event.series.as_ref().map_or(1, |series| series.count));
    Ok(times.sum())
}

async fn events(stage: &ClusterStage, object: &str, reason: &str) -> Result<Vec<Event>> {
    let events: Api<Event> = Api::namespaced(stage.client(), LAB);
    let told = events.list(&ListParams::default()).await?;
    let about = told.items.into_iter().filter(|event| {
        let named = event.regarding.as_ref().and_then(|it| it.name.as_deref());
        named == Some(object) && event.reason.as_deref() == Some(reason)
    });
    Ok(about.collect())
}
