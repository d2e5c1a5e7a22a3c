//! Options of a group that replace the autoscaler's defaults.
//! Holds: every field of the answer starts from the defaults in the request: the autoscaler reads a missing one as zero,
//! and a zero provision time would remove machines while they boot.

use coordinator_core::{GroupView, ScaleDown};
use prost_types::Duration;
use proto_autoscaler::{NodeGroupAutoscalingOptions, NodeGroupAutoscalingOptionsResponse};
use tonic::Status;

/// The defaults with the group's overrides; Unimplemented where nothing is overridden, so that the autoscaler's own count.
pub(super) fn answer(
    group: &GroupView,
    defaults: Option<NodeGroupAutoscalingOptions>,
) -> Result<NodeGroupAutoscalingOptionsResponse, Status> {
    let Some(overrides) = &group.scale_down else {
        return Err(Status::unimplemented("no options are overridden"));
    };
    let Some(defaults) = defaults else {
        return Err(Status::unimplemented(
            "options need the autoscaler's defaults to start from",
        ));
    };
    Ok(NodeGroupAutoscalingOptionsResponse {
        node_group_autoscaling_options: Some(overlaid(defaults, overrides)),
    })
}

fn overlaid(
    defaults: NodeGroupAutoscalingOptions,
    overrides: &ScaleDown,
) -> NodeGroupAutoscalingOptions {
    let ScaleDown {
        utilization_threshold,
        gpu_utilization_threshold,
        unneeded_ms,
        unready_ms,
        max_provision_ms,
    } = overrides;
    NodeGroupAutoscalingOptions {
        scale_down_utilization_threshold: utilization_threshold
            .unwrap_or(defaults.scale_down_utilization_threshold),
        scale_down_gpu_utilization_threshold: gpu_utilization_threshold
            .unwrap_or(defaults.scale_down_gpu_utilization_threshold),
        scale_down_unneeded_duration: unneeded_ms
            .map(duration)
            .or(defaults.scale_down_unneeded_duration),
        scale_down_unready_duration: unready_ms
            .map(duration)
            .or(defaults.scale_down_unready_duration),
        max_node_provision_duration: max_provision_ms
            .map(duration)
            .or(defaults.max_node_provision_duration),
        zero_or_max_node_scaling: defaults.zero_or_max_node_scaling,
        ignore_daemon_sets_utilization: defaults.ignore_daemon_sets_utilization,
    }
}

fn duration(ms: u64) -> Duration {
    Duration {
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ms % 1_000 * 1_000_000).unwrap_or(0),
    }
}
