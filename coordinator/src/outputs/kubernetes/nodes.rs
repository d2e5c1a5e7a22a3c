//! Core Nodes: fenced before a stop, brought in order when their machine returns, deleted or suspended when it is off.
//!
//! In: what is to be done. Out: `Fenced`, `NodeDone`.
//! Holds: a change applies only to the Node it was computed from, by uid, and to the taints it was computed from.
//! Holds: while our marks stand on a Node, its machine's object carries our finalizer.

use coordinator_core::{
    CORDONED_BY_PERSON, Cordon, MachineId, NodeObjectPolicy, NodePatch, POWER_OFF_TAINT,
    TaintChange,
};
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{patch::Steps, writer::Writer};
use crate::{
    clock,
    inputs::kubernetes::{CALL, CallFault, FINALIZER, SUSPENDED, call, taint, taints},
    metrics::ApiWrite,
};

mod undo;

pub(super) use undo::undo;

/// How often a Node is fenced in vain, each time because somebody else has just written it.
const FENCES: u32 = 3;

/// Taints and cordons a Node, and reads back that it is so. Whose the cordon is goes onto the Node in the same write. Who
/// writes the Node at the same moment means no harm, so that is tried again, while whoever waits for it may still be there.
pub(super) async fn fence(
    writer: &Writer,
    machine: &MachineId,
    name: &str,
    cordon: Cordon,
) -> Result<(), CallFault> {
    let began = Instant::now();
    let mut tries = 1;
    loop {
        let fault = match fence_once(writer, machine, name, cordon).await {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        let raced = matches!(fault, CallFault::Conflict(_) | CallFault::Unprocessable(_));
        if !raced || tries == FENCES || began.elapsed() >= CALL {
            return Err(fault);
        }
        tracing::debug!(%machine, node = name, %fault, tries, "fenced in vain");
        tries += 1;
        // It may have been our own object that had changed.
        if let Some(entry) = writer.shared.mirror.machine(machine) {
            writer.read_machine(machine, &entry.place).await?;
        }
    }
}

async fn fence_once(
    writer: &Writer,
    machine: &MachineId,
    name: &str,
    cordon: Cordon,
) -> Result<(), CallFault> {
    mark(writer, machine).await?;
    let node = read(writer, name).await?;
    if !is_fenced(&node) {
        patch(writer, name, fencing(&node, cordon)).await?;
    }
    if is_fenced(&read(writer, name).await?) {
        Ok(())
    } else {
        Err(CallFault::Conflict(format!(
            "somebody took the taint or the cordon off Node {name} again"
        )))
    }
}

fn fencing(node: &Node, cordon: Cordon) -> Steps {
    let mut wanted = raw_taints(node).to_vec();
    if !wanted.iter().any(|taint| taint.key == POWER_OFF_TAINT) {
        wanted.push(our_taint());
    }
    let steps = Steps::of(uid(node))
        .test(&["spec", "taints"], tested(node))
        .add(&["spec", "taints"], wanted)
        .add(&["spec", "unschedulable"], true);
    match (cordon, &node.metadata.annotations) {
        (Cordon::Ours, _) => steps,
        (Cordon::Persons, None) => steps.add(
            &["metadata", "annotations"],
            json!({CORDONED_BY_PERSON: "true"}),
        ),
        (Cordon::Persons, Some(_)) => {
            steps.add(&["metadata", "annotations", CORDONED_BY_PERSON], "true")
        }
    }
}

/// Brings a Node to the given state.
pub(super) async fn change(
    writer: &Writer,
    machine: &MachineId,
    wanted: &NodePatch,
) -> Result<(), CallFault> {
    let node = read(writer, &wanted.node).await?;
    if uid(&node) != wanted.uid {
        return Err(CallFault::Conflict(format!(
            "Node {} is another object now",
            wanted.node
        )));
    }
    if wanted.resume && has_condition(&node) {
        resume(writer, &node).await?;
    }
    let steps = steps(&node, wanted)?;
    if steps.changes() {
        patch(writer, &wanted.node, steps).await?;
    }
    let clean = match &wanted.taints {
        Some(change) => !change.to.iter().any(|taint| taint.key == POWER_OFF_TAINT),
        None => {
            wanted.resume
                && !raw_taints(&node)
                    .iter()
                    .any(|taint| taint.key == POWER_OFF_TAINT)
        }
    };
    if clean {
        unmark(writer, machine).await?;
    }
    Ok(())
}

/// A machine is confirmed off: its Node is deleted, or kept and marked.
pub(super) async fn retire(
    writer: &Writer,
    machine: &MachineId,
    (name, node_uid): (&str, &str),
    policy: NodeObjectPolicy,
) -> Result<(), CallFault> {
    match policy {
        NodeObjectPolicy::Delete => {
            delete(writer, name, node_uid).await?;
            unmark(writer, machine).await
        }
        NodeObjectPolicy::Retain => match read(writer, name).await {
            Ok(node) if uid(&node) == node_uid => {
                mark(writer, machine).await?;
                let now = coordinator_crds::time::from_unix_ms(clock::now().wall_ms);
                let suspended = json!({
                    "type": SUSPENDED, "status": "True", "reason": "PoweredOff",
                    "message": "the machine is off; homelab-autoscaler wakes it when it is needed",
                    "lastTransitionTime": now, "lastHeartbeatTime": now,
                });
                patch_condition(writer, &node, suspended).await
            }
            // Another Node of that name is not ours to touch, and the one that was meant is gone.
            Ok(_) | Err(CallFault::NotFound) => Ok(()),
            Err(fault) => Err(fault),
        },
    }
}

/// Puts our finalizer on a machine's object, before its Node is touched.
async fn mark(writer: &Writer, machine: &MachineId) -> Result<(), CallFault> {
    let entry = writer
        .shared
        .mirror
        .machine(machine)
        .ok_or(CallFault::NotFound)?;
    let place = entry.place;
    if place.finalizers.iter().any(|name| name == FINALIZER) {
        return Ok(());
    }
    let mut finalizers = place.finalizers.clone();
    finalizers.push(FINALIZER.to_owned());
    set(writer, machine, &finalizers).await
}

/// Takes our finalizer off again: there is nothing left to undo.
async fn unmark(writer: &Writer, machine: &MachineId) -> Result<(), CallFault> {
    let Some(entry) = writer.shared.mirror.machine(machine) else {
        return Ok(());
    };
    let place = entry.place;
    if !place.finalizers.iter().any(|name| name == FINALIZER) {
        return Ok(());
    }
    let kept: Vec<String> = place
        .finalizers
        .iter()
        .filter(|name| *name != FINALIZER)
        .cloned()
        .collect();
    set(writer, machine, &kept).await
}

async fn set(writer: &Writer, machine: &MachineId, finalizers: &[String]) -> Result<(), CallFault> {
    let Some(entry) = writer.shared.mirror.machine(machine) else {
        return Ok(());
    };
    let written = writer.set_finalizers(&entry.place, finalizers).await?;
    writer.saw_machine(machine, written);
    Ok(())
}

fn steps(node: &Node, wanted: &NodePatch) -> Result<Steps, CallFault> {
    let spec = node.spec.clone().unwrap_or_default();
    let mut steps = Steps::of(uid(node));
    if let Some(id) = &wanted.provider_id
        && spec.provider_id.as_ref() != Some(id)
    {
        steps = steps
            .test(&["spec", "providerID"], spec.provider_id.as_ref())
            .add(&["spec", "providerID"], id);
    }
    if let Some(change) = &wanted.taints {
        steps = steps
            .test(&["spec", "taints"], tested(node))
            .add(&["spec", "taints"], changed_taints(node, change)?);
    }
    if let Some(unschedulable) = wanted.unschedulable {
        steps = steps.add(&["spec", "unschedulable"], unschedulable);
    }
    let labels = node.metadata.labels.as_ref();
    if labels.is_none() && !wanted.labels.is_empty() {
        steps = steps.add(&["metadata", "labels"], &wanted.labels);
    } else {
        for (key, value) in &wanted.labels {
            steps = steps.add(&["metadata", "labels", key], value);
        }
    }
    let annotations = node.metadata.annotations.as_ref();
    if annotations.is_none() && !wanted.annotations.is_empty() {
        steps = steps.add(&["metadata", "annotations"], &wanted.annotations);
    } else {
        for (key, value) in &wanted.annotations {
            steps = steps.add(&["metadata", "annotations", key], value);
        }
    }
    for key in &wanted.remove_annotations {
        if annotations.is_some_and(|map| map.contains_key(key)) {
            steps = steps.remove(&["metadata", "annotations", key]);
        }
    }
    Ok(steps)
}

/// The taints as they shall be, each that stays exactly as it was, the time it was added included.
fn changed_taints(node: &Node, change: &TaintChange) -> Result<Vec<Taint>, CallFault> {
    let spec = node.spec.clone().unwrap_or_default();
    if taints(&spec) != change.from {
        return Err(CallFault::Conflict(
            "its taints changed meanwhile".to_owned(),
        ));
    }
    let raw = raw_taints(node);
    let kept_or_new = |wanted: &coordinator_core::Taint| {
        let kept = raw.iter().find(|old| taint(old) == *wanted);
        kept.cloned().unwrap_or_else(|| Taint {
            key: wanted.key.clone(),
            value: (!wanted.value.is_empty()).then(|| wanted.value.clone()),
            effect: wanted.effect.clone(),
            time_added: None,
        })
    };
    Ok(change.to.iter().map(kept_or_new).collect())
}

async fn read(writer: &Writer, name: &str) -> Result<Node, CallFault> {
    call(writer.shared.cluster.nodes().get(name)).await
}

async fn patch(writer: &Writer, name: &str, steps: Steps) -> Result<(), CallFault> {
    writer.may_write(ApiWrite::CoreNode)?;
    let patch: Patch<Value> = steps.finish();
    let api = writer.shared.cluster.nodes();
    call(api.patch(name, &PatchParams::default(), &patch))
        .await
        .map(drop)
}

/// Takes the condition Suspended off.
async fn resume(writer: &Writer, node: &Node) -> Result<(), CallFault> {
    let clear = json!({"type": SUSPENDED, "$patch": "delete"});
    patch_condition(writer, node, clear).await
}

async fn patch_condition(writer: &Writer, node: &Node, condition: Value) -> Result<(), CallFault> {
    writer.may_write(ApiWrite::CoreNode)?;
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let patch = Patch::Strategic(json!({
        "metadata": {"uid": uid(node)},
        "status": {"conditions": [condition]},
    }));
    let api = writer.shared.cluster.nodes();
    call(api.patch_status(name, &PatchParams::default(), &patch))
        .await
        .map(drop)
}

async fn delete(writer: &Writer, name: &str, node_uid: &str) -> Result<(), CallFault> {
    writer.may_write(ApiWrite::CoreNode)?;
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(node_uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let api = writer.shared.cluster.nodes();
    match call(api.delete(name, &parameters)).await {
        // Gone, or another object by now: either way the one that was meant does not exist any more.
        Ok(_) | Err(CallFault::NotFound | CallFault::Conflict(_)) => Ok(()),
        Err(fault) => Err(fault),
    }
}

fn our_taint() -> Taint {
    Taint {
        key: POWER_OFF_TAINT.to_owned(),
        value: None,
        effect: "NoSchedule".to_owned(),
        time_added: None,
    }
}

fn is_fenced(node: &Node) -> bool {
    let cordoned = node
        .spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true));
    cordoned
        && raw_taints(node)
            .iter()
            .any(|taint| taint.key == POWER_OFF_TAINT)
}

fn has_condition(node: &Node) -> bool {
    node.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == SUSPENDED)
}

fn raw_taints(node: &Node) -> &[Taint] {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default()
}

/// What a patch must find: nothing at all where there is no taint.
fn tested(node: &Node) -> Option<&[Taint]> {
    Some(raw_taints(node)).filter(|taints| !taints.is_empty())
}

fn uid(node: &Node) -> &str {
    node.metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests;
