//! The structural schema against a document: types, sizes, required and unknown fields.
//!
//! Out: findings in the words of the API server, with the note whether they keep it from evaluating rules.

use serde_json::{Map, Value};

use super::Problem;

/// A problem, and whether rules are evaluated beside it.
pub(super) struct Finding {
    /// What is wrong.
    pub(super) problem: Problem,
    /// True if the object is too far from its schema for rules to make sense.
    pub(super) blocks_rules: bool,
}

/// Everything in which `value` departs from `schema`.
pub(super) fn check(schema: &Value, value: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    walk(schema, value, "", &mut findings);
    findings
}

/// Fields that the schema does not know, except in metadata, which has a list of its own.
pub(super) fn unknown_fields(schema: &Value, value: &Value, problems: &mut Vec<Problem>) {
    unknown_below(schema, value, "", problems);
}

fn unknown_below(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            unknown_below(items, item, &format!("{path}[{index}]"), problems);
        }
    }
    let Some(map) = value.as_object() else { return };
    let each = schema
        .get("additionalProperties")
        .filter(|each| each.is_object());
    for (name, value) in map {
        let field = join(path, name);
        let property = schema.get("properties").and_then(|known| known.get(name));
        match property.or(each) {
            Some(property) => unknown_below(property, value, &field, problems),
            None if path.is_empty()
                && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) => {}
            None => problems.push(unknown(field)),
        }
    }
}

/// The words for a field that nobody knows.
pub(super) fn unknown(field: String) -> Problem {
    let text = format!("unknown field {field:?}");
    Problem { field, text }
}

/// `path.name`, or `name` at the root.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn walk(schema: &Value, value: &Value, path: &str, findings: &mut Vec<Finding>) {
    let mut blocking = |what: String| {
        findings.push(Finding {
            problem: Problem::at(path, what),
            blocks_rules: true,
        })
    };
    let wanted = wanted_type(schema);
    let fits = wanted.split(',').any(|wanted| is_of_type(wanted, value));
    if !fits {
        let got = type_name(value);
        blocking(format!(
            "Invalid value: \"{got}\": {path} in body must be of type {wanted}: \"{got}\""
        ));
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
        blocking(format!(
            "Unsupported value: {value}: supported values: {}",
            allowed.join(", ")
        ));
    }
    if !fits {
        return;
    }
    match value {
        Value::String(text) => check_text(schema, text, path, findings),
        Value::Number(number) => check_number(schema, number.as_f64(), value, path, findings),
        Value::Array(list) => check_list(schema, list, path, findings),
        Value::Object(map) => check_object(schema, map, path, findings),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_text(schema: &Value, text: &str, path: &str, findings: &mut Vec<Finding>) {
    let length = text.chars().count() as u64;
    if let Some(max) = limit(schema, "maxLength").filter(|max| length > *max) {
        let problem = Problem::at(path, format!("Too long: may not be more than {max} bytes"));
        findings.push(Finding {
            problem,
            blocks_rules: true,
        });
    }
    if let Some(min) = limit(schema, "minLength").filter(|min| length < *min) {
        let problem = Problem::at(
            path,
            format!("Invalid value: {text:?}: {path} in body should be at least {min} chars long"),
        );
        findings.push(Finding {
            problem,
            blocks_rules: false,
        });
    }
}

fn check_number(
    schema: &Value,
    number: Option<f64>,
    value: &Value,
    path: &str,
    findings: &mut Vec<Finding>,
) {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    let mut out_of_bounds = |what: String| {
        let problem = Problem::at(
            path,
            format!("Invalid value: {value}: {path} in body should be {what}"),
        );
        findings.push(Finding {
            problem,
            blocks_rules: false,
        });
    };
    if let (Some(number), Some(min)) = (number, bound("minimum"))
        && number < min
    {
        out_of_bounds(format!("greater than or equal to {min}"));
    }
    if let (Some(number), Some(max)) = (number, bound("maximum"))
        && number > max
    {
        out_of_bounds(format!("less than or equal to {max}"));
    }
}

fn check_list(schema: &Value, list: &[Value], path: &str, findings: &mut Vec<Finding>) {
    let count = list.len() as u64;
    if let Some(max) = limit(schema, "maxItems").filter(|max| count > *max) {
        findings.push(too_many(path, count, max));
    }
    if let Some(min) = limit(schema, "minItems").filter(|min| count < *min) {
        let problem = Problem::at(
            path,
            format!("Invalid value: {count}: {path} in body should have at least {min} items"),
        );
        findings.push(Finding {
            problem,
            blocks_rules: false,
        });
    }
    if let Some(items) = schema.get("items") {
        for (index, item) in list.iter().enumerate() {
            walk(items, item, &format!("{path}[{index}]"), findings);
        }
    }
}

fn check_object(schema: &Value, map: &Map<String, Value>, path: &str, findings: &mut Vec<Finding>) {
    let count = map.len() as u64;
    if let Some(max) = limit(schema, "maxProperties").filter(|max| count > *max) {
        findings.push(too_many(path, count, max));
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(name) {
            let problem = Problem::at(join(path, name), "Required value");
            findings.push(Finding {
                problem,
                blocks_rules: true,
            });
        }
    }
    let properties = schema.get("properties");
    let each = schema
        .get("additionalProperties")
        .filter(|each| each.is_object());
    for (name, value) in map {
        if let Some(property) = properties
            .and_then(|properties| properties.get(name))
            .or(each)
        {
            walk(property, value, &join(path, name), findings);
        }
    }
}

fn too_many(path: &str, count: u64, max: u64) -> Finding {
    let problem = Problem::at(
        path,
        format!("Too many: {count}: must have at most {max} items"),
    );
    Finding {
        problem,
        blocks_rules: true,
    }
}

fn limit(schema: &Value, keyword: &str) -> Option<u64> {
    schema.get(keyword).and_then(Value::as_u64)
}

/// What the schema asks for, several types with commas.
fn wanted_type(schema: &Value) -> &str {
    let int_or_string = schema
        .get("x-kubernetes-int-or-string")
        .and_then(Value::as_bool)
        == Some(true);
    if int_or_string {
        "integer,string"
    } else {
        schema
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or("object")
    }
}

fn is_of_type(wanted: &str, value: &Value) -> bool {
    let got = type_name(value);
    got == wanted || (wanted == "number" && got == "integer")
}

/// The JSON Schema name of a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
