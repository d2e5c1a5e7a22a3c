//! An object deleted and made anew, also while no watch ran: the list after the gap shows the same name under another uid.

use coordinator_core::{Lab, Now, Policy};

use super::*;

/// A Group of the same name, made after the one that was deleted.
fn made_anew(version: u64, status: serde_json::Value) -> Group {
    let more = json!({"metadata": {"uid": "another"}, "status": status});
    group(version, more)
}

fn wish(sequence: u64) -> serde_json::Value {
    json!({"wanted": {"sequence": sequence, "machines": ["nuc1"]}})
}

/// What a whole list of Groups tells, with this one in it.
fn listed(intake: &mut Intake, group: Group) -> Vec<Told> {
    let begin = Seen::Group(0, Watched::Begin);
    let complete = Seen::Group(0, Watched::Complete);
    let events = [begin, is_group(group), complete];
    events
        .into_iter()
        .flat_map(|seen| intake.take(seen))
        .collect()
}

#[test]
fn a_group_made_anew_in_a_gap_is_told_as_gone_and_then_as_declared() {
    let old = group(1, json!({"status": wish(4)}));
    let mut intake = loaded(vec![old.clone()], vec![node("nuc1", 2, json!({}))]);
    assert!(listed(&mut intake, old).is_empty(), "the same object");
    let told = listed(&mut intake, made_anew(9, wish(2)));
    assert_eq!(
        words(&intake, &told),
        [
            "no group lab/workers",
            "stored lab/workers 0",
            "stored lab/workers 2",
            "group lab/workers"
        ]
    );
    let again = listed(&mut intake, made_anew(9, wish(2)));
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn the_core_keeps_the_machines_of_a_group_made_anew_and_nothing_of_its_old_wish() {
    let mut lab = Lab::new(1, Policy::default());
    let now = Now {
        boot_ms: 1_000,
        wall_ms: 1_000,
    };
    let tell = |lab: &mut Lab, told: Vec<Told>| {
        for one in told {
            if let Told::Fact(fact) = one {
                lab.observe(*fact, now);
            }
        }
    };
    let mut intake = empty();
    let first = [
        Seen::CoreNode(Watched::Begin),
        Seen::CoreNode(Watched::Complete),
        Seen::Group(0, Watched::Begin),
        is_group(group(1, json!({"status": wish(4)}))),
        Seen::Group(0, Watched::Complete),
        Seen::Machine(0, Watched::Begin),
        is_node(node("nuc1", 2, json!({}))),
        Seen::Machine(0, Watched::Complete),
    ];
    for seen in first {
        tell(&mut lab, intake.take(seen));
    }
    let workers = group_id(Some("lab"), "workers");
    assert_eq!(lab.view(now).groups[&workers].sequence, 4);

    tell(&mut lab, listed(&mut intake, made_anew(9, json!({}))));
    assert_eq!(lab.view(now).groups[&workers].sequence, 0);

    let written = made_anew(10, wish(1));
    tell(&mut lab, intake.take(is_group(written)));
    let view = lab.view(now);
    assert_eq!(view.groups[&workers].sequence, 1, "the new object's own");
    assert_eq!(view.machines[&MachineId::new("nuc1")].group, workers);
}

fn other_nuc1(version: u64, seq: u32) -> Node {
    let more = json!({
        "metadata": {"uid": "another"},
        "status": {"token": {"epoch": 1, "seq": seq}},
    });
    node("nuc1", version, more)
}

fn nuc1(seq: u32) -> Node {
    let more = json!({"status": {"token": {"epoch": 1, "seq": seq}}});
    node("nuc1", 2, more)
}

#[test]
fn a_machine_that_is_gone_has_nothing_stored_any_more() {
    let mut intake = loaded(vec![group(1, json!({}))], vec![nuc1(7)]);
    assert_eq!(
        take(&mut intake, gone("lab", "nuc1")),
        ["no machine nuc1", "stored nuc1 0"]
    );
    assert_eq!(
        take(&mut intake, is_node(other_nuc1(9, 2))),
        ["stored nuc1 2", "machine nuc1 sound"]
    );
}

#[test]
fn a_machine_made_anew_in_a_gap_is_told_as_gone_and_then_as_declared() {
    let mut intake = loaded(vec![group(1, json!({}))], vec![nuc1(7)]);
    let gone = ["no machine nuc1", "stored nuc1 0"];
    let anew = ["stored nuc1 2", "machine nuc1 sound"];
    assert_eq!(
        take(&mut intake, is_node(other_nuc1(9, 2))),
        [gone, anew].concat()
    );
    assert!(take(&mut intake, is_node(other_nuc1(9, 2))).is_empty());
}

#[test]
fn objects_made_anew_that_do_not_decode_keep_nothing_of_the_ones_before() {
    let mut intake = leading(vec![group(1, json!({"status": wish(4)}))], vec![nuc1(7)]);
    let machine = Seen::Machine(0, undecodable(other_nuc1(9, 0).metadata));
    assert_eq!(
        take(&mut intake, machine),
        [
            "no machine nuc1",
            "stored nuc1 0",
            "complain nuc1 Undecodable"
        ]
    );
    let workers = Seen::Group(0, undecodable(made_anew(10, json!({})).metadata));
    assert_eq!(
        take(&mut intake, workers),
        [
            "no group lab/workers",
            "stored lab/workers 0",
            "complain workers Undecodable"
        ]
    );
}

#[test]
fn events_of_objects_that_have_been_replaced_since_change_nothing() {
    let groups = vec![group(1, json!({"status": wish(4)}))];
    let mut intake = leading(groups, vec![nuc1(7)]);
    take(&mut intake, is_node(other_nuc1(9, 2)));
    take(&mut intake, is_group(made_anew(9, wish(2))));
    let removed = Watched::Gone {
        key: ("lab".into(), "workers".into()),
        uid: "uid-workers".into(),
    };
    for late in [
        is_node(nuc1(8)),
        broken(3),
        gone("lab", "nuc1"),
        is_group(group(5, json!({"status": wish(5)}))),
        Seen::Group(0, removed),
    ] {
        let told = take(&mut intake, late);
        assert!(told.is_empty(), "{told:?}");
    }
}

#[test]
fn a_list_says_what_is_there_also_where_versions_have_gone_back() {
    let mut intake = loaded(vec![group(1, json!({}))], vec![other_nuc1(9, 2)]);
    let told = list(&mut intake, vec![group(1, json!({}))], vec![nuc1(7)]);
    assert!(told.contains(&"stored nuc1 7".into()), "{told:?}");
}

#[test]
fn the_machine_of_a_name_made_anew_gives_way_to_one_that_is_older_by_then() {
    let created = |at: &str| json!({"metadata": {"uid": "another", "creationTimestamp": at}});
    let mut intake = leading(vec![group(1, json!({}))], vec![nuc1(7)]);
    take(
        &mut intake,
        is_node(rivals::rival("2026-11-22T10:00:00Z", 5)),
    );
    let told = take(
        &mut intake,
        is_node(node("nuc1", 9, created("2026-11-23T10:00:00Z"))),
    );
    assert_eq!(
        told[..4],
        [
            "no machine nuc1",
            "stored nuc1 0",
            "stored nuc1 5",
            "machine nuc1 UnknownGroup"
        ]
    );
    let held = intake.mirror.machine(&MachineId::new("nuc1")).unwrap();
    assert_eq!(held.place.uid, "other");
}
