//! The CustomResourceDefinitions, as objects and as the files in `deploy/crds`.
//!
//! In: the derived schemas of Group and Node. Out: definitions that a cluster takes, and their text.
//! Holds: no field is nullable, so that a key without a value counts as absent; only formats that Kubernetes knows remain.
//! The same definitions validate a lab without Kubernetes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::{Group, Node, yaml::whole_number};

/// First lines of each generated file.
const HEADER: &str = "# Generated from coordinator/crds by `cargo xtask codegen`. Do not edit.\n";

/// Formats that Kubernetes knows and that say more than the type.
const FORMATS: [&str; 3] = ["int32", "int64", "date-time"];

/// The two definitions that a cluster needs: Group, Node.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    [Group::crd(), Node::crd()]
        .into_iter()
        .map(cleaned)
        .collect()
}

/// Generated files with their paths from the root of the repository.
#[must_use]
pub fn generated_files() -> Vec<(&'static str, String)> {
    let paths = [
        "deploy/crds/homelabgroups.yaml",
        "deploy/crds/homelabnodes.yaml",
    ];
    paths.into_iter().zip(crds().iter().map(yaml)).collect()
}

/// The file text of one definition.
fn yaml(crd: &CustomResourceDefinition) -> String {
    let mut value = serde_json::to_value(crd).expect("a definition is plain data with text keys");
    shorten_numbers(&mut value);
    let body = serde_norway::to_string(&value).expect("a definition is plain data with text keys");
    format!("{HEADER}{body}")
}

/// The definition without what schemars adds and a cluster has no use for.
fn cleaned(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(crd).expect("a definition is plain data with text keys");
    clean(&mut value);
    serde_json::from_value(value).expect("cleaning removes optional keywords only")
}

/// Removes `nullable`, titles and unknown formats at every depth.
fn clean(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("title").is_some_and(Value::is_string) {
                map.remove("title");
            }
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            let unknown = |format: &Value| {
                format
                    .as_str()
                    .is_some_and(|format| !FORMATS.contains(&format))
            };
            if map.get("format").is_some_and(unknown) {
                map.remove("format");
            }
            map.values_mut().for_each(clean);
        }
        Value::Array(list) => list.iter_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Writes bounds as `2000`, not as `2000.0`.
fn shorten_numbers(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(shorten_numbers),
        Value::Array(list) => list.iter_mut().for_each(shorten_numbers),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().and_then(whole_number) {
                *value = whole.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
