//! The objects that a kubelet writes: Node, status, Lease.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Node},
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::{KubeletSpec, LEASES};

/// What a kubelet's Lease says about how long it is good for; the controller looks at the renewal only.
const LEASE_SECONDS: u32 = 40;

/// The labels that a kubelet sets by itself and puts right at every start.
pub(super) fn default_labels(name: &str) -> BTreeMap<&str, &str> {
    BTreeMap::from([
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ])
}

pub(super) fn node(spec: &KubeletSpec, boot_id: &str) -> Result<Node> {
    let name = spec.node_name.as_str();
    let mut labels = default_labels(name);
    let given = spec.labels.iter();
    labels.extend(given.map(|(key, value)| (key.as_str(), value.as_str())));
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"providerID": spec.provider_id, "taints": spec.taints},
        "status": status(spec, boot_id),
    });
    serde_json::from_value(node).context("build a Node")
}

pub(super) fn status(spec: &KubeletSpec, boot_id: &str) -> Value {
    let now = seconds_now();
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastHeartbeatTime": now, "lastTransitionTime": now});
    json!({
        "capacity": spec.resources,
        "allocatable": spec.resources,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
            condition("Ready", "True", "KubeletReady"),
        ],
        "addresses": [
            {"type": "InternalIP", "address": "127.0.0.1"},
            {"type": "Hostname", "address": spec.node_name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10_250}},
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": boot_id,
            "containerRuntimeVersion": "hollow://1",
            "kernelVersion": "6.1.0",
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.36.3",
            "machineID": spec.node_name,
            "operatingSystem": "linux",
            "osImage": "hollow",
            "systemUUID": spec.node_name,
        },
    })
}

pub(super) fn lease(name: &str, node_uid: &str) -> Result<Lease> {
    let mut lease = lease_renewal();
    lease["apiVersion"] = "coordination.k8s.io/v1".into();
    lease["kind"] = "Lease".into();
    lease["metadata"] = json!({
        "name": name,
        "namespace": LEASES,
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}],
    });
    lease["spec"]["holderIdentity"] = name.into();
    lease["spec"]["leaseDurationSeconds"] = LEASE_SECONDS.into();
    serde_json::from_value(lease).context("build a Lease")
}

pub(super) fn lease_renewal() -> Value {
    let now = Timestamp::now();
    json!({"spec": {"renewTime": format!("{now:.6}")}})
}

/// Now, as Kubernetes writes times in objects: to the second.
pub(super) fn seconds_now() -> String {
    format!("{:.0}", Timestamp::now())
}
