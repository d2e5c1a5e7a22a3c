//! The patches that core Nodes get.

use std::collections::BTreeMap;

use serde_json::{from_value, json};

use super::*;

fn node(spec: Value) -> Node {
    from_value(json!({"metadata": {"name": "n", "uid": "u"}, "spec": spec})).unwrap()
}

fn core_taint(key: &str, effect: &str) -> coordinator_core::Taint {
    coordinator_core::Taint {
        key: key.into(),
        value: String::new(),
        effect: effect.into(),
    }
}

#[test]
fn taints_that_stay_keep_the_time_they_were_added() {
    let at = "2026-11-21T10:00:00Z";
    let seen = node(json!({"taints": [
        {"key": "slow", "effect": "NoExecute", "timeAdded": at},
        {"key": POWER_OFF, "effect": "NoSchedule"},
    ]}));
    let patch = NodePatch {
        taints: Some(TaintChange {
            from: vec![
                core_taint("slow", "NoExecute"),
                core_taint(POWER_OFF, "NoSchedule"),
            ],
            to: vec![
                core_taint("slow", "NoExecute"),
                core_taint("mine", "NoSchedule"),
            ],
        }),
        unschedulable: Some(false),
        ..NodePatch::default()
    };
    let steps = steps(&seen, &patch).unwrap().as_json();
    assert_eq!(steps[1]["op"], "test");
    assert_eq!(steps[1]["value"][0]["timeAdded"], at);
    assert_eq!(
        steps[2],
        json!({"op": "add", "path": "/spec/taints", "value": [
            {"key": "slow", "effect": "NoExecute", "timeAdded": at},
            {"key": "mine", "effect": "NoSchedule"},
        ]})
    );
    assert_eq!(
        steps[3],
        json!({"op": "add", "path": "/spec/unschedulable", "value": false})
    );
}

#[test]
fn taints_that_somebody_changed_meanwhile_are_left_alone() {
    let patch = NodePatch {
        taints: Some(TaintChange {
            from: Vec::new(),
            to: vec![core_taint("mine", "NoSchedule")],
        }),
        ..NodePatch::default()
    };
    let seen = node(json!({"taints": [{"key": "new", "effect": "NoSchedule"}]}));
    assert!(matches!(steps(&seen, &patch), Err(CallFault::Conflict(_))));
}

#[test]
fn a_bare_node_gets_its_maps_whole_and_its_provider_id_only_where_there_is_none() {
    let patch = NodePatch {
        provider_id: Some("homelab://lab/n".into()),
        labels: BTreeMap::from([("a/b".into(), "c".into())]),
        remove_annotations: vec!["never-there".into()],
        ..NodePatch::default()
    };
    assert_eq!(
        steps(&node(json!({})), &patch).unwrap().as_json(),
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "test", "path": "/spec/providerID", "value": null},
            {"op": "add", "path": "/spec/providerID", "value": "homelab://lab/n"},
            {"op": "add", "path": "/metadata/labels", "value": {"a/b": "c"}},
        ])
    );
}

#[test]
fn a_node_is_fenced_only_with_taint_and_cordon() {
    let taints = json!([{"key": POWER_OFF, "effect": "NoSchedule"}]);
    for (spec, expected) in [
        (json!({}), false),
        (json!({"unschedulable": true}), false),
        (json!({"taints": taints}), false),
        (json!({"taints": taints, "unschedulable": true}), true),
    ] {
        assert_eq!(is_fenced(&node(spec.clone())), expected, "{spec}");
    }
}

#[test]
fn a_persons_cordon_is_remembered_on_the_node_in_the_write_that_fences_it() {
    let cordoned = json!({"unschedulable": true});
    let bare = fencing(&node(cordoned.clone()), Cordon::Persons).as_json();
    let mark = json!({"op": "add", "path": "/metadata/annotations",
        "value": {"homelab-autoscaler.dev/cordoned-by-person": "true"}});
    assert_eq!(bare[4], mark);
    let mut annotated = node(cordoned);
    annotated.metadata.annotations = Some(BTreeMap::from([("note".into(), "kept".into())]));
    let steps = fencing(&annotated, Cordon::Persons).as_json();
    assert_eq!(
        steps[4]["path"],
        "/metadata/annotations/homelab-autoscaler.dev~1cordoned-by-person"
    );
    assert_eq!(fencing(&annotated, Cordon::Ours).as_json().get(4), None);
}
