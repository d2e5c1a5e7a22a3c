//! One document judged as the API server would judge it, without an API server.
//!
//! In: a JSON value, as YAML gives it. Out: a typed [`Object`] with all defaults, or every [`Problem`] it has.
//! Holds: each problem is one line in the words of Kubernetes 1.36 with strict field validation; schema and rules are those of
//! the CRDs. Unlike the API server, unknown fields do not hide the other problems.
//! Not here: what must hold between objects (`relations`), and files (`lab`).

mod defaulting;
mod metadata;
mod rulebook;
mod structure;

use std::fmt;

use serde_json::{Value, json};

use crate::{API_VERSION, Group, Node};

/// A valid document.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A group of machines.
    Group(Box<Group>),
    /// A machine.
    Node(Box<Node>),
}

/// One thing that is wrong with a document, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, like `spec.wakeOnLAN.mac`.
    pub field: String,
    /// The whole line: field, value, and what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Problem {
    /// The form of nearly all problems: `field: what`.
    fn at(field: impl Into<String>, what: impl fmt::Display) -> Self {
        let field = field.into();
        let text = format!("{field}: {what}");
        Self { field, text }
    }
}

/// The kinds that a document can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Group,
    Node,
}

/// Judges one document of kind Group or Node. A `status` in it is left out, as the API server does.
///
/// # Errors
///
/// Everything that is wrong with the document.
pub fn validate(document: &Value) -> Result<Object, Vec<Problem>> {
    let kind = kind_of(document)?;
    let schema = rulebook::schema(kind);
    let mut problems = metadata::check(document);
    structure::unknown_fields(schema, document, &mut problems);

    let mut object = admitted(document);
    defaulting::apply(schema, &mut object);
    let findings = structure::check(schema, &object);
    let rules_can_run = findings.iter().all(|finding| !finding.blocks_rules);
    problems.extend(findings.into_iter().map(|finding| finding.problem));
    if rules_can_run {
        problems.extend(rulebook::broken_rules(kind, &object, None));
    }
    if problems.is_empty() {
        typed(kind, object)
    } else {
        Err(problems)
    }
}

/// Which of our kinds the document claims to be.
fn kind_of(document: &Value) -> Result<Kind, Vec<Problem>> {
    let refuse = |field: &str, what: String| Err(vec![Problem::at(field, what)]);
    if !document.is_object() {
        return refuse(
            "document",
            "must be an object with apiVersion, kind, metadata and spec".to_owned(),
        );
    }
    let text = |field: &str| document.get(field).and_then(Value::as_str);
    let (Some(version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        let missing = if text("apiVersion").is_none() {
            "apiVersion"
        } else {
            "kind"
        };
        let example = if missing == "kind" {
            "Group or Node"
        } else {
            API_VERSION
        };
        return refuse(missing, format!("Required value: {example}"));
    };
    match (version, kind) {
        (API_VERSION, "Group") => Ok(Kind::Group),
        (API_VERSION, "Node") => Ok(Kind::Node),
        (_, "Group" | "Node") => refuse(
            "apiVersion",
            format!("no matches for kind {kind:?} in version {version:?}: write {API_VERSION}"),
        ),
        (_, _) => refuse(
            "kind",
            format!(
                "no matches for kind {kind:?} in version {version:?}: a lab holds Group and Node"
            ),
        ),
    }
}

/// What of the document is stored: no status, and of the metadata what people write.
fn admitted(document: &Value) -> Value {
    let metadata = document.get("metadata");
    let kept = ["name", "namespace", "labels", "annotations"].into_iter();
    let kept = kept
        .filter_map(|key| Some((key.to_owned(), metadata?.get(key)?.clone())))
        .collect();
    let mut object = json!({ "metadata": Value::Object(kept) });
    for key in ["apiVersion", "kind", "spec"] {
        if let Some(value) = document.get(key) {
            object[key] = value.clone();
        }
    }
    object
}

/// The typed object. Schema and types agree, so a refusal here is a fault of ours; it is reported, not hidden.
fn typed(kind: Kind, object: Value) -> Result<Object, Vec<Problem>> {
    let parsed = match kind {
        Kind::Group => serde_json::from_value(object).map(|group| Object::Group(Box::new(group))),
        Kind::Node => serde_json::from_value(object).map(|node| Object::Node(Box::new(node))),
    };
    parsed.map_err(|error| vec![Problem::at("spec", format!("Invalid value: {error}"))])
}

#[cfg(test)]
mod tests;
