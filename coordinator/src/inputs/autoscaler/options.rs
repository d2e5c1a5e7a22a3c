//! Options of a group that replace the autoscaler's defaults.
//! Holds: every field of the answer starts from the defaults in the request: the autoscaler reads a missing one as zero,
//! and a zero provision time would remove machines while they boot.

use coordinator_core::{GroupView, ScaleDown};
use prost_types::Duration;
use proto_autoscaler::{
    NodeGroupAutoscalingOptions, NodeGroupAutoscalingOptionsResponse, OptionDurations,
};
use tonic::Status;

/// The defaults with the group's overrides; Unimplemented where nothing is overridden, so that the autoscaler's own count.
pub(super) fn answer(
    group: &GroupView,
    defaults: Option<NodeGroupAutoscalingOptions>,
) -> Result<NodeGroupAutoscalingOptionsResponse, Status> {
    let Some(overrides) = &group.scale_down else {
        return Err(Status::unimplemented("no options are overridden"));
    };
    let whole = defaults.and_then(|defaults| Some((defaults, defaults.durations()?)));
    let Some((defaults, durations)) = whole else {
        return Err(Status::unimplemented(
            "options need all of the autoscaler's defaults to start from",
        ));
    };
    Ok(NodeGroupAutoscalingOptionsResponse {
        node_group_autoscaling_options: Some(overlaid(defaults, durations, overrides)),
    })
}

fn overlaid(
    defaults: NodeGroupAutoscalingOptions,
    durations: OptionDurations,
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
        ..defaults
    }
    .with_durations(OptionDurations {
        unneeded: unneeded_ms.map_or(durations.unneeded, duration),
        unready: unready_ms.map_or(durations.unready, duration),
        provision: max_provision_ms.map_or(durations.provision, duration),
    })
}

fn duration(ms: u64) -> Duration {
    Duration {
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ms % 1_000 * 1_000_000).unwrap_or(0),
    }
}
