//! The part of `metadata` that people write, judged in the words of the API server.

use serde_json::{Map, Value};

use super::{
    Problem,
    structure::{type_name, unknown},
};

/// Fields of ObjectMeta. All but the first four are written by Kubernetes; a dumped object may carry them.
const KNOWN: [&str; 14] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// What a name must be, as Kubernetes says it.
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an \
     alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// What a namespace must be.
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
     alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

/// What the value of a label must be.
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What the part of a key after the slash must be.
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character \
     (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Judges name, namespace, labels and annotations.
pub(super) fn check(document: &Value) -> Vec<Problem> {
    let empty = Map::new();
    let metadata = match document.get("metadata") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(map)) => map,
        Some(other) => return vec![wrong_type("metadata", "object", other)],
    };
    let mut problems = Vec::new();
    for name in metadata
        .keys()
        .filter(|name| !KNOWN.contains(&name.as_str()))
    {
        problems.push(unknown(format!("metadata.{name}")));
    }
    match metadata.get("name") {
        None | Some(Value::Null) => problems.push(Problem::at(
            "metadata.name",
            "Required value: name or generateName is required",
        )),
        Some(Value::String(name)) if name.is_empty() => {
            problems.push(Problem::at(
                "metadata.name",
                "Required value: name or generateName is required",
            ));
        }
        Some(Value::String(name)) => check_name("metadata.name", name, 253, &mut problems),
        Some(other) => problems.push(wrong_type("metadata.name", "string", other)),
    }
    match metadata.get("namespace") {
        None | Some(Value::Null) => {}
        Some(Value::String(namespace)) => {
            check_name("metadata.namespace", namespace, 63, &mut problems)
        }
        Some(other) => problems.push(wrong_type("metadata.namespace", "string", other)),
    }
    for field in ["labels", "annotations"] {
        check_map(
            &format!("metadata.{field}"),
            metadata.get(field),
            &mut problems,
        );
    }
    problems
}

/// A name: a subdomain of up to 253, a namespace: a label of up to 63.
fn check_name(field: &str, name: &str, max: usize, problems: &mut Vec<Problem>) {
    let (valid, rule) = if max == 63 {
        (is_dns_label(name), LABEL)
    } else {
        (is_subdomain(name), SUBDOMAIN)
    };
    if name.len() > max {
        problems.push(Problem::at(
            field,
            format!("Invalid value: {name:?}: must be no more than {max} characters"),
        ));
    }
    if !valid {
        problems.push(Problem::at(
            field,
            format!("Invalid value: {name:?}: {rule}"),
        ));
    }
}

fn check_map(field: &str, map: Option<&Value>, problems: &mut Vec<Problem>) {
    let map = match map {
        None | Some(Value::Null) => return,
        Some(Value::Object(map)) => map,
        Some(other) => return problems.push(wrong_type(field, "object", other)),
    };
    for (key, value) in map {
        check_key(field, key, problems);
        match value {
            Value::String(text) if field == "metadata.labels" => {
                check_label_value(field, text, problems)
            }
            Value::String(_) | Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                problems.push(wrong_type(&format!("{field}.{key}"), "string", value));
            }
        }
    }
}

/// `prefix/name` or `name`.
fn check_key(field: &str, key: &str, problems: &mut Vec<Problem>) {
    let mut refuse = |what: &str| {
        problems.push(Problem::at(
            field,
            format!("Invalid value: {key:?}: {what}"),
        ))
    };
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    match prefix {
        Some("") => refuse("prefix part must be non-empty"),
        Some(prefix) if !is_subdomain(prefix) => refuse(&format!("prefix part {SUBDOMAIN}")),
        Some(_) | None => {}
    }
    if name.is_empty() {
        refuse("name part must be non-empty");
    }
    if name.len() > 63 {
        refuse("name part must be no more than 63 bytes");
    }
    if name.is_empty() || !is_label_text(name) {
        refuse(NAME_PART);
    }
}

fn check_label_value(field: &str, text: &str, problems: &mut Vec<Problem>) {
    if text.len() > 63 {
        problems.push(Problem::at(
            field,
            format!("Invalid value: {text:?}: must be no more than 63 bytes"),
        ));
    }
    if !is_label_text(text) {
        problems.push(Problem::at(
            field,
            format!("Invalid value: {text:?}: {LABEL_VALUE}"),
        ));
    }
}

/// Empty, or letters, digits, dashes, underscores and dots between two letters or digits.
fn is_label_text(text: &str) -> bool {
    let edges = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.is_empty() || (text.starts_with(edges) && text.ends_with(edges) && text.chars().all(inner))
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_dns_label)
}

fn is_dns_label(text: &str) -> bool {
    let edges = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(edges) && text.ends_with(edges) && text.chars().all(|c| edges(c) || c == '-')
}

fn wrong_type(field: &str, wanted: &str, value: &Value) -> Problem {
    let got = type_name(value);
    Problem::at(
        field,
        format!("Invalid value: \"{got}\": {field} in body must be of type {wanted}: \"{got}\""),
    )
}
