//! The model's lists of instances, one for each group.
//! In: `NodeGroupNodes`. Out: lists that may be as old as the refresher's interval.
//! Holds: a refresh that fails for a group keeps an EMPTY list of it; a list is dropped only where the loop says so, never because a
//! removal has succeeded or a request has timed out.

use std::{collections::BTreeMap, time::Duration};

use tonic::Status;

use super::{Event, EventLog, caches::Caches, state::millis};

/// An instance as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InstanceSeen {
    pub(super) id: String,
    pub(super) state: InstanceState,
    /// The error code, if there is one that counts.
    pub(super) error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstanceState {
    /// The provider sent no status.
    None,
    Running,
    Creating,
    Deleting,
}

impl InstanceSeen {
    /// Whether it cannot be created.
    pub(super) fn has_failed(&self) -> bool {
        self.state == InstanceState::Creating && self.error.is_some()
    }
}

/// Lists by group.
#[derive(Debug, Default)]
pub(super) struct Instances {
    lists: BTreeMap<String, Vec<InstanceSeen>>,
    /// When the refresher looks again; at once after a start.
    next_ms: u64,
}

impl Instances {
    /// Lists every group again if it is time to. The real refresher runs beside the loops; here it runs before one.
    pub(super) async fn refresh_if_due(
        &mut self,
        caches: &Caches,
        (now_ms, interval): (u64, Duration),
        events: &EventLog,
    ) {
        if now_ms < self.next_ms {
            return;
        }
        self.next_ms = now_ms + millis(interval);
        let groups = caches.groups().await;
        self.lists
            .retain(|id, _| groups.iter().any(|group| group.id == *id));
        for group in groups {
            let listed = match caches.provider.instances(&group.id).await {
                Ok(listed) => listed.into_iter().map(instance).collect(),
                Err(status) => {
                    let (group, why) = (group.id.clone(), status.to_string());
                    events.push(Event::InstancesForgotten { group, why });
                    Vec::new()
                }
            };
            self.lists.insert(group.id.clone(), listed);
        }
    }

    /// The instances of a group, asked for only if there is no list.
    pub(super) async fn of_group(
        &mut self,
        caches: &Caches,
        group: &str,
    ) -> Result<Vec<InstanceSeen>, Status> {
        if let Some(kept) = self.lists.get(group) {
            return Ok(kept.clone());
        }
        let listed = caches.provider.instances(group).await?;
        let listed: Vec<_> = listed.into_iter().map(instance).collect();
        self.lists.insert(group.to_owned(), listed.clone());
        Ok(listed)
    }

    /// Makes the next look at a group's instances a fresh one.
    pub(super) fn forget(&mut self, group: &str) {
        self.lists.remove(group);
    }
}

fn instance(instance: proto_autoscaler::Instance) -> InstanceSeen {
    use proto_autoscaler::instance_status::InstanceState as Wire;
    let status = instance.status.unwrap_or_default();
    let state = match status.instance_state() {
        Wire::Unspecified => InstanceState::None,
        Wire::InstanceRunning => InstanceState::Running,
        Wire::InstanceCreating => InstanceState::Creating,
        Wire::InstanceDeleting => InstanceState::Deleting,
    };
    let code = status.error_info.map(|error| error.error_code);
    InstanceSeen {
        id: instance.id,
        state,
        // An error without a code, or without a state, is read as none.
        error: code.filter(|code| !code.is_empty() && state != InstanceState::None),
    }
}
