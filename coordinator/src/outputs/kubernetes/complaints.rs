//! What people must read that the core does not tell: objects that cannot be used, requests that were refused.
//!
//! In: complaints of the watches. Out: conditions and Events; a refused request is taken off its object.

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
    inputs::kubernetes::{CallFault, Complaint, Kind, Place, call},
    outputs::log_line,
};

/// Reason of the Event about a request that was not carried out.
const REFUSED: &str = "RequestRefused";

/// A complaint as a line in the log.
pub(super) fn log(complaint: &Complaint) {
    let (kind, name, reason, message) = match complaint {
        Complaint::Findings {
            kind,
            place,
            findings,
        } => match worst(findings) {
            Some(found) => (kind.as_str(), &*place.name, &*found.reason, &*found.message),
            None => return,
        },
        Complaint::AskRejected {
            machine, message, ..
        } => (
            Kind::Machine.as_str(),
            machine.as_str(),
            REFUSED,
            &**message,
        ),
    };
    log_line(Severity::Warning, (kind, name), reason, message);
}

/// Writes a complaint where people look.
pub(super) async fn write(
    writer: &Writer,
    events: &mut Events,
    complaint: &Complaint,
) -> Result<(), CallFault> {
    match complaint {
        Complaint::Findings {
            kind,
            place,
            findings,
        } => onto_object(writer, events, (*kind, place), findings).await,
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

/// Writes conditions onto an object that the core is not told about.
async fn onto_object(
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
