//! Which pods stand in the way of a stop.
//!
//! Out: every pod on a Node that would be lost with it, and whether anybody would bring it back.
//! Holds: the list is consistent: it shows every pod that was bound before it was asked for.
//! Not here: how they are asked to leave (`evictions`).

use coordinator_core::{PodRef, PodSeen, PodStanding};
use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::api::ListParams;

use crate::inputs::kubernetes::{CallFault, Cluster, call};

/// The kubelet's own copy of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What people mark a pod with that shall not be moved to save power; ours are.
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// Pods on a Node that neither belong to it nor have ended.
pub(super) async fn in_the_way(cluster: &Cluster, node: &str) -> Result<Vec<PodSeen>, CallFault> {
    // No resourceVersion: the API server answers from etcd's newest state.
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = call(cluster.all::<Pod>().list(&on_node)).await?;
    Ok(pods.items.iter().filter_map(seen).collect())
}

/// What a stop has to know of a pod; nothing where it may go down with its Node.
pub(super) fn seen(pod: &Pod) -> Option<PodSeen> {
    if has_ended(pod) || belongs_to_its_node(&pod.metadata) {
        return None;
    }
    let standing = if pod.metadata.deletion_timestamp.is_some() {
        PodStanding::Ending
    } else if annotation(&pod.metadata, SAFE_TO_EVICT) == Some("false") {
        PodStanding::NotSafe
    } else if controller(&pod.metadata).is_some() {
        PodStanding::Controlled
    } else {
        PodStanding::Bare
    };
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    Some(PodSeen {
        pod: PodRef {
            namespace: text(&pod.metadata.namespace),
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
        },
        standing,
    })
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// DaemonSets and static pods come and go with their Node.
fn belongs_to_its_node(pod: &ObjectMeta) -> bool {
    annotation(pod, MIRROR).is_some()
        || controller(pod).is_some_and(|owner| owner.kind == "DaemonSet")
}

fn annotation<'a>(pod: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    let annotations = pod.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

fn controller(pod: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = pod.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn owner(kind: &str, controller: bool) -> Value {
        json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "u", "controller": controller}]})
    }

    fn standing(metadata: Value, status: Value) -> Option<PodStanding> {
        let pod = json!({"metadata": metadata, "status": status});
        seen(&serde_json::from_value(pod).unwrap()).map(|seen| seen.standing)
    }

    #[test]
    fn only_pods_of_daemon_sets_and_static_pods_belong_to_a_node() {
        for (metadata, expected) in [
            (json!({}), Some(PodStanding::Bare)),
            (owner("DaemonSet", true), None),
            (owner("DaemonSet", false), Some(PodStanding::Bare)),
            (owner("ReplicaSet", true), Some(PodStanding::Controlled)),
            (json!({"annotations": {MIRROR: "h"}}), None),
            (
                json!({"annotations": {"other": "h"}}),
                Some(PodStanding::Bare),
            ),
        ] {
            assert_eq!(
                standing(metadata.clone(), json!({"phase": "Running"})),
                expected,
                "{metadata}"
            );
        }
    }

    #[test]
    fn what_has_ended_is_in_nobodys_way_and_what_ends_is_told_apart() {
        for (phase, expected) in [
            ("Succeeded", None),
            ("Failed", None),
            ("Pending", Some(PodStanding::Controlled)),
            ("Running", Some(PodStanding::Controlled)),
            ("Unknown", Some(PodStanding::Controlled)),
        ] {
            let metadata = owner("Job", true);
            assert_eq!(
                standing(metadata, json!({"phase": phase})),
                expected,
                "{phase}"
            );
        }
        for (value, expected) in [
            ("false", PodStanding::NotSafe),
            ("true", PodStanding::Controlled),
        ] {
            let mut marked = owner("ReplicaSet", true);
            marked["annotations"] = json!({SAFE_TO_EVICT: value});
            assert_eq!(standing(marked, json!({})), Some(expected), "{value}");
        }
        let mut ending = owner("ReplicaSet", true);
        ending["deletionTimestamp"] = json!("2026-11-22T10:00:00Z");
        assert_eq!(standing(ending, json!({})), Some(PodStanding::Ending));
    }
}
