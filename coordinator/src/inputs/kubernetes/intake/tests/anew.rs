//! A Group deleted and made anew while no watch ran: the list after the gap shows the same name under another uid.

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
            "group lab/workers",
            "stored lab/workers 2"
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
