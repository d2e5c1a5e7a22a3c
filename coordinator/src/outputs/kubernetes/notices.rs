//! What the watches ask for: complaints about objects, refused requests, marks to take back.
//!
//! Holds: a finalizer comes off last, after everything was undone.

use coordinator_core::Severity;
use coordinator_crds::{Condition, ConditionStatus};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{
    events::{Events, Telling},
    nodes, records,
    writer::Writer,
};
use crate::{
    clock,
    documents::{self, Finding},
    inputs::kubernetes::{CallFault, FINALIZER, Kind, Notice, Place, call},
};

/// Reason of the Event about a request that was not carried out.
const REFUSED: &str = "RequestRefused";

/// Does what a notice asks for.
pub(super) async fn act(
    writer: &Writer,
    events: &mut Events,
    notice: &Notice,
) -> Result<(), CallFault> {
    match notice {
        Notice::Findings {
            kind,
            place,
            findings,
        } => complain(writer, events, (*kind, place), findings).await,
        Notice::AskRejected {
            machine,
            id,
            message,
        } => {
            if let Some(entry) = writer.shared.mirror.machine(machine) {
                let telling = Telling {
                    kind: Kind::Machine,
                    place: &entry.place,
                    severity: Severity::Warning,
                    reason: REFUSED,
                    message,
                };
                events.tell(writer, telling).await?;
            }
            records::drop_ask(writer, machine, id).await
        }
        Notice::Undo {
            place,
            node,
            cordoned,
        } => {
            nodes::undo(writer, node, *cordoned).await?;
            let kept: Vec<String> = place
                .finalizers
                .iter()
                .filter(|name| *name != FINALIZER)
                .cloned()
                .collect();
            match writer.set_finalizers(place, &kept).await {
                // Taken off by somebody else, and gone with it.
                Ok(_) | Err(CallFault::NotFound) => Ok(()),
                Err(fault) => Err(fault),
            }
        }
    }
}

/// Writes conditions onto an object that the core is not told about.
async fn complain(
    writer: &Writer,
    events: &mut Events,
    (kind, place): (Kind, &Place),
    findings: &[Finding],
) -> Result<(), CallFault> {
    let conditions: Vec<Condition> =
        documents::refresh(&[], findings, place.generation, clock::now().wall_ms);
    let patch = Patch::Merge(json!({
        "metadata": {"uid": place.uid},
        "status": {"conditions": conditions},
    }));
    writer.may_write(Writer::status_write(kind))?;
    // The object may not decode, so its answer is taken as whatever it is.
    let api = writer.shared.cluster.untyped(kind, &place.namespace);
    call(api.patch_status(&place.name, &PatchParams::default(), &patch)).await?;
    let bad = |finding: &&Finding| finding.status == ConditionStatus::True;
    if let Some(finding) = findings.iter().find(bad) {
        let telling = Telling {
            kind,
            place,
            severity: Severity::Warning,
            reason: &finding.reason,
            message: &finding.message,
        };
        events.tell(writer, telling).await?;
    }
    Ok(())
}
