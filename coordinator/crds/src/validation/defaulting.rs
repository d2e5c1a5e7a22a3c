//! Defaults as a structural schema applies them.
//!
//! Holds: as in the API server, a null where none is allowed counts as absent, and whole numbers are integers however they are written.

use serde_json::{Map, Value};

use crate::yaml::whole_number;

/// Fills in the defaults of `schema`, outermost first.
pub(super) fn apply(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => in_object(schema, map),
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                list.iter_mut().for_each(|item| apply(items, item));
            }
        }
        Value::Number(number) if schema.get("type").is_some_and(|wanted| wanted == "integer") => {
            if let Some(whole) = number.as_f64().and_then(whole_number) {
                *value = whole.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Defaults of an object's fields, then inside each of them.
fn in_object(schema: &Value, map: &mut Map<String, Value>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        if let Some(each) = schema
            .get("additionalProperties")
            .filter(|each| each.is_object())
        {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(|value| apply(each, value));
        }
        return;
    };
    for (name, property) in properties {
        if map.get(name).is_some_and(Value::is_null) {
            map.remove(name);
        }
        if let (None, Some(default)) = (map.get(name), property.get("default")) {
            map.insert(name.clone(), default.clone());
        }
        if let Some(value) = map.get_mut(name) {
            apply(property, value);
        }
    }
}
