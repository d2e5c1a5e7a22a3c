//! Schemas of maps and lists with a size that the API server can bound.
//!
//! Holds: every collection and text of the API has an upper size, so that no object grows past what etcd takes
//! and the cost of each rule can be estimated.

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::rules;

/// Labels: up to 64, values up to 63 characters.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 63 },
    })
}

/// Annotations of a core Node that are kept while its object is away.
pub(crate) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 8192 },
    })
}

/// Amounts by resource name: up to 32.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "x-kubernetes-int-or-string": true, "maxLength": 32 },
    })
}

/// Labels that a person declares: each value is checked.
pub(crate) fn declared_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": [Rule::from(rules::LABEL_VALUE)],
        },
    })
}

/// Amounts that a person declares: each is checked. Learned ones may have any form that Kubernetes knows.
pub(crate) fn declared_quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "x-kubernetes-validations": [Rule::from(rules::QUANTITY)],
        },
    })
}

/// A duration; its form is a rule, so that the refusal says what would be right.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 16 })
}
