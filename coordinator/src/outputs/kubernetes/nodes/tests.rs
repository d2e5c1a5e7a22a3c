//! The patches that core Nodes get.

use std::collections::BTreeMap;

use serde_json::{from_value, json};

use super::{
    super::fake_api::objects::{Meddling, Objects, holding, touch, undoing},
    *,
};

const NODE: &str = "/api/v1/nodes/n";
const OURS: &str = "/apis/homelab-autoscaler.dev/v1alpha1/namespaces/lab/homelabnodes/nuc1";

/// A machine's object with these finalizers, and its Node with these taints.
fn shelf(finalizers: Value, taints: Value, meddling: Meddling) -> (Writer, Objects) {
    let ours = json!({
        "apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Node",
        "metadata": {"namespace": "lab", "name": "nuc1", "uid": "u", "resourceVersion": "2", "finalizers": finalizers},
        "spec": {"group": "workers", "power": "AlwaysOn"}});
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n", "uid": "un", "resourceVersion": "1"},
        "spec": {"unschedulable": true, "taints": taints}});
    holding([(OURS, ours), (NODE, node)], meddling)
}

/// Somebody puts another taint on the Node right before each of the first so many patches of it.
fn rivals(mut left: u32) -> Meddling {
    Box::new(move |method, path, shelf| {
        if *method == http::Method::PATCH && path == NODE && left > 0 {
            left -= 1;
            let node = shelf.get_mut(NODE).unwrap();
            let taint = json!({"key": format!("rival-{left}"), "effect": "NoSchedule"});
            node["spec"]["taints"].as_array_mut().unwrap().push(taint);
            touch(node);
        }
    })
}

fn keys(objects: &Objects) -> Vec<String> {
    let objects = objects.lock().unwrap();
    let taints = objects[NODE]["spec"]["taints"].as_array().unwrap();
    let key = |taint: &Value| taint["key"].as_str().unwrap().to_owned();
    taints.iter().map(key).collect()
}

fn slow() -> Value {
    json!([{"key": "slow", "effect": "NoSchedule"}])
}

fn ours() -> Value {
    json!([{"key": "slow", "effect": "NoSchedule"}, {"key": POWER_OFF_TAINT, "effect": "NoSchedule"}])
}

#[tokio::test]
async fn a_node_is_fenced_although_others_write_it_at_the_same_moment() {
    for (races, fenced) in [(0, true), (2, true), (3, false)] {
        let (writer, objects) = shelf(Value::Null, slow(), rivals(races));
        writer.knows_machine(coordinator_crds::NodeStatus::default());
        let machine = MachineId::new("nuc1");
        let outcome = fence(&writer, &machine, "n", Cordon::Ours).await;
        assert_eq!(outcome.is_ok(), fenced, "{races} races: {outcome:?}");
        let keys = keys(&objects);
        assert_eq!(
            keys.iter().any(|key| key == POWER_OFF_TAINT),
            fenced,
            "{keys:?}"
        );
        let rivals = keys.iter().filter(|key| key.starts_with("rival-"));
        assert_eq!(rivals.count(), races as usize, "nobody's taint is lost");
    }
}

#[tokio::test]
async fn a_node_is_fenced_although_its_machine_has_changed_unseen() {
    let (writer, objects) = shelf(json!(["theirs/first"]), slow(), rivals(0));
    writer.knows_machine(coordinator_crds::NodeStatus::default());
    let machine = MachineId::new("nuc1");
    fence(&writer, &machine, "n", Cordon::Ours).await.unwrap();
    assert_eq!(keys(&objects), ["slow", POWER_OFF_TAINT]);
    let finalizers = json!(["theirs/first", FINALIZER]);
    let objects = objects.lock().unwrap();
    assert_eq!(objects[OURS]["metadata"]["finalizers"], finalizers);
}

#[tokio::test]
async fn a_node_that_is_gone_is_not_fenced_again() {
    let goes = Box::new(
        |method: &http::Method, _: &str, shelf: &mut BTreeMap<String, Value>| {
            if *method == http::Method::GET {
                shelf.remove(NODE);
            }
        },
    );
    let (writer, _) = shelf(Value::Null, ours(), goes);
    writer.knows_machine(coordinator_crds::NodeStatus::default());
    let outcome = fence(&writer, &MachineId::new("nuc1"), "n", Cordon::Ours).await;
    assert!(matches!(outcome, Err(CallFault::NotFound)), "{outcome:?}");
}

#[tokio::test]
async fn marks_are_taken_back_from_what_is_there_now_and_the_finalizer_goes_last() {
    let finalizers = json!(["theirs/first", FINALIZER]);
    let (writer, objects) = shelf(finalizers, ours(), rivals(1));
    let raced = undo(&writer, &undoing()).await;
    assert!(
        matches!(raced, Err(CallFault::Unprocessable(_))),
        "{raced:?}"
    );
    let waiting = json!(["theirs/first", FINALIZER]);
    assert_eq!(
        objects.lock().unwrap()[OURS]["metadata"]["finalizers"],
        waiting
    );
    undo(&writer, &undoing()).await.unwrap();
    assert_eq!(keys(&objects), ["slow", "rival-0"]);
    let objects = objects.lock().unwrap();
    assert_eq!(objects[NODE]["spec"]["unschedulable"], false);
    // What others had put there after the deletion was seen stays.
    assert_eq!(
        objects[OURS]["metadata"]["finalizers"],
        json!(["theirs/first"])
    );
}

#[tokio::test]
async fn a_node_that_goes_meanwhile_has_nothing_left_to_undo() {
    let goes = Box::new(
        |method: &http::Method, path: &str, shelf: &mut BTreeMap<String, Value>| {
            if *method == http::Method::PATCH && path == NODE {
                shelf.remove(NODE);
            }
        },
    );
    let (writer, objects) = shelf(json!([FINALIZER]), ours(), goes);
    undo(&writer, &undoing()).await.unwrap();
    assert_eq!(
        objects.lock().unwrap()[OURS]["metadata"].get("finalizers"),
        None
    );
}

#[tokio::test]
async fn no_node_is_touched_for_an_object_that_was_made_anew() {
    let (writer, objects) = shelf(json!([FINALIZER]), ours(), rivals(0));
    objects.lock().unwrap().get_mut(OURS).unwrap()["metadata"]["uid"] = json!("another");
    undo(&writer, &undoing()).await.unwrap();
    assert_eq!(keys(&objects), ["slow", POWER_OFF_TAINT]);
}

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
        {"key": POWER_OFF_TAINT, "effect": "NoSchedule"},
    ]}));
    let patch = NodePatch {
        taints: Some(TaintChange {
            from: vec![
                core_taint("slow", "NoExecute"),
                core_taint(POWER_OFF_TAINT, "NoSchedule"),
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
    let taints = json!([{"key": POWER_OFF_TAINT, "effect": "NoSchedule"}]);
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
