//! What is shown says what is so.

use super::*;

fn machine_view() -> MachineView {
    MachineView {
        id: MachineId::new("nuc1"),
        namespace: "lab".into(),
        group: GroupId::new("lab/workers"),
        node_name: "nuc1".into(),
        wanted: Wish::Running,
        power: core::PowerRecord::default(),
        phase: PhaseName::Running,
        since_ms: NOW,
        why: "",
        message: "Runs as wanted.".into(),
        by: String::new(),
        provider_id: "homelab://lab/nuc1".into(),
        proven_at_ms: Some(NOW),
        quarantined_until_ms: None,
        wake_armed: Some(true),
        ready: true,
        fault: None,
    }
}

fn described(view: &MachineView, mut status: NodeStatus) -> NodeStatus {
    describe_machine(
        view,
        Present {
            generation: Some(3),
            now_ms: NOW + 60_000,
        },
        &mut status,
    );
    status
}

fn condition<'a>(conditions: &'a [crds::Condition], type_: &str) -> Option<&'a crds::Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[test]
fn a_machine_as_wanted_is_ready_and_proven() {
    let status = described(&machine_view(), NodeStatus::default());
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.why, None);
    assert_eq!(status.observed_generation, Some(3));
    let types: Vec<_> = status
        .conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.status))
        .collect();
    assert_eq!(
        types,
        [
            ("Ready", ConditionStatus::True),
            ("WakeCapable", ConditionStatus::True)
        ]
    );
    assert_eq!(status, through_json(&status));
}

#[test]
fn a_sleeping_machine_that_shall_sleep_is_ready() {
    let view = MachineView {
        wanted: Wish::Off,
        phase: PhaseName::Off,
        ..machine_view()
    };
    let status = described(&view, NodeStatus::default());
    assert_eq!(status.phase.as_deref(), Some("Sleeping"));
    assert_eq!(
        condition(&status.conditions, "Ready").unwrap().status,
        ConditionStatus::True
    );
}

#[test]
fn what_is_wrong_is_said_with_its_reason_and_taken_back_afterwards() {
    let quarantined = MachineView {
        quarantined_until_ms: Some(NOW + 300_000),
        why: "BootTimeout",
        message: "No sign of life in 10m0s.".into(),
        ready: false,
        ..machine_view()
    };
    let status = described(&quarantined, NodeStatus::default());
    assert_eq!(status.phase.as_deref(), Some("Quarantined"));
    assert_eq!(
        status.why.as_deref(),
        Some("BootTimeout: next try 14:18 UTC")
    );
    let told = condition(&status.conditions, "Quarantined").unwrap();
    assert_eq!(
        (told.status, told.reason.as_str()),
        (ConditionStatus::True, "BootTimeout")
    );
    assert_eq!(
        told.message,
        "No sign of life in 10m0s. Out of group lab/workers until 14:18 UTC or until seen running; \
         retry now: `homelabctl power retry nuc1`"
    );
    assert_eq!(
        condition(&status.conditions, "Ready").unwrap().reason,
        "BootTimeout"
    );
    let after = described(&machine_view(), status);
    assert_eq!(
        condition(&after.conditions, "Quarantined").unwrap().status,
        ConditionStatus::False
    );
}

#[test]
fn faults_become_conditions_by_their_reason() {
    for (fault, conflict) in [
        (
            Fault {
                reason: "DuplicateName",
                message: "Node lab2/nuc1 has the same name".into(),
            },
            true,
        ),
        (
            Fault {
                reason: "DuplicateMAC",
                message: "lab/nuc2 has the same MAC".into(),
            },
            true,
        ),
        (
            Fault {
                reason: "UnknownGroup",
                message: "there is no Group lab/none".into(),
            },
            false,
        ),
    ] {
        let view = MachineView {
            fault: Some(fault.to_string()),
            ready: false,
            ..machine_view()
        };
        let status = described(&view, NodeStatus::default());
        let ready = condition(&status.conditions, "Ready").unwrap();
        assert_eq!(
            (ready.status, ready.reason.as_str()),
            (ConditionStatus::False, fault.reason)
        );
        assert_eq!(ready.message, fault.message);
        assert_eq!(
            condition(&status.conditions, "Conflict").is_some(),
            conflict
        );
    }
}

#[test]
fn wake_capable_tells_unproven_from_unarmed() {
    for (armed, proven, status, reason) in [
        (None, None, ConditionStatus::Unknown, "Unproven"),
        (Some(true), None, ConditionStatus::Unknown, "Unproven"),
        (Some(false), Some(NOW), ConditionStatus::False, "NotArmed"),
        (None, Some(NOW), ConditionStatus::True, "Proven"),
    ] {
        let view = MachineView {
            wake_armed: armed,
            proven_at_ms: proven,
            ..machine_view()
        };
        let described = described(&view, NodeStatus::default());
        let found = condition(&described.conditions, "WakeCapable").unwrap();
        assert_eq!((found.status, found.reason.as_str()), (status, reason));
    }
}

#[test]
fn a_condition_keeps_its_transition_time_until_its_status_moves() {
    let first = described(&machine_view(), NodeStatus::default());
    let mut again = first.clone();
    describe_machine(
        &machine_view(),
        Present {
            generation: Some(3),
            now_ms: NOW + 600_000,
        },
        &mut again,
    );
    assert_eq!(first, again, "nothing moved, so nothing is written");
    let mut moved = first.clone();
    let view = MachineView {
        ready: false,
        why: "WakeUnanswered",
        ..machine_view()
    };
    describe_machine(
        &view,
        Present {
            generation: Some(3),
            now_ms: NOW + 600_000,
        },
        &mut moved,
    );
    let time = |status: &NodeStatus| {
        condition(&status.conditions, "Ready")
            .unwrap()
            .last_transition_time
            .clone()
    };
    assert!(time(&moved) > time(&first));
}

#[test]
fn conditions_of_others_stay() {
    let foreign: crds::Condition = from(
        json!({"type": "Audited", "status": "True", "reason": "Yearly", "lastTransitionTime": "2026-11-21T10:00:00Z"}),
    );
    let status = NodeStatus {
        conditions: vec![foreign.clone()],
        ..NodeStatus::default()
    };
    assert!(
        described(&machine_view(), status)
            .conditions
            .contains(&foreign)
    );
}

fn group_view() -> GroupView {
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
        node_object_policy: core::NodeObjectPolicy::Delete,
        debug: "1 of 3 wanted, 1 ready".into(),
        frozen: false,
        autoscaled: true,
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
fn a_frozen_group_and_one_that_retains_say_so() {
    let view = GroupView {
        frozen: true,
        node_object_policy: core::NodeObjectPolicy::Retain,
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
            ("Ready", ConditionStatus::True),
            ("RetainNeedsCA136", ConditionStatus::Unknown)
        ]
    );
}

#[test]
fn an_unreadable_object_is_told_with_what_is_wrong() {
    let found = invalid_spec("spec.group: missing");
    assert_eq!(found[0].type_, "InvalidSpec");
    assert!(found[1].message.starts_with("spec.group: missing; until"));
}
