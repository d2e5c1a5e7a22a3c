//! Marks of ours without a machine.

use super::*;
use crate::check::leftovers;

#[test]
fn marks_of_ours_without_a_machine_come_with_the_commands_that_clear_them_away() {
    let node = |metadata: Value, spec: Value| {
        let mut node = json!({"metadata": metadata, "spec": spec});
        node["metadata"]["name"] = json!("old");
        node
    };
    let taint = |key: &str| json!({"taints": [{"key": key, "effect": "NoSchedule"}], "unschedulable": true});
    let ours = "homelab-autoscaler.dev/power-off";
    let person = json!({"annotations": {"homelab-autoscaler.dev/cordoned-by-person": "true"}});
    let kept = json!({"annotations": {"homelab-autoscaler.dev/scale-down-disabled-by": "LastRelay", "cluster-autoscaler.kubernetes.io/scale-down-disabled": "true"}});
    for (node, line) in [
        (
            node(json!({}), taint("mine")),
            "ok    leftovers    no mark of ours on a Node without a machine",
        ),
        (
            node(
                json!({"labels": {"homelab-autoscaler.dev/gpu": "x"}}),
                json!({}),
            ),
            "ok    leftovers *",
        ),
        (
            node(json!({}), taint(ours)),
            "fail  leftovers    Node old belongs to no machine and has taint homelab-autoscaler.dev/power-off; our cordon → declare its machine, or `kubectl taint node old homelab-autoscaler.dev/power-off-` and `kubectl uncordon old`",
        ),
        (
            node(person, taint(ours)),
            "fail  leftovers    Node old * → declare its machine, or `kubectl taint node old homelab-autoscaler.dev/power-off-` and `kubectl annotate node old homelab-autoscaler.dev/cordoned-by-person-`",
        ),
        (
            node(
                json!({}),
                taint("startup-taint.cluster-autoscaler.kubernetes.io/homelab-autoscaler"),
            ),
            "fail  leftovers    Node old belongs to no machine and has taint startup-taint*",
        ),
        (
            node(kept, json!({})),
            "warn  leftovers    Node old * → *`kubectl annotate node old homelab-autoscaler.dev/scale-down-disabled-by- cluster-autoscaler.kubernetes.io/scale-down-disabled-`",
        ),
        (
            node(
                json!({"labels": {"homelab-autoscaler.dev/group": "workers"}}),
                json!({}),
            ),
            "warn  leftovers    Node old *`kubectl label node old homelab-autoscaler.dev/group-`",
        ),
    ] {
        let nodes: Vec<CoreNode> = from_value(json!([node])).unwrap();
        assert_lines(line, &leftovers::judge(&lab(&[]), &nodes), &[line]);
        let declared = lab(&[("nuc1", json!({"nodeName": "old"}), proven())]);
        assert_lines(
            "declared",
            &leftovers::judge(&declared, &nodes),
            &["ok    leftovers *"],
        );
    }
}

#[test]
fn an_object_that_cannot_be_deleted_is_told_once_it_has_waited() {
    for (deleted_at, finalizer, line) in [
        (
            "2026-11-21T13:46:00Z",
            "homelab-autoscaler.dev/node-taint",
            "fail  leftovers    homelabnode nuc1 is being deleted for 20m and keeps its finalizer → *`kubectl -n lab patch hn nuc1 *`",
        ),
        (
            "2026-11-21T14:05:50Z",
            "homelab-autoscaler.dev/node-taint",
            "ok    leftovers *",
        ),
        (
            "2026-11-21T13:46:00Z",
            "somebody.else/s",
            "ok    leftovers *",
        ),
    ] {
        let mut lab = lab(&[("nuc1", json!({}), proven())]);
        lab.nodes[0].metadata.deletion_timestamp = Some(from_value(json!(deleted_at)).unwrap());
        lab.nodes[0].metadata.finalizers = Some(vec![finalizer.to_owned()]);
        assert_lines(line, &leftovers::judge(&lab, &[]), &[line]);
    }
}
