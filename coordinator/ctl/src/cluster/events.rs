//! Events about one of our objects, as the API server keeps them.
//!
//! Out: the same form that a coordinator without a cluster tells.

use k8s_openapi::api::core::v1::Event;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{Cluster, Node};
use crate::{fault::CtlFault, lab::Told};

/// Reason of the Event about a request that was not followed.
const REFUSED: &str = "RequestRefused";

impl Cluster {
    /// What was told of a machine, oldest first.
    pub(crate) async fn told(&self, node: &Node) -> Result<Vec<Told>, CtlFault> {
        let uid = node.metadata.uid.as_deref().unwrap_or_default();
        let events = self
            .events(node, &format!("involvedObject.uid={uid}"))
            .await;
        let events = events.map_err(|fault| self.explain("list events", fault))?;
        let mut told: Vec<Told> = events.iter().map(told).collect();
        told.sort_by_key(|told| told.at_ms);
        Ok(told)
    }

    /// Why the coordinator took a request away without following it, if it says so.
    pub(super) async fn refused_because(&self, node: &Node) -> Option<String> {
        let about = format!("involvedObject.name={},reason={REFUSED}", node.name_any());
        let events = self.events(node, &about).await.ok()?;
        events.into_iter().max_by_key(written_at)?.message
    }

    async fn events(&self, node: &Node, about: &str) -> kube::Result<Vec<Event>> {
        let namespace = node.namespace().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let found = events.list(&ListParams::default().fields(about)).await?;
        Ok(found.items)
    }
}

fn told(event: &Event) -> Told {
    let series = event.series.as_ref().and_then(|series| series.count);
    let count = series.or(event.count).unwrap_or(1);
    Told {
        at_ms: written_at(event),
        kind: event.involved_object.kind.clone().unwrap_or_default(),
        name: event.involved_object.name.clone().unwrap_or_default(),
        severity: event.type_.clone().unwrap_or_default(),
        reason: event.reason.clone().unwrap_or_default(),
        message: event.message.clone().unwrap_or_default(),
        count: u32::try_from(count).unwrap_or(1),
    }
}

/// Milliseconds since 1970 at which an Event was last written, in whichever of its three fields that stands.
fn written_at(event: &Event) -> i64 {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let micro = series.or(event.event_time.as_ref()).map(|time| time.0);
    let time = event.last_timestamp.as_ref().map(|time| time.0).or(micro);
    time.map_or(0, |time| time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_tells_when_it_was_last_seen_and_how_often() {
        let event = json!({
            "metadata": {"name": "e"}, "involvedObject": {"kind": "Node", "name": "nuc1"}, "type": "Warning",
            "reason": "NoRelay", "message": "Cannot wake nuc1.", "eventTime": "2026-11-21T14:02:10.000000Z",
            "series": {"count": 3, "lastObservedTime": "2026-11-21T14:03:10.000000Z"},
        });
        let told = told(&serde_json::from_value(event).unwrap());
        assert_eq!((told.at_ms, told.count), (1_795_269_790_000, 3));
        assert!(told.is_warning());
        let bare = json!({"metadata": {"name": "e"}, "involvedObject": {}});
        assert_eq!(super::told(&serde_json::from_value(bare).unwrap()).count, 1);
    }
}
