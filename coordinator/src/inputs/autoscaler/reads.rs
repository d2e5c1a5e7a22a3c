//! Answers read from one view.
//! Holds: every answer about a group comes from the same snapshot, so target and instances always agree.

use coordinator_core::{GroupId, GroupView, InstanceState, View};
use proto_autoscaler::instance_status::InstanceState as WireState;
use proto_autoscaler::{
    ExternalGrpcNode, Instance, InstanceErrorInfo, InstanceStatus, NodeGroup,
    NodeGroupForNodeResponse, NodeGroupNodesResponse, NodeGroupTargetSizeResponse,
    NodeGroupsResponse,
};
use tonic::Status;

use super::membership;

/// The autoscaler's number for "the hardware is not there".
const OUT_OF_RESOURCES: i32 = 1;
/// The autoscaler's number for every other failure.
const OTHER: i32 = 99;

/// A group that the autoscaler may know of.
pub(super) fn known<'v>(view: &'v View, id: &str) -> Result<&'v GroupView, Status> {
    if id.is_empty() {
        return Err(Status::invalid_argument("the group's id is empty"));
    }
    membership::listed_as(view, &GroupId::new(id))
        .ok_or_else(|| Status::not_found(format!("there is no group `{id}`")))
}

pub(super) fn groups(view: &View) -> NodeGroupsResponse {
    NodeGroupsResponse {
        node_groups: membership::listed(view).map(wire_group).collect(),
    }
}

/// The group of a Node, to who has listed Nodes after that moment; one with an empty id where it is in none.
pub(super) fn group_for_node(
    view: &View,
    listed_ms: u64,
    node: Option<ExternalGrpcNode>,
) -> NodeGroupForNodeResponse {
    let node = node.unwrap_or_default();
    let group = membership::group_of(view, listed_ms, &node.provider_id, &node.name);
    NodeGroupForNodeResponse {
        node_group: Some(group.map(wire_group).unwrap_or_default()),
    }
}

pub(super) fn target_size(group: &GroupView) -> NodeGroupTargetSizeResponse {
    NodeGroupTargetSizeResponse {
        target_size: number(group.target),
    }
}

pub(super) fn instances(group: &GroupView) -> NodeGroupNodesResponse {
    let instances = group.instances.iter().map(|instance| Instance {
        id: String::from(&*instance.provider_id),
        status: Some(status(&instance.state)),
    });
    NodeGroupNodesResponse {
        instances: instances.collect(),
    }
}

fn status(state: &InstanceState) -> InstanceStatus {
    let (state, error_info) = match state {
        InstanceState::Creating => (WireState::InstanceCreating, None),
        InstanceState::Failed {
            code,
            message,
            out_of_resources,
        } => {
            let error = InstanceErrorInfo {
                error_code: (*code).to_owned(),
                error_message: String::from(&**message),
                instance_error_class: if *out_of_resources {
                    OUT_OF_RESOURCES
                } else {
                    OTHER
                },
            };
            (WireState::InstanceCreating, Some(error))
        }
        InstanceState::Running => (WireState::InstanceRunning, None),
        InstanceState::Deleting => (WireState::InstanceDeleting, None),
    };
    InstanceStatus {
        instance_state: state.into(),
        error_info,
    }
}

fn wire_group(group: &GroupView) -> NodeGroup {
    NodeGroup {
        id: group.id.to_string(),
        min_size: number(group.min_size),
        max_size: number(group.max_size),
        debug: group.debug.clone(),
    }
}

fn number(machines: u32) -> i32 {
    i32::try_from(machines).unwrap_or(i32::MAX)
}
