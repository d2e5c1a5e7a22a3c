//! A core Node, cut down to what decisions need.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator_core::{NodeSeen, ProviderScheme, Taint};
use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, NodeSpec, Taint as CoreTaint},
    apimachinery::pkg::api::resource::Quantity,
};

/// Condition of a Node whose machine we switched off and whose object we keep.
pub(crate) const SUSPENDED: &str = "Suspended";
/// Annotations of one Node longer than this are somebody's data, not ours to carry around.
const MAX_ANNOTATION: usize = 8192;

/// What of a Node is kept.
#[must_use]
pub fn node_seen(node: Node) -> NodeSeen {
    let spec = node.spec.unwrap_or_default();
    let status = node.status.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    NodeSeen {
        name: node.metadata.name.unwrap_or_default(),
        uid: node.metadata.uid.unwrap_or_default(),
        provider_id: spec.provider_id.clone().unwrap_or_default(),
        ready: is_true(&conditions, "Ready"),
        suspended: is_true(&conditions, SUSPENDED),
        unschedulable: spec.unschedulable.unwrap_or(false),
        boot_id: status
            .node_info
            .map(|info| info.boot_id)
            .unwrap_or_default(),
        labels: Arc::new(node.metadata.labels.unwrap_or_default()),
        annotations: node
            .metadata
            .annotations
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, value)| value.len() <= MAX_ANNOTATION)
            .collect(),
        taints: taints(&spec),
        capacity: Arc::new(amounts(status.capacity)),
        allocatable: Arc::new(amounts(status.allocatable)),
    }
}

/// The taints of a Node as the core writes them.
pub(crate) fn taints(spec: &NodeSpec) -> Vec<Taint> {
    spec.taints.iter().flatten().map(taint).collect()
}

/// One taint as the core writes it: the time it was added is left out.
pub(crate) fn taint(taint: &CoreTaint) -> Taint {
    Taint {
        key: taint.key.clone(),
        value: taint.value.clone().unwrap_or_default(),
        effect: taint.effect.clone(),
    }
}

fn is_true(conditions: &[NodeCondition], name: &str) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == name && condition.status == "True")
}

fn amounts(amounts: Option<BTreeMap<String, Quantity>>) -> BTreeMap<String, String> {
    amounts
        .unwrap_or_default()
        .into_iter()
        .map(|(name, amount)| (name, amount.0))
        .collect()
}

/// How the provider ids of Nodes that we do not manage are made: a k3s cluster sets `k3s://<name>` on all of them.
#[must_use]
pub fn provider_scheme<'a>(
    others: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<ProviderScheme> {
    let mut found = None;
    for (name, provider_id) in others {
        if provider_id.is_empty() {
            continue;
        }
        if provider_id.strip_prefix("k3s://") != Some(name) {
            return Some(ProviderScheme::Homelab);
        }
        found = Some(ProviderScheme::K3s);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_cut_down_without_losing_what_counts() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "nuc1", "uid": "u1", "labels": {"a": "b"},
                "annotations": {"note": "x", "blob": "y".repeat(9000)},
                "managedFields": [{"manager": "kubelet"}]},
            "spec": {"providerID": "k3s://nuc1", "unschedulable": true,
                "taints": [{"key": "t", "effect": "NoExecute", "timeAdded": "2026-11-21T10:00:00Z"}]},
            "status": {
                "conditions": [
                    {"type": "Ready", "status": "True"}, {"type": "Suspended", "status": "False"}],
                "capacity": {"cpu": "4"}, "allocatable": {"cpu": "3900m"},
                "nodeInfo": {"bootID": "b1", "architecture": "", "containerRuntimeVersion": "", "kernelVersion": "",
                    "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "",
                    "osImage": "", "systemUUID": ""}},
        }))
        .unwrap();
        let seen = node_seen(node);
        assert_eq!((seen.name.as_str(), seen.uid.as_str()), ("nuc1", "u1"));
        assert!(seen.ready && !seen.suspended && seen.unschedulable);
        assert_eq!(
            (seen.provider_id.as_str(), seen.boot_id.as_str()),
            ("k3s://nuc1", "b1")
        );
        let taint = Taint {
            key: "t".into(),
            value: String::new(),
            effect: "NoExecute".into(),
        };
        assert_eq!(seen.taints, [taint]);
        assert_eq!(seen.annotations.keys().collect::<Vec<_>>(), ["note"]);
        assert_eq!(
            (&*seen.capacity["cpu"], &*seen.allocatable["cpu"]),
            ("4", "3900m")
        );
    }

    #[test]
    fn a_bare_node_is_neither_ready_nor_anything_else() {
        assert_eq!(node_seen(Node::default()), NodeSeen::default());
    }

    #[test]
    fn the_scheme_of_provider_ids_is_read_from_the_other_nodes() {
        use ProviderScheme::{Homelab, K3s};
        for (others, expected) in [
            (vec![], None),
            (vec![("a", "")], None),
            (vec![("a", "k3s://a"), ("b", "")], Some(K3s)),
            (vec![("a", "k3s://a"), ("b", "kind://x/b")], Some(Homelab)),
            (vec![("a", "k3s://other")], Some(Homelab)),
        ] {
            assert_eq!(provider_scheme(others.clone()), expected, "{others:?}");
        }
    }
}
