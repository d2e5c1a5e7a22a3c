use serde_json::json;

use super::*;

fn values(text: &str) -> Vec<Value> {
    documents(text)
        .unwrap()
        .into_iter()
        .map(|document| document.value)
        .collect()
}

fn value(text: &str) -> Value {
    values(text).remove(0)
}

#[test]
fn documents_are_split_and_empty_ones_left_out() {
    let documents = documents("# lab\na: 1\n---\n---\n# more\n\n{b: 2}\n...\n").unwrap();
    let seen: Vec<_> = documents
        .iter()
        .map(|document| (document.index, document.line, document.value.clone()))
        .collect();
    assert_eq!(seen, [(0, 2, json!({"a": 1})), (2, 7, json!({"b": 2}))]);
}

#[test]
fn plain_scalars_mean_what_kubectl_makes_of_them() {
    for (text, expected) in [
        ("on", json!(true)),
        ("Off", json!(false)),
        ("YES", json!(true)),
        ("n", json!(false)),
        ("\"on\"", json!("on")),
        ("'no'", json!("no")),
        ("!!str on", json!("on")),
        ("~", Value::Null),
        ("12", json!(12)),
        ("-12", json!(-12)),
        ("+7", json!(7)),
        ("1_000", json!(1000)),
        ("0x1F", json!(31)),
        ("0777", json!(511)),
        ("0", json!(0)),
        ("0.5", json!(0.5)),
        ("2.0", json!(2)),
        ("1e3", json!(1000)),
        ("18446744073709551615", json!(u64::MAX)),
        ("50%", json!("50%")),
        ("10m", json!("10m")),
        ("52:54:00:00:00:01", json!("52:54:00:00:00:01")),
        ("10.0.9.20", json!("10.0.9.20")),
        ("2026-01-02", json!("2026-01-02")),
        ("-x", json!("-x")),
    ] {
        assert_eq!(value(&format!("a: {text}"))["a"], expected, "{text}");
    }
}

#[test]
fn keys_become_text_as_in_kubectl() {
    assert_eq!(value("{on: 1, 5: 2}"), json!({"true": 1, "5": 2}));
    assert_eq!(
        documents("? [a]\n: 1").unwrap_err().what,
        "a key must be text"
    );
}

#[test]
fn block_scalars_anchors_and_merges_are_understood() {
    assert_eq!(value("a: |\n  x\n  y\n"), json!({"a": "x\ny\n"}));
    assert_eq!(
        value("a: &it {x: 1}\nb: *it\n"),
        json!({"a": {"x": 1}, "b": {"x": 1}})
    );
    assert_eq!(
        value("a: &it {x: 1, z: 1}\nb: {<<: *it, x: 2}\n")["b"],
        json!({"x": 2, "z": 1})
    );
}

#[test]
fn a_field_knows_its_line_or_the_nearest_one() {
    let document = documents(
        "kind: Node\nspec:\n  wake:\n    - redfish\n    - wakeOnLAN\n  map:\n    a.b/c: 1\n",
    )
    .unwrap()
    .remove(0);
    for (field, line) in [
        ("kind", 1),
        ("spec", 2),
        ("spec.wake[1]", 5),
        ("spec.map[a.b/c]", 7),
        ("spec.map.a.b/c", 7),
        ("spec.group", 2),
        ("metadata.name", 1),
    ] {
        assert_eq!(document.line_of(field), line, "{field}");
    }
}

#[test]
fn broken_text_is_refused_with_its_line() {
    for (text, line) in [
        ("a: 1\nb: [1, 2\n", 2),
        ("a: 1\n  b: 2\n", 2),
        ("a: 'x\n", 1),
        ("\n\na: *gone\n", 3),
    ] {
        let error = documents(text).unwrap_err();
        assert!(
            error.line >= line && error.line <= line + 1,
            "{text:?}: {error}"
        );
    }
    assert_eq!(
        documents("spec:\n  a: 1\n  a: 2\n")
            .unwrap_err()
            .to_string(),
        "line 3: duplicate field \"spec.a\""
    );
}

#[test]
fn hostile_depth_and_alias_bombs_are_refused() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    assert!(documents(&deep).is_err());
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        bomb += &format!("a{level}: &a{level} [{below}*a{}]\n", level - 1);
    }
    assert_eq!(
        documents(&bomb).unwrap_err().what,
        "too deep or too large for a lab"
    );
}

#[test]
fn agrees_with_an_independent_reader_where_the_rules_are_the_same() {
    let text = include_str!("../../tests/fixtures/lab.yaml");
    let ours = values(text);
    let theirs: Vec<Value> = serde_norway::Deserializer::from_str(text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect();
    assert_eq!(ours, theirs);
}
