//! Size changes as questions for the engine.
//! Holds: arguments that make no sense in any state are refused here; what depends on the state is the core's.

use coordinator_core::{GroupId, NodeRef, Request};
use coordinator_crds::group_status::MAX_MACHINES;
use proto_autoscaler::{
    NodeGroupDecreaseTargetSizeRequest, NodeGroupDeleteNodesRequest, NodeGroupIncreaseSizeRequest,
};
use tonic::Status;

pub(super) fn increase(
    asked: &NodeGroupIncreaseSizeRequest,
    looked: u64,
) -> Result<Request, Status> {
    if asked.delta <= 0 {
        return Err(Status::invalid_argument(format!(
            "delta must be positive, not {}",
            asked.delta
        )));
    }
    Ok(Request::Increase {
        group: named(&asked.id)?,
        delta: asked.delta,
        looked,
    })
}

pub(super) fn delete(asked: NodeGroupDeleteNodesRequest) -> Result<Request, Status> {
    let group = named(&asked.id)?;
    if asked.nodes.is_empty() {
        return Err(Status::invalid_argument("no node is named"));
    }
    // A group wants no more machines than its stored wish can list. The autoscaler sends one at a time.
    if asked.nodes.len() > MAX_MACHINES as usize {
        return Err(Status::invalid_argument(format!(
            "{} nodes are named, and a group has at most {MAX_MACHINES}",
            asked.nodes.len()
        )));
    }
    let nodes: Vec<_> = asked
        .nodes
        .into_iter()
        .map(|node| NodeRef {
            provider_id: node.provider_id,
            name: node.name,
        })
        .collect();
    if nodes
        .iter()
        .any(|node| node.provider_id.is_empty() && node.name.is_empty())
    {
        return Err(Status::invalid_argument(
            "a node has neither a provider id nor a name",
        ));
    }
    Ok(Request::Delete { group, nodes })
}

pub(super) fn decrease(asked: &NodeGroupDecreaseTargetSizeRequest) -> Result<Request, Status> {
    if asked.delta >= 0 {
        return Err(Status::invalid_argument(format!(
            "delta must be negative, not {}",
            asked.delta
        )));
    }
    Ok(Request::Decrease {
        group: named(&asked.id)?,
        delta: asked.delta,
    })
}

fn named(id: &str) -> Result<GroupId, Status> {
    if id.is_empty() {
        return Err(Status::invalid_argument("the group's id is empty"));
    }
    Ok(GroupId::new(id))
}
