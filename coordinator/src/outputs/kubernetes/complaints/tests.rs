//! What is written about an object that changes meanwhile.

use coordinator_crds::ConditionStatus;
use serde_json::Value;

use super::{
    super::fake_api::objects::{Meddling, Objects, holding},
    *,
};
use crate::inputs::kubernetes::Place;

const OURS: &str = "/apis/homelab-autoscaler.dev/v1alpha1/namespaces/lab/homelabnodes/odd";

fn odd() -> Value {
    json!({"apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Node", "spec": {"power": "Telepathy"},
        "metadata": {"namespace": "lab", "name": "odd", "uid": "u", "resourceVersion": "5"}})
}

fn key() -> (String, String) {
    ("lab".to_owned(), "odd".to_owned())
}

/// A server with the object, which was found wanting at that version.
fn found_at(version: u64, meddling: Meddling) -> (Writer, Objects) {
    let (writer, objects) = holding([(OURS, odd())], meddling);
    let place = Place {
        namespace: "lab".into(),
        name: "odd".into(),
        uid: "u".into(),
        version,
        ..Place::default()
    };
    let findings = documents::invalid_spec("spec.power: unknown variant");
    let complaints = writer.shared.mirror.complaints();
    assert!(complaints.found(Kind::Machine, place, &findings));
    (writer, objects)
}

async fn write_it(writer: &Writer) -> Result<(), CallFault> {
    let complaint = Complaint::Object(Kind::Machine, key());
    write(writer, &mut Events::default(), &complaint).await
}

/// The reasons of what people read about the object, and how many Events there are.
fn told(objects: &Objects) -> (Vec<String>, usize) {
    let objects = objects.lock().unwrap();
    let conditions = objects[OURS]["status"]["conditions"].as_array();
    let true_ones = conditions.into_iter().flatten().filter(|condition| {
        condition["status"] == serde_json::to_value(ConditionStatus::True).unwrap()
    });
    let reasons = true_ones.map(|condition| condition["reason"].as_str().unwrap().to_owned());
    (reasons.collect(), objects.len() - 1)
}

#[tokio::test]
async fn an_object_that_stands_as_it_was_found_is_told_so() {
    let (writer, objects) = found_at(5, Box::new(|_, _, _| {}));
    write_it(&writer).await.unwrap();
    assert_eq!(told(&objects), (vec!["Undecodable".to_owned()], 1));
}

#[tokio::test]
async fn an_object_that_was_written_meanwhile_is_left_alone() {
    let (writer, objects) = found_at(4, Box::new(|_, _, _| {}));
    let raced = write_it(&writer).await;
    assert!(matches!(raced, Err(CallFault::Conflict(_))), "{raced:?}");
    assert_eq!(told(&objects), (vec![], 0));
}

#[tokio::test]
async fn an_object_that_is_sound_again_is_left_alone() {
    let (writer, objects) = found_at(5, Box::new(|_, _, _| panic!("nothing is asked")));
    assert!(
        writer
            .shared
            .mirror
            .complaints()
            .over(Kind::Machine, &key())
    );
    write_it(&writer).await.unwrap();
    assert_eq!(told(&objects), (vec![], 0));
}
