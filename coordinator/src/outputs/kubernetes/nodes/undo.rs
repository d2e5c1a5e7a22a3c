//! Our marks on the core Node of a machine that is no longer declared, taken back.
//!
//! In: the object of ours that is being deleted. Out: a Node without our marks, then that object without our finalizer.
//! Holds: the finalizer comes off last. Every try reads both objects again, and touches no Node on behalf of an object that
//! is gone, whose name may be another's by then.

use coordinator_core::{
    CORDONED_BY_PERSON, POWER_OFF_TAINT, SCALE_DOWN_DISABLED, SCALE_DOWN_DISABLED_BY,
};
use k8s_openapi::api::core::v1::Taint;

use super::{has_condition, patch, raw_taints, read, resume, tested, uid};
use crate::{
    inputs::kubernetes::{CallFault, FINALIZER, Kind, Place, Undo, call},
    outputs::kubernetes::{patch::Steps, writer::Writer},
};

/// Takes our marks off a Node, and the finalizer off the object that they were for.
pub(in super::super) async fn undo(writer: &Writer, undo: &Undo) -> Result<(), CallFault> {
    let Some(place) = still_there(writer, &undo.place).await? else {
        return Ok(());
    };
    match clean(writer, &undo.node, undo.cordoned).await {
        // A Node that is gone has taken our marks along.
        Ok(()) | Err(CallFault::NotFound) => {}
        Err(fault) => return Err(fault),
    }
    let others = place.finalizers.iter().filter(|name| *name != FINALIZER);
    let kept: Vec<String> = others.cloned().collect();
    match writer.set_finalizers(&place, &kept).await {
        // Taken off by somebody else, and gone with it.
        Ok(_) | Err(CallFault::NotFound) => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// The object as it is now, if it is the same one and waits for us.
async fn still_there(writer: &Writer, place: &Place) -> Result<Option<Place>, CallFault> {
    // Its spec and status do not matter here, and need not decode.
    let api = writer
        .shared
        .cluster
        .untyped(Kind::Machine, &place.namespace);
    let now = match call(api.get(&place.name)).await {
        Ok(found) => Place::of(&found.metadata),
        Err(CallFault::NotFound) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let waits = now.uid == place.uid && now.finalizers.iter().any(|name| name == FINALIZER);
    Ok(waits.then_some(now))
}

async fn clean(writer: &Writer, name: &str, cordoned: bool) -> Result<(), CallFault> {
    let node = read(writer, name).await?;
    let annotations = node.metadata.annotations.as_ref();
    let carries = |key: &str| annotations.is_some_and(|map| map.contains_key(key));
    let mut steps = Steps::of(uid(&node));
    if raw_taints(&node)
        .iter()
        .any(|taint| taint.key == POWER_OFF_TAINT)
    {
        let kept: Vec<&Taint> = raw_taints(&node)
            .iter()
            .filter(|taint| taint.key != POWER_OFF_TAINT)
            .collect();
        steps = steps
            .test(&["spec", "taints"], tested(&node))
            .add(&["spec", "taints"], kept);
        if !cordoned && !carries(CORDONED_BY_PERSON) {
            steps = steps.add(&["spec", "unschedulable"], false);
        }
    }
    if has_condition(&node) {
        resume(writer, &node).await?;
    }
    let mut marks = vec![CORDONED_BY_PERSON];
    if carries(SCALE_DOWN_DISABLED_BY) {
        marks.extend([SCALE_DOWN_DISABLED, SCALE_DOWN_DISABLED_BY]);
    }
    for key in marks.into_iter().filter(|key| carries(key)) {
        steps = steps.remove(&["metadata", "annotations", key]);
    }
    if steps.changes() {
        patch(writer, name, steps).await
    } else {
        Ok(())
    }
}
