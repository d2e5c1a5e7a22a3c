//! Which key is pinned, whoever else pins one.

use super::{
    super::fake_api::objects::{Meddling, Objects, holding, touch},
    *,
};

const COLLECTION: &str = "/api/v1/namespaces/own/configmaps";
const MAP: &str = "/api/v1/namespaces/own/configmaps/homelab-autoscaler-agents";

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"namespace": "own", "name": AGENTS, "uid": "m", "resourceVersion": "7"}})
}

fn nothing() -> Meddling {
    Box::new(|_, _, _| {})
}

fn pi() -> AgentId {
    AgentId::new("pi")
}

fn stored(objects: &Objects) -> Value {
    objects.lock().unwrap()[MAP]["data"].clone()
}

#[tokio::test]
async fn a_pinned_key_is_never_replaced() {
    for data in [json!({"coordinatorKey": "c"}), Value::Null] {
        let (writer, objects) = holding([(MAP, map(data))], nothing());
        let first = pin(&writer, &pi(), "ed25519:first").await;
        assert_eq!(first.unwrap(), Pinned::Shown);
        let again = pin(&writer, &pi(), "ed25519:first").await;
        assert_eq!(again.unwrap(), Pinned::Shown);
        let forged = pin(&writer, &pi(), "ed25519:forged").await;
        assert_eq!(forged.unwrap(), Pinned::Earlier("ed25519:first".into()));
        assert_eq!(stored(&objects)["key.pi"], "ed25519:first");
    }
}

#[tokio::test]
async fn a_key_that_another_coordinator_pins_at_the_same_moment_stands() {
    let mut left = 1;
    let rival: Meddling = Box::new(move |method, path, shelf| {
        if *method == http::Method::PATCH && path == MAP && left > 0 {
            left -= 1;
            let map = shelf.get_mut(MAP).unwrap();
            map["data"]["key.pi"] = json!("ed25519:theirs");
            touch(map);
        }
    });
    let (writer, objects) = holding([(MAP, map(json!({})))], rival);
    let raced = pin(&writer, &pi(), "ed25519:ours").await;
    assert!(
        matches!(raced, Err(CallFault::Unprocessable(_))),
        "{raced:?}"
    );
    let again = pin(&writer, &pi(), "ed25519:ours").await;
    assert_eq!(again.unwrap(), Pinned::Earlier("ed25519:theirs".into()));
    assert_eq!(stored(&objects), json!({"key.pi": "ed25519:theirs"}));
}

#[tokio::test]
async fn the_config_map_is_made_with_the_first_key_unless_somebody_is_faster() {
    let (writer, objects) = holding([], nothing());
    let made = pin(&writer, &pi(), "ed25519:first").await;
    assert_eq!(made.unwrap(), Pinned::Shown);
    assert_eq!(stored(&objects), json!({"key.pi": "ed25519:first"}));

    let rival: Meddling = Box::new(|method, path, shelf| {
        if *method == http::Method::POST && path == COLLECTION {
            let theirs = map(json!({"key.pi": "ed25519:theirs"}));
            shelf.insert(MAP.to_owned(), theirs);
        }
    });
    let (writer, objects) = holding([], rival);
    let raced = pin(&writer, &pi(), "ed25519:ours").await;
    assert!(matches!(raced, Err(CallFault::Conflict(_))), "{raced:?}");
    assert_eq!(stored(&objects), json!({"key.pi": "ed25519:theirs"}));
}

#[tokio::test]
async fn our_own_public_key_takes_the_place_of_an_old_one_and_leaves_the_pins() {
    let data = json!({"coordinatorKey": "ed25519:old", "key.pi": "ed25519:first"});
    let (writer, objects) = holding([(MAP, map(data))], nothing());
    announce(&writer, "ed25519:ours").await.unwrap();
    let expected = json!({"coordinatorKey": "ed25519:ours", "key.pi": "ed25519:first"});
    assert_eq!(stored(&objects), expected);
}
