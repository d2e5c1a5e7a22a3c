//! What is shown of groups.

use super::statuses::{condition, machine_view};
use super::*;

pub(super) fn group_view() -> GroupView {
    GroupView {
        id: GroupId::new("lab/workers"),
        min_size: 0,
        max_size: 3,
        target: 1,
        ready: 1,
        sequence: 4,
        instances: Vec::new(),
        template: None,
        scale_down: None,
        energy: None,
        node_object_policy: core::NodeObjectPolicy::Delete,
        debug: "1 of 3 wanted, 1 ready".into(),
        frozen: false,
        autoscaled: true,
        concerns: core::Concerns::new(),
    }
}

#[test]
fn a_group_counts_its_members_and_keeps_its_wish() {
    let members = [
        machine_view(),
        MachineView {
            phase: PhaseName::Off,
            wanted: Wish::Off,
            ..machine_view()
        },
        MachineView {
            phase: PhaseName::Waking,
            ready: false,
            id: MachineId::new("nuc3"),
            ..machine_view()
        },
        MachineView {
            quarantined_until_ms: Some(NOW),
            ..machine_view()
        },
    ];
    let members: Vec<&MachineView> = members.iter().collect();
    let record = GroupRecord {
        sequence: 4,
        ..GroupRecord::default()
    };
    let mut status = GroupStatus {
        wanted: Some(wanted(&record)),
        ..GroupStatus::default()
    };
    let present = Present {
        generation: Some(2),
        now_ms: NOW,
    };
    describe_group(&group_view(), &members, present, &mut status);
    assert_eq!(group_record(Some(&status)), record);
    assert_eq!(
        (
            status.target_size,
            status.ready,
            status.max_size,
            status.members
        ),
        (Some(1), Some(1), Some(3), Some(4))
    );
    assert_eq!(
        (status.transitioning, status.asleep, status.quarantined),
        (Some(1), Some(1), Some(1))
    );
    let ready = condition(&status.conditions, "Ready").unwrap();
    assert_eq!(
        (ready.status, ready.reason.as_str()),
        (ConditionStatus::False, "Transitioning")
    );
    assert_eq!(
        ready.message,
        "1 of 1 wanted machines run; not as wanted: nuc3"
    );
    assert_eq!(status, through_json(&status));
}

#[test]
fn a_frozen_group_says_so() {
    let view = GroupView {
        frozen: true,
        ..group_view()
    };
    let mut status = GroupStatus::default();
    describe_group(
        &view,
        &[],
        Present {
            generation: None,
            now_ms: NOW,
        },
        &mut status,
    );
    let types: Vec<_> = status
        .conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.status))
        .collect();
    assert_eq!(
        types,
        [
            ("MassSilence", ConditionStatus::True),
            ("Ready", ConditionStatus::True)
        ]
    );
}

pub(super) fn described_group(view: &GroupView) -> GroupStatus {
    let present = Present {
        generation: None,
        now_ms: NOW,
    };
    let mut status = GroupStatus::default();
    describe_group(view, &[], present, &mut status);
    status
}

#[test]
fn a_group_shows_what_it_advertises_and_where_that_comes_from() {
    let learned = |names: &[&str], declared| {
        let template = core::Template {
            allocatable: [("cpu".to_owned(), "3900m".to_owned())].into(),
            labels: [("disk".to_owned(), "ssd".to_owned())].into(),
            taints: vec![taint("gpu", "", "NoSchedule")],
            declared,
            learned_from: names.iter().map(|name| MachineId::new(name)).collect(),
            learned_at_ms: Some(NOW),
            ..core::Template::default()
        };
        let view = GroupView {
            template: Some(template),
            ..group_view()
        };
        let status = described_group(&view);
        assert_eq!(status, through_json(&status));
        status.template.unwrap()
    };
    let shown = learned(&["nuc1"], false);
    assert_eq!(shown.source, "Learned from nuc1");
    assert_eq!(shown.allocatable["cpu"].0, "3900m");
    assert_eq!(shown.labels["disk"], "ssd");
    assert_eq!(shown.taints[0].key, "gpu");
    assert_eq!(shown.learned_at, Some(whole_second(NOW)));
    let many = learned(&["a", "b", "c", "d", "e", "f", "g"], true);
    assert_eq!(
        many.source,
        "Merged with the declaration, learned from a, b, c, d, e and 2 more"
    );
    assert_eq!(learned(&[], true).source, "Declared");
    assert_eq!(shown.digest, many.digest, "the same is advertised");
    assert_eq!(described_group(&group_view()).template, None);
}

#[test]
fn the_digest_of_a_template_moves_with_every_part_of_it() {
    let template = |capacity: &str, label: &str, key: &str| {
        let template = core::Template {
            capacity: [("cpu".to_owned(), capacity.to_owned())].into(),
            labels: [("disk".to_owned(), label.to_owned())].into(),
            taints: vec![taint(key, "", "NoSchedule")],
            ..core::Template::default()
        };
        let view = GroupView {
            template: Some(template),
            ..group_view()
        };
        described_group(&view).template.unwrap().digest
    };
    let digests = [
        template("4", "ssd", "gpu"),
        template("8", "ssd", "gpu"),
        template("4", "hdd", "gpu"),
        template("4", "ssd", "slow"),
    ];
    let different: std::collections::BTreeSet<&String> = digests.iter().collect();
    assert_eq!(different.len(), digests.len());
}
