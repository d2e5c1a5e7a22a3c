//! What the autoscaler is told about GPUs.
//! Holds: the label is our own key, so that no Node but those of our groups carries it: one outside all groups, without a GPU yet,
//! would end every scale-up of the autoscaler.
//! Not here: which Nodes get the label (`documents`): those of groups that declare a GPU.

use coordinator_core::View;
use coordinator_crds::group::GPU_LABEL;
use proto_autoscaler::{GetAvailableGpuTypesResponse, GpuLabelResponse};

use super::membership;

/// The label's key. The autoscaler asks once in its life, so it must not depend on the groups of the day.
pub(super) fn label() -> GpuLabelResponse {
    GpuLabelResponse {
        label: GPU_LABEL.to_owned(),
    }
}

/// The kinds that templates promise. Only the keys count.
pub(super) fn types(view: &View) -> GetAvailableGpuTypesResponse {
    let kinds = membership::listed(view)
        .filter_map(|group| group.template.as_ref()?.labels.get(GPU_LABEL))
        .map(|kind| (kind.clone(), prost_types::Any::default()));
    GetAvailableGpuTypesResponse {
        gpu_types: kinds.collect(),
    }
}
