use std::{fs, path::PathBuf};

use super::*;
use crate::node::PowerPolicy;

const LAB: &str = include_str!("../../tests/fixtures/lab.yaml");

#[test]
fn the_lab_of_the_guide_is_read_whole() {
    let lab = read([("lab.yaml", LAB)]).unwrap();
    assert_eq!(lab.groups.len(), 1);
    assert_eq!(lab.groups[0].spec.min_size, 1);
    let names: Vec<_> = lab
        .nodes
        .iter()
        .map(|node| node.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(names, ["nuc1", "r720"]);
    assert_eq!(lab.nodes[0].spec.power, PowerPolicy::Auto);
    assert_eq!(lab.nodes[1].spec.timeouts.boot.as_secs(), 720);
    assert!(
        lab.nodes
            .iter()
            .all(|node| node.metadata.namespace.as_deref() == Some("default"))
    );
    let warnings: Vec<_> = lab.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "lab.yaml:15: Secret homelab-autoscaler-credentials: skipped: without Kubernetes, credentials are files of the relay"
        ]
    );
}

#[test]
fn every_bad_lab_is_refused_with_file_line_and_object() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bad-labs");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = read([(name.as_str(), text.as_str())])
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        for part in text
            .lines()
            .filter_map(|line| line.strip_prefix("# expect: "))
        {
            assert!(
                lines
                    .iter()
                    .any(|line| line.starts_with(&format!("{name}:")) && line.contains(part)),
                "{name}: {part:?} is not in {lines:#?}"
            );
            seen += 1;
        }
    }
    assert!(seen >= 14, "only {seen} expectations");
}

#[test]
fn a_finding_points_at_the_line_of_the_field() {
    let text = "kind: Node\napiVersion: homelab-autoscaler.dev/v1alpha1\nmetadata:\n  name: nuc1\nspec:\n  group: workers\n  wakeOnLAN:\n    mac: zz\n";
    let findings = read([("nuc1.yaml", text)]).unwrap_err();
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            r#"nuc1.yaml:8: Node nuc1: spec.wakeOnLAN.mac: Invalid value: "zz": wakeOnLAN.mac must be six pairs of hexadecimal digits, like 1c:69:7a:0b:11:02"#
        ]
    );
}

#[test]
fn relations_hold_across_files() {
    let group = "{apiVersion: homelab-autoscaler.dev/v1alpha1, kind: Group, metadata: {name: workers}, spec: {}}";
    let node = "{apiVersion: homelab-autoscaler.dev/v1alpha1, kind: Node, metadata: {name: pi}, spec: {group: workers, power: AlwaysOn}}";
    assert!(read([("node.yaml", node), ("group.yaml", group)]).is_ok());
    let findings = read([("node.yaml", node)]).unwrap_err();
    assert!(
        findings[0]
            .to_string()
            .starts_with("node.yaml:1: Node pi: spec.group: Not found: \"workers\""),
        "{findings:?}"
    );
    let findings = read([("a.yaml", group), ("b.yaml", group)]).unwrap_err();
    assert!(
        findings[0]
            .to_string()
            .contains("b.yaml:1: Group workers: metadata.name: Duplicate value"),
        "{findings:?}"
    );
    assert!(findings[0].to_string().contains("a.yaml:1"), "{findings:?}");
}

#[test]
fn a_refused_group_does_not_make_its_machines_look_lost() {
    let group = "{apiVersion: homelab-autoscaler.dev/v1alpha1, kind: Group, metadata: {name: workers}, spec: {minSize: -1}}";
    let node = "{apiVersion: homelab-autoscaler.dev/v1alpha1, kind: Node, metadata: {name: pi}, spec: {group: workers, power: AlwaysOn}}";
    let findings = read([("group.yaml", group), ("node.yaml", node)]).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].file, "group.yaml");
}

#[test]
fn an_empty_lab_is_valid() {
    assert_eq!(
        read([("empty.yaml", "# nothing yet\n")]).unwrap(),
        Lab::default()
    );
}
