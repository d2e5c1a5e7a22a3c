//! An API server that holds a few objects, for tests: it gives them out and takes JSON patches, with their tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http::{Method, Request, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use super::{Reply, Writer, answered, refusal, served};
use crate::inputs::kubernetes::{FINALIZER, Place, Undo};

/// The objects by path.
pub(in super::super) type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

/// What happens to the objects right before a request of this method is looked at.
pub(in super::super) type Meddling =
    Box<dyn FnMut(&Method, &str, &mut BTreeMap<String, Value>) + Send>;

/// A writer that leads, in front of a server that holds these.
pub(in super::super) fn holding<const N: usize>(
    objects: [(&str, Value); N],
    meddling: Meddling,
) -> (Writer, Objects) {
    let held = objects.map(|(path, object)| (path.to_owned(), object));
    let objects: Objects = Arc::new(Mutex::new(BTreeMap::from(held)));
    let (shelf, meddling) = (Arc::clone(&objects), Arc::new(Mutex::new(meddling)));
    let writer = served(move |request: Request<Body>| {
        let (shelf, meddling) = (Arc::clone(&shelf), Arc::clone(&meddling));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let mut shelf = shelf.lock().unwrap();
            let path = parts.uri.path();
            meddling.lock().unwrap()(&parts.method, path, &mut shelf);
            answered(answer(&mut shelf, (&parts.method, path), &body))
        }
    });
    (writer, objects)
}

fn answer(
    shelf: &mut BTreeMap<String, Value>,
    (method, path): (&Method, &str),
    body: &[u8],
) -> Reply {
    let Some(object) = shelf.get_mut(path) else {
        return refusal(StatusCode::NOT_FOUND.as_u16(), "there is no such object");
    };
    if *method == Method::PATCH {
        let patch: json_patch::Patch = serde_json::from_slice(body).unwrap();
        let mut patched = object.clone();
        if let Err(fault) = json_patch::patch(&mut patched, &patch) {
            return refusal(422, &fault.to_string());
        }
        *object = patched;
        touch(object);
    }
    Reply::With(200, object.clone())
}

/// Raises an object's version, as every write does.
pub(in super::super) fn touch(object: &mut Value) {
    let version = &mut object["metadata"]["resourceVersion"];
    let next = version
        .as_str()
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(1)
        + 1;
    *version = json!(next.to_string());
}

/// What is asked for when the object of `nuc1` is being deleted, whose Node is `n`.
pub(in super::super) fn undoing() -> Undo {
    Undo {
        place: Place {
            namespace: "lab".into(),
            name: "nuc1".into(),
            uid: "u".into(),
            version: 1,
            finalizers: vec![FINALIZER.into()],
            ..Place::default()
        },
        node: "n".into(),
        cordoned: false,
    }
}
