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
    let events: Api<Event> = Api::namespaced(stage.client(), LAB);
    wait::until(LIMIT, reason, async || {
        let told = events.list(&ListParams::default()).await?;
        let mut about = told.items.into_iter().filter(|event| {
            let named = event.regarding.as_ref().and_then(|it| it.name.as_deref());
            named == Some(object) && event.reason.as_deref() == Some(reason)
        });
        let event = about.next().context("nobody was told")?;
        ensure!(event.type_.as_deref() == Some("Warning"), "{event:?}");
        event.note.context("an Event says something")
    })
    .await
}
