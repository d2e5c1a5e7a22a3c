//! What becomes of jobs that fail.

use std::collections::BTreeMap;

use super::{
    super::fake_api::objects::{holding, undoing},
    *,
};
use crate::{engine, inputs::kubernetes::FINALIZER, mandate::Mandate};
use serde_json::json;

const OURS: &str = "/apis/homelab-autoscaler.dev/v1alpha1/namespaces/lab/homelabnodes/nuc1";

fn desk(writer: Writer) -> Desk {
    let (handle, _seat) = engine::open(Mandate::standing());
    Desk {
        writer,
        facts: handle.facts.clone(),
        view: handle.view.clone(),
        events: tokio::sync::Mutex::default(),
        described: Described::default(),
        postponed: Postponed::default(),
    }
}

/// A desk whose server holds an object that is being deleted, which somebody else writes at the same moment, so often.
fn contested(mut left: u32) -> (Desk, super::super::fake_api::objects::Objects) {
    let object = json!({"apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Node",
        "metadata": {"namespace": "lab", "name": "nuc1", "uid": "u", "resourceVersion": "2", "finalizers": [FINALIZER]},
        "spec": {"group": "workers", "power": "AlwaysOn"}});
    let meddling =
        move |method: &http::Method, _: &str, shelf: &mut BTreeMap<String, serde_json::Value>| {
            if *method == http::Method::PATCH && left > 0 {
                left -= 1;
                let finalizers = &mut shelf.get_mut(OURS).unwrap()["metadata"]["finalizers"];
                let theirs = json!(format!("theirs/{left}"));
                finalizers.as_array_mut().unwrap().push(theirs);
            }
        };
    let (writer, objects) = holding([(OURS, object)], Box::new(meddling));
    (desk(writer), objects)
}

#[tokio::test(start_paused = true)]
async fn marks_are_taken_back_again_and_again_until_that_is_done() {
    const RACES: u32 = 20;
    let (desk, objects) = contested(RACES);
    let mut tries = 0;
    let mut job = Job::Undo {
        undo: undoing(),
        tries,
    };
    loop {
        run(&desk, job).await;
        assert_eq!(desk.postponed.due().len(), 0, "there is a pause");
        tokio::time::advance(pause(tries)).await;
        let Some(next) = desk.postponed.due().pop() else {
            break;
        };
        tries += 1;
        job = next;
    }
    assert_eq!(tries, RACES);
    let objects = objects.lock().unwrap();
    let left = objects[OURS]["metadata"]["finalizers"].as_array().unwrap();
    assert_eq!(left.len(), RACES as usize, "ours is gone, theirs stay");
    assert!(!left.contains(&json!(FINALIZER)), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_keeps_the_job_and_takes_nothing_back() {
    let (mut desk, objects) = contested(0);
    desk.writer.shared.mandate = Mandate::default();
    let job = Job::Undo {
        undo: undoing(),
        tries: 0,
    };
    run(&desk, job).await;
    tokio::time::advance(AGAIN).await;
    let kept = desk.postponed.due();
    assert!(
        matches!(kept.as_slice(), [Job::Undo { tries: 0, .. }]),
        "{kept:?}"
    );
    let objects = objects.lock().unwrap();
    assert_eq!(objects[OURS]["metadata"]["finalizers"], json!([FINALIZER]));
}

#[test]
fn pauses_grow_to_a_minute_and_stay_there() {
    let seconds = [0, 1, 2, 3, 4, 31, u32::MAX].map(|tries| pause(tries).as_secs());
    assert_eq!(seconds, [5, 10, 20, 40, 60, 60, 60]);
}
