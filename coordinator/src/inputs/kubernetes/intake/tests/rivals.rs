//! Nodes that claim one name, or one provider id.

use super::*;

#[test]
fn of_two_nodes_with_one_name_the_older_is_the_machine_and_both_are_left_alone() {
    let mut intake = leading(vec![group(1, json!({}))], vec![node("nuc1", 2, json!({}))]);
    let rival = json!({"metadata": {"namespace": "lab2", "uid": "other", "creationTimestamp": "2026-11-22T10:00:00Z"}});
    let told = take(&mut intake, is_node(node("nuc1", 3, rival.clone())));
    assert_eq!(told[0], "machine nuc1 DuplicateName");
    assert!(told[1].starts_with("complain nuc1 "), "{told:?}");
    assert!(
        take(&mut intake, is_node(node("nuc1", 4, rival))).is_empty(),
        "said once"
    );
    assert_eq!(
        take(&mut intake, gone("lab2", "nuc1")),
        ["machine nuc1 sound"]
    );
    assert!(intake.mirror.complaints().about().is_empty());
}

/// A Node of the same name in another namespace, with a record of its own.
pub(super) fn rival(created: &str, seq: u32) -> Node {
    let more = json!({
        "metadata": {"namespace": "lab2", "uid": "other", "creationTimestamp": created},
        "status": {"token": {"epoch": 1, "seq": seq}},
    });
    node("nuc1", 3, more)
}

#[test]
fn the_younger_of_two_nodes_with_one_name_is_the_machine_once_the_older_is_gone() {
    let mut intake = leading(vec![group(1, json!({}))], vec![node("nuc1", 2, json!({}))]);
    take(&mut intake, is_node(rival("2026-11-22T10:00:00Z", 7)));
    // Its group is in the other namespace and not declared.
    assert_eq!(
        take(&mut intake, gone("lab", "nuc1")),
        [
            "no machine nuc1",
            "stored nuc1 0",
            "stored nuc1 7",
            "machine nuc1 UnknownGroup",
            "complain nuc1 over"
        ]
    );
    let id = MachineId::new("nuc1");
    let held = intake.mirror.machine(&id).expect("it can be written to");
    assert_eq!(held.place.uid, "other");
    assert_eq!(
        intake.mirror.machine_of(&AgentId::new("nuc1")),
        Some(id),
        "its agent's key is pinned to it"
    );
    assert_eq!(
        take(&mut intake, gone("lab2", "nuc1")),
        ["no machine nuc1", "stored nuc1 0"],
        "nobody is left of that name"
    );
}

#[test]
fn a_node_that_an_older_one_outdoes_is_the_machine_again_once_that_one_is_gone() {
    let stored = json!({"status": {"token": {"epoch": 1, "seq": 4}}});
    let mut intake = leading(vec![group(1, json!({}))], vec![node("nuc1", 2, stored)]);
    let told = take(&mut intake, is_node(rival("2026-11-20T10:00:00Z", 7)));
    assert_eq!(
        told[..4],
        [
            "complain nuc1 DuplicateName",
            "no machine nuc1",
            "stored nuc1 7",
            "machine nuc1 UnknownGroup"
        ]
    );
    assert_eq!(
        take(&mut intake, gone("lab2", "nuc1"))[2..],
        ["stored nuc1 4", "machine nuc1 sound", "complain nuc1 over"]
    );
    let held = intake.mirror.machine(&MachineId::new("nuc1")).unwrap();
    assert_eq!(held.place.uid, "uid-nuc1");
}

#[test]
fn of_two_nodes_with_one_provider_id_the_one_that_stays_is_sound() {
    let same = json!({"spec": {"providerID": "k3s://x"}});
    let mut intake = loaded(
        vec![group(1, json!({}))],
        vec![node("nuc1", 2, same.clone()), node("nuc2", 3, same)],
    );
    assert_eq!(
        take(&mut intake, gone("lab", "nuc1")),
        ["no machine nuc1", "stored nuc1 0", "machine nuc2 sound"]
    );
    let held = intake.mirror.machine(&MachineId::new("nuc2"));
    assert!(held.is_some(), "it can be written to");
}
