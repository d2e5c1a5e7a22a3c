//! JSON patches, built step by step.
//!
//! Holds: every patch begins with the uid of the object it is meant for, so an object made anew refuses old intents.

use json_patch::{
    AddOperation, PatchOperation, RemoveOperation, TestOperation, jsonptr::PointerBuf,
};
use serde::Serialize;
use serde_json::Value;

/// A patch under construction.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steps(Vec<PatchOperation>);

impl Steps {
    /// A patch for the object with this uid and no other.
    pub(super) fn of(uid: &str) -> Self {
        Self(Vec::new()).test(&["metadata", "uid"], uid)
    }

    /// Goes on only where this stands there; `null` where nothing does.
    pub(super) fn test(mut self, path: &[&str], value: impl Serialize) -> Self {
        self.0.push(PatchOperation::Test(TestOperation {
            path: pointer(path),
            value: json(value),
        }));
        self
    }

    /// Puts this there, instead of whatever stands there.
    pub(super) fn add(mut self, path: &[&str], value: impl Serialize) -> Self {
        self.0.push(PatchOperation::Add(AddOperation {
            path: pointer(path),
            value: json(value),
        }));
        self
    }

    /// Takes away what stands there; something must.
    pub(super) fn remove(mut self, path: &[&str]) -> Self {
        self.0.push(PatchOperation::Remove(RemoveOperation {
            path: pointer(path),
        }));
        self
    }

    /// The same patch, if before anything else this stands there; `null` where nothing does.
    pub(super) fn provided(mut self, path: &[&str], value: impl Serialize) -> Self {
        let test = Self(Vec::new()).test(path, value);
        self.0.splice(1..1, test.0);
        self
    }

    /// Whether it would change anything.
    pub(super) fn changes(&self) -> bool {
        self.0
            .iter()
            .any(|step| !matches!(step, PatchOperation::Test(_)))
    }

    pub(super) fn finish<T: Serialize>(self) -> kube::api::Patch<T> {
        kube::api::Patch::Json(json_patch::Patch(self.0))
    }

    /// The steps that bring a status from `before` to `after`, field by field. `None` where they are equal.
    pub(super) fn status<T: Serialize>(uid: &str, before: Option<&T>, after: &T) -> Option<Self> {
        let after = json(after);
        let Some(before) = before else {
            // An object without status has no path below it.
            let steps = Self::of(uid)
                .test(&["status"], Value::Null)
                .add(&["status"], after);
            return Some(steps);
        };
        let before = json(before);
        let mut steps = Self::of(uid);
        for (field, value) in fields(&after) {
            if before.get(field) != Some(value) {
                steps = steps.add(&["status", field], value);
            }
        }
        for (field, _) in fields(&before) {
            if after.get(field).is_none() {
                steps = steps.remove(&["status", field]);
            }
        }
        steps.changes().then_some(steps)
    }

    /// The paths it changes, for tests.
    #[cfg(test)]
    pub(super) fn as_json(&self) -> Value {
        json(json_patch::Patch(self.0.clone()))
    }
}

fn fields(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied())
}

/// Our types have text as keys and no number that JSON cannot say, so this cannot fail.
fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as literal;

    #[test]
    fn a_path_with_slashes_is_escaped() {
        let steps = Steps::of("u").add(&["metadata", "labels", "a.b/c~d"], "e");
        assert_eq!(
            steps.as_json(),
            literal!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "add", "path": "/metadata/labels/a.b~1c~0d", "value": "e"},
            ])
        );
    }

    #[test]
    fn a_status_is_patched_by_field_and_only_where_it_differs() {
        let before = literal!({"a": 1, "b": {"x": 1}, "c": true});
        let after = literal!({"a": 1, "b": {"y": 2}, "d": "new"});
        assert_eq!(
            Steps::status("u", Some(&before), &after).unwrap().as_json(),
            literal!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "add", "path": "/status/b", "value": {"y": 2}},
                {"op": "add", "path": "/status/d", "value": "new"},
                {"op": "remove", "path": "/status/c"},
            ])
        );
        assert_eq!(Steps::status("u", Some(&before), &before), None);
    }

    #[test]
    fn an_object_without_status_gets_it_whole() {
        let after = literal!({"a": 1});
        assert_eq!(
            Steps::status("u", None, &after).unwrap().as_json(),
            literal!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "test", "path": "/status", "value": null},
                {"op": "add", "path": "/status", "value": {"a": 1}},
            ])
        );
    }
}
