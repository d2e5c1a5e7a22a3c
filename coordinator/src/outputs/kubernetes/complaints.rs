//! What people must read that the core does not tell: objects that cannot be used, requests that were refused.
//!
//! In: complaints of the watches. Out: conditions and Events; a refused request is taken off its object.
//! Holds: nothing is written about an object that has changed since it was found wanting.

use coordinator_core::Severity;
use coordinator_crds::{Condition, ConditionStatus};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{
    events::{Events, Telling},
    records,
    writer::Writer,
};
use crate::{
    clock,
    documents::{self, Finding},
    inputs::kubernetes::{CallFault, Complaint, Kind, Standing, call},
};

/// Reason of the Event about a request that was not carried out.
const REFUSED: &str = "RequestRefused";

/// Tells people what stands about an object, or that a request was refused. Asked again before each try, because what stood
/// about the object may be over.
pub(super) async fn write(
    writer: &Writer,
    events: &mut Events,
    complaint: &Complaint,
) -> Result<(), CallFault> {
    match complaint {
        Complaint::Object(kind, key) => match standing(writer, (*kind, key)) {
            Some(standing) => onto_object(writer, events, (*kind, &standing)).await,
            None => Ok(()),
        },
        Complaint::AskRejected {
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
    }
}

/// What stands about an object right now.
pub(super) fn standing(
    writer: &Writer,
    (kind, key): (Kind, &(String, String)),
) -> Option<Standing> {
    writer.shared.mirror.complaints().standing(kind, key)
}

/// A complaint as a line in the log.
pub(super) fn log(writer: &Writer, complaint: &Complaint) {
    let line = |kind: Kind, name: &str, reason: &str, detail: &str| {
        tracing::warn!(kind = kind.as_str(), name, reason, detail, "lab event");
    };
    match complaint {
        Complaint::Object(kind, key) => {
            let standing = standing(writer, (*kind, key));
            if let Some(found) = standing.as_ref().and_then(|s| worst(&s.findings)) {
                line(*kind, &key.1, &found.reason, &found.message);
            }
        }
        Complaint::AskRejected {
            machine, message, ..
        } => line(Kind::Machine, machine.as_str(), REFUSED, message),
    }
}

/// Writes conditions onto an object that the core is not told about, if it is still the version that they were found in.
async fn onto_object(
    writer: &Writer,
    events: &mut Events,
    (kind, Standing { place, findings }): (Kind, &Standing),
) -> Result<(), CallFault> {
    let conditions: Vec<Condition> =
        documents::refresh(&[], findings, place.generation, clock::now().wall_ms);
    let mut metadata = json!({"uid": place.uid});
    // A version that is no number was not kept.
    if place.version != 0 {
        metadata["resourceVersion"] = place.version.to_string().into();
    }
    let patch = Patch::Merge(json!({
        "metadata": metadata,
        "status": {"conditions": conditions},
    }));
    writer.may_write(Writer::status_write(kind))?;
    // The object may not decode, so its answer is taken as whatever it is.
    let api = writer.shared.cluster.untyped(kind, &place.namespace);
    call(api.patch_status(&place.name, &PatchParams::default(), &patch)).await?;
    if let Some(finding) = worst(findings) {
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

/// The finding that an Event is about.
fn worst(findings: &[Finding]) -> Option<&Finding> {
    findings
        .iter()
        .find(|finding| finding.status == ConditionStatus::True)
}

#[cfg(test)]
mod tests;
