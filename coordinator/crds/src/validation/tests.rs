use std::{fs, path::PathBuf};

use serde_json::json;

use super::*;
use crate::yaml;

fn fixtures(folder: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

fn expected(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# expect: "))
        .collect()
}

fn problems(document: &Value) -> Vec<String> {
    validate(document)
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|problem| problem.text)
        .collect()
}

fn node(spec: Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "Node", "metadata": {"name": "nuc1"}, "spec": spec})
}

fn group(spec: Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "Group", "metadata": {"name": "workers"}, "spec": spec})
}

#[test]
fn every_bad_document_is_refused_in_the_expected_words_and_no_others() {
    let files = fixtures("bad");
    assert!(files.len() >= 24, "only {} fixtures", files.len());
    for (name, text) in files {
        let documents = yaml::documents(&text).unwrap();
        assert_eq!(documents.len(), 1, "{name}");
        let problems = problems(&documents[0].value);
        let expected = expected(&text);
        assert!(!expected.is_empty(), "{name} expects nothing");
        for part in &expected {
            assert!(
                problems.iter().any(|problem| problem.contains(part)),
                "{name}: {part:?} is not in {problems:#?}"
            );
        }
        for problem in &problems {
            assert!(
                expected.iter().any(|part| problem.contains(part)),
                "{name}: unexpected {problem:?}"
            );
        }
    }
}

#[test]
fn every_good_document_is_accepted() {
    for (name, text) in fixtures("good") {
        for document in yaml::documents(&text).unwrap() {
            assert_eq!(
                problems(&document.value),
                Vec::<String>::new(),
                "{name}:{}",
                document.line
            );
        }
    }
}

#[test]
fn defaults_are_those_of_the_api() {
    let Ok(Object::Group(group)) = validate(&group(json!({}))) else {
        panic!("spec: {{}} is valid")
    };
    let expected = json!({"mode": "Autoscaler", "minSize": 0, "nodeObjectPolicy": "Delete", "localVolumePolicy": "Protect", "requireProof": true, "paused": false});
    assert_eq!(serde_json::to_value(&group.spec).unwrap(), expected);

    let spec = json!({"group": "workers", "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"}});
    let Ok(Object::Node(node)) = validate(&node(spec)) else {
        panic!("a MAC and a group are enough")
    };
    let expected = json!({
        "group": "workers", "power": "Auto", "forceOff": "Never", "joins": "Kubelet",
        "timeouts": {"boot": "10m", "drain": "10m", "stop": "5m", "offHold": "1m"},
        "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02", "segment": "default", "ports": [9, 7]},
    });
    assert_eq!(serde_json::to_value(&node.spec).unwrap(), expected);
}

#[test]
fn status_and_dumped_metadata_are_left_out() {
    let mut document = group(json!({}));
    document["status"] = json!({"ready": 3});
    document["metadata"]["uid"] = json!("1-2-3");
    document["metadata"]["managedFields"] = json!([{}]);
    let Ok(Object::Group(group)) = validate(&document) else {
        panic!("a dumped object is valid")
    };
    assert_eq!((group.status, group.metadata.uid), (None, None));
}

#[test]
fn rules_wait_until_the_shape_is_right() {
    assert_eq!(
        problems(&node(json!({"power": "Auto"}))),
        ["spec.group: Required value"]
    );
}

#[test]
fn metadata_is_judged_in_the_words_of_the_api_server() {
    let with = |metadata: Value| {
        let mut document = group(json!({}));
        document["metadata"] = metadata;
        problems(&document)
    };
    assert_eq!(
        with(json!({})),
        ["metadata.name: Required value: name or generateName is required"]
    );
    assert_eq!(with(json!({"name": "a.b-c"})), Vec::<String>::new());
    assert_eq!(
        with(json!({"name": "a", "foo": 1})),
        [r#"unknown field "metadata.foo""#]
    );
    assert_eq!(
        with(json!({"name": "a", "labels": {"/x": "y"}})),
        [r#"metadata.labels: Invalid value: "/x": prefix part must be non-empty"#]
    );
    let label = with(json!({"name": "a", "labels": {"a": "b c"}})).join("\n");
    assert!(label.starts_with(r#"metadata.labels: Invalid value: "b c": a valid label must be an empty string or consist of"#), "{label}");
    let annotation = with(json!({"name": "a", "annotations": {"": "x"}}));
    assert_eq!(
        annotation[0],
        r#"metadata.annotations: Invalid value: "": name part must be non-empty"#
    );
    assert_eq!(
        with(json!({"name": 5})),
        [
            r#"metadata.name: Invalid value: "integer": metadata.name in body must be of type string: "integer""#
        ]
    );
    let long = with(json!({"name": "a".repeat(254)}));
    assert!(
        long.len() == 1 && long[0].ends_with(": must be no more than 253 characters"),
        "{long:?}"
    );
}

#[test]
fn no_field_or_value_reads_as_a_yaml_boolean() {
    fn words(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                found.push(key.clone());
                words(value, found);
            }),
            Value::Array(list) => list.iter().for_each(|value| words(value, found)),
            Value::String(text) => found.push(text.clone()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    words(rulebook::schema(Kind::Group), &mut found);
    words(rulebook::schema(Kind::Node), &mut found);
    assert!(found.len() > 500);
    for word in found {
        assert!(
            !["on", "off", "yes", "no", "y", "n"].contains(&word.to_lowercase().as_str()),
            "{word}"
        );
    }
}

#[test]
fn every_size_is_bounded() {
    fn unbounded(path: &str, schema: &Value, found: &mut Vec<String>) {
        let has = |keyword: &str| schema.get(keyword).is_some();
        let bounded = match schema.get("type").and_then(Value::as_str) {
            Some("string") => has("maxLength") || has("enum") || has("format"),
            Some("array") => has("maxItems"),
            Some("object") => has("properties") || has("maxProperties") || path == ".metadata",
            _ => true,
        };
        if !bounded {
            found.push(path.to_owned());
        }
        for (name, property) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            unbounded(&format!("{path}.{name}"), property, found);
        }
        for keyword in ["items", "additionalProperties"] {
            if let Some(below) = schema.get(keyword) {
                unbounded(&format!("{path}[]"), below, found);
            }
        }
    }
    let mut found = Vec::new();
    for kind in [Kind::Group, Kind::Node] {
        unbounded("", rulebook::schema(kind), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}

/// A change of status, judged by the transition rules.
fn change(kind: Kind, old: Value, new: Value) -> Vec<String> {
    let object = |status| json!({"metadata": {"name": "x"}, "status": status});
    let (old, new) = (object(old), object(new));
    rulebook::broken_rules(kind, &new, Some(&old))
        .into_iter()
        .map(|problem| problem.text)
        .collect()
}

#[test]
fn tokens_and_sequences_never_decrease() {
    let token = |epoch: u32, seq: u32| json!({"token": {"epoch": epoch, "seq": seq}});
    for (old, new, allowed) in [
        (token(3, 5), token(3, 5), true),
        (token(3, 5), token(3, 6), true),
        (token(3, 5), token(4, 0), true),
        (token(3, 5), token(3, 4), false),
        (token(3, 5), token(2, 9), false),
        (token(3, 5), json!({}), false),
        (json!({}), token(1, 1), true),
    ] {
        let problems = change(Kind::Node, old.clone(), new.clone());
        assert_eq!(problems.is_empty(), allowed, "{old} → {new}: {problems:?}");
    }
    let wanted = |sequence: u32| json!({"wanted": {"sequence": sequence, "machines": []}});
    assert!(change(Kind::Group, wanted(3), wanted(4)).is_empty());
    assert_eq!(
        change(Kind::Group, wanted(3), wanted(2)),
        ["status.wanted.sequence: Invalid value: status.wanted.sequence cannot decrease"]
    );
    assert_eq!(change(Kind::Group, wanted(3), json!({})).len(), 1);
}

#[test]
fn what_the_rules_accept_the_types_can_read() {
    let durations = [
        "10m", "1h30m", "500ms", "24h", "0s", "", "10", "1.5h", "-5m", "10 m", "1234567s", "１m",
        "10M", "1h 5m",
    ];
    for text in durations {
        let by_rule = problems(&group(json!({"scaleDown": {"unneededDuration": text}}))).is_empty();
        assert_eq!(by_rule, crate::duration::parse(text).is_ok(), "{text:?}");
    }
    let shares = [
        "0", "1", "0.5", "1.0", "0.123456", "50%", "100%", "", "70", "1.1", "101%", "0.5%", ".5",
        "5.", "00.5", "-1", "1e0", "000%",
    ];
    for text in shares {
        let by_rule =
            problems(&group(json!({"scaleDown": {"utilizationThreshold": text}}))).is_empty();
        assert_eq!(by_rule, crate::Threshold::parse(text).is_ok(), "{text:?}");
    }
    let energy = |price: &str, to: &str| {
        json!({"energy": {"watts": 45, "perKWh": price, "timeZone": "UTC",
            "windows": [{"from": "12:00", "to": to, "perKWh": "1"}]}})
    };
    let prices = [
        "0",
        "0.32",
        "00.1",
        "999999.999999",
        "",
        ".",
        ".3",
        "3.",
        "-1",
        "1e3",
        "0,32",
        "1234567",
        "٣",
    ];
    for text in prices {
        let by_rule = problems(&group(energy(text, "13:00"))).is_empty();
        assert_eq!(
            by_rule,
            crate::energy::PerKwh::parse(text).is_ok(),
            "{text:?}"
        );
    }
    let times = [
        "00:00", "06:30", "23:59", "24:00", "", "6:30", "24:01", "25:00", "06:60", "0630", "06:3",
    ];
    for text in times {
        let by_rule = problems(&group(energy("1", text))).is_empty();
        assert_eq!(
            by_rule,
            crate::energy::TimeOfDay::parse(text).is_ok(),
            "{text:?}"
        );
    }
}
