//! The template of a group as the bytes of a core/v1 Node.
//! Holds: the bytes are never empty, because empty ones crash the autoscaler; no provider id, nothing of one machine.

use std::collections::BTreeMap;

use coordinator_core::{GroupView, Template};
use proto_autoscaler::NodeGroupTemplateNodeInfoResponse;
use proto_autoscaler::core_v1::{
    Node, NodeCondition, NodeSpec, NodeStatus, ObjectMeta, Quantity, Taint,
};
use tonic::Status;

/// The template, or Unimplemented where nobody knows what a machine of the group would bring.
pub(super) fn answer(group: &GroupView) -> Result<NodeGroupTemplateNodeInfoResponse, Status> {
    let Some(template) = &group.template else {
        return Err(Status::unimplemented(format!(
            "no machine of group {} has ever joined, and it declares no template",
            group.id
        )));
    };
    Ok(NodeGroupTemplateNodeInfoResponse::of(&node(template)))
}

fn node(template: &Template) -> Node {
    let taints = template.taints.iter().map(|taint| Taint {
        key: taint.key.clone(),
        value: taint.value.clone(),
        effect: taint.effect.clone(),
    });
    Node {
        metadata: Some(ObjectMeta {
            labels: template.labels.clone(),
            ..ObjectMeta::default()
        }),
        spec: Some(NodeSpec {
            taints: taints.collect(),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            capacity: quantities(&template.capacity),
            allocatable: quantities(&template.allocatable),
            conditions: vec![NodeCondition {
                r#type: "Ready".to_owned(),
                status: "True".to_owned(),
                ..NodeCondition::default()
            }],
        }),
    }
}

fn quantities(amounts: &BTreeMap<String, String>) -> BTreeMap<String, Quantity> {
    amounts
        .iter()
        .map(|(name, amount)| {
            (
                name.clone(),
                Quantity {
                    string: amount.clone(),
                },
            )
        })
        .collect()
}
