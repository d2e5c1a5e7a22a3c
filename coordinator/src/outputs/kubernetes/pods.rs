//! Which pods stand in the way of a stop.
//!
//! Out: `namespace/name` of every pod on a Node that would be lost with it.
//! Holds: the list is consistent: it shows every pod that was bound before it was asked for.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    api::ListParams,
    core::{ObjectMeta, PartialObjectMeta},
};

use crate::inputs::kubernetes::{CallFault, Cluster, call};

/// The kubelet's own copy of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Pods on a Node that neither belong to it nor have ended.
pub(super) async fn in_the_way(cluster: &Cluster, node: &str) -> Result<Vec<String>, CallFault> {
    let ended = "status.phase!=Succeeded,status.phase!=Failed";
    // No resourceVersion: the API server answers from etcd's newest state.
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node},{ended}"));
    let pods = call(cluster.all::<Pod>().list_metadata(&on_node)).await?;
    Ok(pods
        .items
        .iter()
        .filter(|pod| !belongs_to_its_node(&pod.metadata))
        .map(name)
        .collect())
}

/// DaemonSets and static pods come and go with their Node.
fn belongs_to_its_node(pod: &ObjectMeta) -> bool {
    let of_daemon_set = pod
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.controller == Some(true) && owner.kind == "DaemonSet");
    let mirror = pod
        .annotations
        .iter()
        .any(|annotations| annotations.contains_key(MIRROR));
    of_daemon_set || mirror
}

fn name(pod: &PartialObjectMeta<Pod>) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_pods_of_daemon_sets_and_static_pods_belong_to_a_node() {
        let owner = |kind: &str, controller: bool| json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "u", "controller": controller}]});
        for (metadata, expected) in [
            (json!({}), false),
            (owner("DaemonSet", true), true),
            (owner("DaemonSet", false), false),
            (owner("ReplicaSet", true), false),
            (json!({"annotations": {MIRROR: "h"}}), true),
            (json!({"annotations": {"other": "h"}}), false),
        ] {
            let pod: ObjectMeta = serde_json::from_value(metadata.clone()).unwrap();
            assert_eq!(belongs_to_its_node(&pod), expected, "{metadata}");
        }
    }
}
