use super::*;
use crate::{Object, validate, yaml};

fn objects(text: &str) -> (Vec<Group>, Vec<Node>) {
    let (mut groups, mut nodes) = (Vec::new(), Vec::new());
    for document in yaml::documents(text).unwrap() {
        match validate(&document.value).unwrap() {
            Object::Group(group) => groups.push(*group),
            Object::Node(node) => nodes.push(*node),
        }
    }
    (groups, nodes)
}

fn lines(text: &str) -> Vec<String> {
    let (groups, nodes) = objects(text);
    let broken = broken(&groups, &nodes);
    broken
        .iter()
        .map(|one| {
            format!(
                "{}/{} {} {}",
                one.namespace,
                one.name,
                one.relation.reason(),
                one.field
            )
        })
        .collect()
}

fn group(metadata: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: homelab-autoscaler.dev/v1alpha1, kind: Group, metadata: {{{metadata}}}, spec: {{{spec}}}}}\n"
    )
}

fn node(metadata: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: homelab-autoscaler.dev/v1alpha1, kind: Node, metadata: {{{metadata}}}, spec: {{power: AlwaysOn, {spec}}}}}\n"
    )
}

#[test]
fn machines_of_one_group_with_names_of_their_own_are_fine() {
    let lab = group("name: a", "") + &node("name: n1", "group: a") + &node("name: n2", "group: a");
    assert_eq!(lines(&lab), Vec::<String>::new());
}

#[test]
fn a_group_is_looked_up_in_the_machine_s_own_namespace() {
    let lab = group("name: a, namespace: x", "")
        + &node("name: n1, namespace: x", "group: a")
        + &node("name: n2", "group: a");
    assert_eq!(lines(&lab), ["default/n2 UnknownGroup spec.group"]);
}

#[test]
fn both_holders_of_one_value_are_named() {
    let mac = |text: &str| format!("group: a, wakeOnLAN: {{mac: \"{text}\"}}");
    let lab = group("name: a", "")
        + &node("name: n1", &mac("1c:69:7a:0b:11:02"))
        + &node("name: n2", &mac("1C-69-7A-0B-11-02"));
    assert_eq!(
        lines(&lab),
        [
            "default/n1 DuplicateMAC spec.wakeOnLAN.mac",
            "default/n2 DuplicateMAC spec.wakeOnLAN.mac"
        ]
    );
}

#[test]
fn explicit_names_collide_with_defaults() {
    let lab = group("name: a", "")
        + &node("name: n1", "group: a")
        + &node("name: n2", "group: a, agent: n1, nodeName: n1");
    let expected = [
        "default/n1 DuplicateNodeName spec.nodeName",
        "default/n1 DuplicateAgent spec.agent",
        "default/n2 DuplicateNodeName spec.nodeName",
        "default/n2 DuplicateAgent spec.agent",
    ];
    assert_eq!(lines(&lab), expected);
}

#[test]
fn one_name_in_two_namespaces_is_reported_once_for_each() {
    let lab = group("name: a", "")
        + &group("name: a, namespace: x", "")
        + &node("name: n1", "group: a")
        + &node("name: n1, namespace: x", "group: a");
    assert_eq!(
        lines(&lab),
        [
            "default/n1 DuplicateName metadata.name",
            "x/n1 DuplicateName metadata.name"
        ]
    );
}

#[test]
fn a_slow_boot_is_a_warning_unless_the_group_allows_it() {
    let slow = node("name: n1", "group: a, timeouts: {boot: 16m}");
    let (groups, nodes) = objects(&(group("name: a", "") + &slow));
    let broken = broken(&groups, &nodes);
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0].relation.severity(), Severity::Warning);
    assert_eq!(
        broken[0].what,
        "Invalid value: \"16m\": the cluster-autoscaler gives up after 15m; write at most 15m, or raise its provision time"
    );
    assert!(
        lines(&(group("name: a", "scaleDown: {maxNodeProvisionDuration: 20m}") + &slow)).is_empty()
    );
    assert!(
        lines(&(group("name: a", "") + &node("name: n1", "group: a, timeouts: {boot: 15m}")))
            .is_empty()
    );
}

#[test]
fn a_provision_time_that_is_too_short_to_count_makes_no_boot_slow() {
    let (mut groups, nodes) = objects(
        &(group("name: a", "scaleDown: {maxNodeProvisionDuration: 1s}")
            + &node("name: n1", "group: a, timeouts: {boot: 15m}")),
    );
    assert_eq!(broken(&groups, &nodes).len(), 1);
    // As in an object that is older than the rule.
    let options = groups[0].spec.scale_down.as_mut().unwrap();
    options.max_node_provision_duration = Some(Duration::ZERO);
    assert_eq!(broken(&groups, &nodes).len(), 0);
}
