//! Calls that write, each one counted, timed and made only by a leader.
//!
//! Holds: nothing is written once the mandate has ended; an answer updates the mirror before anybody else acts on it.

use std::time::Duration;

use coordinator_core::{GroupId, MachineId};
use coordinator_crds::{Group, GroupStatus, Node, NodeStatus};
use kube::api::{Patch, PatchParams};
use serde_json::Value;

use super::{patch::Steps, pins::Pins};
use crate::{
    inputs::kubernetes::{CallFault, Kind, Place, Shared, call},
    metrics::ApiWrite,
};

/// A fault that tells the caller that another process leads.
fn no_mandate() -> CallFault {
    CallFault::Unsure("this process does not lead".to_owned())
}

/// What every job works with.
pub(super) struct Writer {
    pub(super) shared: Shared,
    pub(super) pins: Pins,
}

impl Writer {
    /// To be called right before every write.
    pub(super) fn may_write(&self, kind: ApiWrite) -> Result<(), CallFault> {
        if !self.shared.mandate.holds() {
            return Err(no_mandate());
        }
        self.shared.metrics.api_write(kind);
        Ok(())
    }

    /// `limit` bounds how long the API server may take; later than that nothing is written.
    pub(super) async fn patch_group(
        &self,
        id: &GroupId,
        place: &Place,
        steps: Steps,
        limit: Duration,
    ) -> Result<Option<GroupStatus>, CallFault> {
        self.may_write(ApiWrite::GroupStatus)?;
        let cluster = &self.shared.cluster;
        let patch: Patch<Value> = steps.finish();
        let at = (place.namespace.as_str(), place.name.as_str());
        let group = cluster.patch_group_status(at, &patch, limit).await?;
        Ok(self.saw_group(id, group))
    }

    pub(super) async fn read_group(
        &self,
        id: &GroupId,
    ) -> Result<(Place, Option<GroupStatus>), CallFault> {
        let (namespace, name) = split(id);
        let group = call(self.shared.cluster.groups(namespace).get(name)).await?;
        let place = Place::of(&group.metadata);
        Ok((place, self.saw_group(id, group)))
    }

    fn saw_group(&self, id: &GroupId, group: Group) -> Option<GroupStatus> {
        let place = Place::of(&group.metadata);
        self.shared
            .mirror
            .wrote_group(id, place, group.status.clone());
        group.status
    }

    pub(super) async fn patch_machine(
        &self,
        id: &MachineId,
        place: &Place,
        steps: Steps,
    ) -> Result<(), CallFault> {
        self.may_write(ApiWrite::MachineStatus)?;
        let api = self.shared.cluster.machines(&place.namespace);
        let patch: Patch<Value> = steps.finish();
        let parameters = PatchParams::default();
        let node = call(api.patch_status(&place.name, &parameters, &patch)).await?;
        if let Some(stored) = self.saw_machine(id, node) {
            self.pins.stored(id, &stored);
        }
        Ok(())
    }

    /// Reads a machine's object again, because what was seen of it may be old.
    pub(super) async fn read_machine(
        &self,
        id: &MachineId,
        place: &Place,
    ) -> Result<(Place, Option<NodeStatus>), CallFault> {
        let node = call(
            self.shared
                .cluster
                .machines(&place.namespace)
                .get(&place.name),
        )
        .await?;
        if Place::of(&node.metadata).uid != place.uid {
            return Err(CallFault::NotFound);
        }
        Ok((Place::of(&node.metadata), self.saw_machine(id, node)))
    }

    pub(super) fn saw_machine(&self, id: &MachineId, node: Node) -> Option<NodeStatus> {
        let place = Place::of(&node.metadata);
        self.shared
            .mirror
            .wrote_machine(id, place, node.status.clone());
        node.status
    }

    /// Changes the finalizers of a machine's object from what they were to what they shall be.
    pub(super) async fn set_finalizers(
        &self,
        place: &Place,
        finalizers: &[String],
    ) -> Result<Node, CallFault> {
        self.may_write(ApiWrite::MachineMetadata)?;
        let before = (!place.finalizers.is_empty()).then_some(&place.finalizers);
        let steps = Steps::of(&place.uid).test(&["metadata", "finalizers"], before);
        let steps = if finalizers.is_empty() {
            steps.remove(&["metadata", "finalizers"])
        } else {
            steps.add(&["metadata", "finalizers"], finalizers)
        };
        let api = self.shared.cluster.machines(&place.namespace);
        let patch: Patch<Value> = steps.finish();
        call(api.patch(&place.name, &PatchParams::default(), &patch)).await
    }

    /// The counter under which a status of this kind is written.
    pub(super) fn status_write(kind: Kind) -> ApiWrite {
        match kind {
            Kind::Group => ApiWrite::GroupStatus,
            Kind::Machine => ApiWrite::MachineStatus,
        }
    }
}

/// Namespace and name of a group.
pub(super) fn split(id: &GroupId) -> (&str, &str) {
    id.as_str()
        .split_once('/')
        .unwrap_or(("default", id.as_str()))
}
