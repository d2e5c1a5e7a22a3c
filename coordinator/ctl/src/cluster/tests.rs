//! Requests as they are written into a status. The API server itself is met in the tests of the whole.

use super::*;

fn node(json: Value) -> Node {
    let mut node = json!({
        "apiVersion": "homelab-autoscaler.dev/v1alpha1",
        "kind": "Node",
        "metadata": { "name": "nuc1", "namespace": "default", "resourceVersion": "17" },
        "spec": { "group": "workers" },
    });
    if !json.is_null() {
        node["status"] = json;
    }
    serde_json::from_value(node).unwrap()
}

fn ask(id: &str) -> Ask {
    serde_json::from_value(json!({ "id": id, "verb": "PowerOff", "by": "user ann" })).unwrap()
}

#[test]
fn a_request_touches_nothing_but_ask_and_only_the_status_that_was_read() {
    let patch = ask_patch(&node(json!({ "phase": "Running" })), &ask("a"));
    assert_eq!(
        patch,
        json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": "17" },
            { "op": "add", "path": "/status/ask", "value": { "id": "a", "verb": "PowerOff", "by": "user ann" } },
        ])
    );
}

#[test]
fn a_node_that_has_no_status_yet_gets_one() {
    let patch = ask_patch(&node(Value::Null), &ask("a"));
    assert_eq!(patch[1]["path"], "/status");
    assert_eq!(patch[1]["value"]["ask"]["id"], "a");
}

#[test]
fn only_a_request_that_was_not_taken_stands_in_the_way() {
    let waiting = json!({ "ask": ask("a"), "lastAskID": "earlier" });
    assert_eq!(
        untaken(&node(waiting)).map(|ask| ask.id.as_str()),
        Some("a")
    );
    let taken = json!({ "ask": ask("a"), "lastAskID": "a" });
    assert!(untaken(&node(taken)).is_none());
    assert!(untaken(&node(Value::Null)).is_none());
}
