//! Events that `kubectl describe` shows.
//!
//! In: a reason and a sentence about one of our objects. Out: an Event of events.k8s.io.
//! Holds: the same sentence about the same object within six minutes is counted, not repeated.

use std::collections::HashMap;

use coordinator_core::Severity;
use coordinator_crds::API_VERSION;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use serde_json::json;

use super::writer::Writer;
use crate::{
    clock,
    inputs::kubernetes::{CallFault, Kind, Place, call},
    metrics::ApiWrite,
};

/// Name under which this program reports.
const CONTROLLER: &str = "homelab-autoscaler.dev/coordinator";
/// What an Event says is at most so many bytes.
const LONGEST_NOTE: usize = 1024;
/// Repetitions within this time are counted on the first Event.
const SERIES_MS: u64 = 360_000;

/// What is to be told.
pub(super) struct Telling<'a> {
    pub(super) kind: Kind,
    pub(super) place: &'a Place,
    pub(super) severity: Severity,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

/// What makes two tellings the same.
type Same = (String, String, String);

struct Told {
    event: String,
    namespace: String,
    count: i32,
    at_boot_ms: u64,
}

/// Remembers what was told lately.
#[derive(Default)]
pub(super) struct Events {
    told: HashMap<Same, Told>,
    counter: u64,
}

impl Events {
    pub(super) async fn tell(
        &mut self,
        writer: &Writer,
        telling: Telling<'_>,
    ) -> Result<(), CallFault> {
        let now_ms = clock::boot_ms();
        self.told
            .retain(|_, told| told.at_boot_ms.saturating_add(SERIES_MS) > now_ms);
        let same = (
            telling.place.uid.clone(),
            telling.reason.to_owned(),
            telling.message.to_owned(),
        );
        if let Some(told) = self.told.get_mut(&same) {
            told.count = told.count.saturating_add(1);
            told.at_boot_ms = now_ms;
            return repeat(writer, told).await;
        }
        self.counter += 1;
        let event = event(&telling, self.counter);
        let told = Told {
            event: event.metadata.name.clone().unwrap_or_default(),
            namespace: telling.place.namespace.clone(),
            count: 1,
            at_boot_ms: now_ms,
        };
        writer.may_write(ApiWrite::Event)?;
        let api = writer.shared.cluster.namespaced::<Event>(&told.namespace);
        call(api.create(&PostParams::default(), &event)).await?;
        self.told.insert(same, told);
        Ok(())
    }
}

async fn repeat(writer: &Writer, told: &Told) -> Result<(), CallFault> {
    let series = EventSeries {
        count: told.count,
        last_observed_time: now(),
    };
    writer.may_write(ApiWrite::Event)?;
    let api = writer.shared.cluster.namespaced::<Event>(&told.namespace);
    let patch = Patch::Merge(json!({"series": series}));
    call(api.patch(&told.event, &PatchParams::default(), &patch))
        .await
        .map(drop)
}

fn event(telling: &Telling<'_>, counter: u64) -> Event {
    let place = telling.place;
    let wall_ms = clock::now().wall_ms;
    Event {
        metadata: ObjectMeta {
            // Unique as long as one process does not report twice at one moment.
            name: Some(format!("{}.{wall_ms:x}.{counter:x}", place.name)),
            namespace: Some(place.namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some(telling.reason.to_owned()),
        event_time: Some(now()),
        note: Some(cut(telling.message)),
        reason: Some(telling.reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(telling.kind.as_str().to_owned()),
            name: Some(place.name.clone()),
            namespace: Some(place.namespace.clone()),
            uid: Some(place.uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some("homelab-coordinator".to_owned()),
        type_: Some(
            match telling.severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            }
            .to_owned(),
        ),
        ..Event::default()
    }
}

fn now() -> MicroTime {
    MicroTime(coordinator_crds::time::from_unix_ms(clock::now().wall_ms).0)
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(LONGEST_NOTE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_our_object_and_fits() {
        let place = Place {
            namespace: "lab".into(),
            name: "nuc1".into(),
            uid: "u1".into(),
            ..Place::default()
        };
        let message = "é".repeat(600);
        let event = event(
            &Telling {
                kind: Kind::Machine,
                place: &place,
                severity: Severity::Warning,
                reason: "BootTimeout",
                message: &message,
            },
            1,
        );
        let regarding = event.regarding.unwrap();
        assert_eq!(regarding.kind.as_deref(), Some("Node"));
        assert_eq!(
            regarding.api_version.as_deref(),
            Some("homelab-autoscaler.dev/v1alpha1")
        );
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.note.unwrap().len(), 1024);
    }
}
