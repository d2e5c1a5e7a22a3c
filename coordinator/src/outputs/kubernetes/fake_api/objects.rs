//! An API server that holds a few objects, for tests: it gives them out, makes them, replaces the version that is named, and
//! takes JSON patches with their tests and merge patches with their preconditions.

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
            let content = parts.headers.get(http::header::CONTENT_TYPE);
            let merges = content.is_some_and(|content| content == "application/merge-patch+json");
            // A status has no path of its own here.
            let path = path.strip_suffix("/status").unwrap_or(path);
            answered(match parts.method {
                Method::POST => make(&mut shelf, path, &body),
                Method::PUT => replace(&mut shelf, path, &body),
                Method::PATCH if merges => merge(&mut shelf, path, &body),
                Method::PATCH => patch(&mut shelf, path, &body),
                _ => give(&mut shelf, path, Ok),
            })
        }
    });
    (writer, objects)
}

/// The object after `change`, which may refuse.
fn give(
    shelf: &mut BTreeMap<String, Value>,
    path: &str,
    change: impl FnOnce(Value) -> Result<Value, Reply>,
) -> Reply {
    let Some(object) = shelf.get_mut(path) else {
        return refusal(StatusCode::NOT_FOUND.as_u16(), "there is no such object");
    };
    match change(object.clone()) {
        Ok(changed) => *object = changed,
        Err(refused) => return refused,
    }
    Reply::With(200, object.clone())
}

fn make(shelf: &mut BTreeMap<String, Value>, path: &str, body: &[u8]) -> Reply {
    let mut object: Value = serde_json::from_slice(body).unwrap();
    let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
    if shelf.contains_key(&path) {
        return refusal(StatusCode::CONFLICT.as_u16(), "it exists already");
    }
    object["metadata"]["uid"] = json!("made");
    touch(&mut object);
    shelf.insert(path, object.clone());
    Reply::With(201, object)
}

fn replace(shelf: &mut BTreeMap<String, Value>, path: &str, body: &[u8]) -> Reply {
    let mut next: Value = serde_json::from_slice(body).unwrap();
    give(shelf, path, |object| {
        if next["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return Err(refusal(StatusCode::CONFLICT.as_u16(), "it is another one"));
        }
        touch(&mut next);
        Ok(next)
    })
}

fn patch(shelf: &mut BTreeMap<String, Value>, path: &str, body: &[u8]) -> Reply {
    let patch: json_patch::Patch = serde_json::from_slice(body).unwrap();
    give(shelf, path, |mut object| {
        json_patch::patch(&mut object, &patch).map_err(|fault| refusal(422, &fault.to_string()))?;
        touch(&mut object);
        Ok(object)
    })
}

fn merge(shelf: &mut BTreeMap<String, Value>, path: &str, body: &[u8]) -> Reply {
    let patch: Value = serde_json::from_slice(body).unwrap();
    give(shelf, path, |mut object| {
        for field in ["uid", "resourceVersion"] {
            let named = &patch["metadata"][field];
            if !named.is_null() && *named != object["metadata"][field] {
                return Err(refusal(StatusCode::CONFLICT.as_u16(), "it is another one"));
            }
        }
        json_patch::merge(&mut object, &patch);
        touch(&mut object);
        Ok(object)
    })
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
