//! The CEL rules of the CRDs, evaluated here.
//!
//! In: a defaulted object, for transition rules also what it was before. Out: one problem for each rule that does not hold.
//! Holds: schemas are read from the CRDs and compiled once for each process.

use std::{
    collections::BTreeSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use kube_cel::{CompiledSchema, ErrorKind, ValidationError, Validator, compile_schema};
use serde_json::Value;

use super::{Kind, Problem, structure::join};
use crate::definitions::crds;

/// The schema of one kind, ready for use.
struct Book {
    schema: Value,
    compiled: CompiledSchema,
    /// Rules that report at another field than their own; the API server shows no value for them.
    elsewhere: BTreeSet<String>,
}

static BOOKS: LazyLock<[Book; 2]> = LazyLock::new(|| {
    let mut books = crds().into_iter().map(|crd| {
        let schema = crd
            .spec
            .versions
            .into_iter()
            .find_map(|version| version.schema?.open_api_v3_schema);
        book(serde_json::to_value(schema).unwrap_or_default())
    });
    [(); 2].map(|()| books.next().unwrap_or_else(|| book(Value::Null)))
});

/// Evaluating is quick and rare (a lab is read when it changed), so one evaluator serves all threads in turn.
static VALIDATOR: LazyLock<Mutex<Validator>> = LazyLock::new(|| Mutex::new(Validator::new()));

/// The structural schema of a kind.
pub(super) fn schema(kind: Kind) -> &'static Value {
    &book_of(kind).schema
}

/// Rules that `object` breaks, transition rules only if there is an `old` one.
pub(super) fn broken_rules(kind: Kind, object: &Value, old: Option<&Value>) -> Vec<Problem> {
    let book = book_of(kind);
    let validator = VALIDATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = validator.validate_compiled(&book.compiled, object, old);
    let errors = outcome
        .err()
        .map(kube_cel::ValidationErrors::into_vec)
        .unwrap_or_default();
    errors
        .iter()
        .map(|error| problem(book, object, error))
        .collect()
}

fn book_of(kind: Kind) -> &'static Book {
    let [groups, nodes] = &*BOOKS;
    match kind {
        Kind::Group => groups,
        Kind::Node => nodes,
    }
}

fn book(schema: Value) -> Book {
    let mut elsewhere = BTreeSet::new();
    collect_elsewhere(&schema, &mut elsewhere);
    Book {
        compiled: compile_schema(&schema),
        elsewhere,
        schema,
    }
}

fn collect_elsewhere(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let (Some(Value::String(rule)), true) =
                (map.get("rule"), map.contains_key("fieldPath"))
            {
                found.insert(rule.clone());
            }
            map.values()
                .for_each(|value| collect_elsewhere(value, found));
        }
        Value::Array(list) => list
            .iter()
            .for_each(|value| collect_elsewhere(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The line for a broken rule. Single values are shown, whole objects and lists are not.
fn problem(book: &Book, object: &Value, error: &ValidationError) -> Problem {
    let (mut field, value) = place(&book.schema, object, &error.field_path);
    if field.is_empty() {
        // Rules of the whole object are about its name; the API server names no field there.
        field.push_str("metadata.name");
    }
    if error.kind != ErrorKind::ValidationFailure {
        let what = format!(
            "Invalid value: rule {:?} cannot be evaluated: {}",
            error.rule, error.message
        );
        return Problem::at(field, what);
    }
    let value = value.filter(|value| !value.is_object() && !value.is_array());
    match value.filter(|_| !book.elsewhere.contains(&error.rule)) {
        Some(value) => Problem::at(field, format!("Invalid value: {value}: {}", error.message)),
        None => Problem::at(field, format!("Invalid value: {}", error.message)),
    }
}

/// The field at a path of dots and indices, as the API server writes it (keys of a map in brackets), and its value.
fn place<'a>(schema: &Value, object: &'a Value, path: &str) -> (String, Option<&'a Value>) {
    let (mut schema, mut value, mut rest, mut shown) =
        (Some(schema), Some(object), path, String::new());
    while !rest.is_empty() {
        let is_map = schema.is_some_and(|schema| schema.get("additionalProperties").is_some());
        let end = if is_map {
            rest.len()
        } else {
            rest.find(['.', '[']).unwrap_or(rest.len())
        };
        let (step, after) = rest.split_at(end);
        if is_map {
            shown += &format!("[{step}]");
            schema = schema.and_then(|schema| schema.get("additionalProperties"));
            value = value.and_then(|value| value.get(step));
        } else if let Some(index) = step.strip_suffix(']') {
            shown += &format!("[{index}]");
            schema = schema.and_then(|schema| schema.get("items"));
            value = value.and_then(|value| value.get(index.parse::<usize>().ok()?));
        } else {
            shown = join(&shown, step);
            schema = schema.and_then(|schema| schema.get("properties")?.get(step));
            value = value.and_then(|value| value.get(step));
        }
        rest = after.strip_prefix(['.', '[']).unwrap_or(after);
    }
    (shown, value)
}
