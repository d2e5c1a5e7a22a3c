//! What is shown says what is so.

use super::groups::{described_group, group_view};
use super::*;

pub(crate) fn machine_view() -> MachineView {
    MachineView {
        id: MachineId::new("nuc1"),
        namespace: "lab".into(),
        group: GroupId::new("lab/workers"),
        node_name: "nuc1".into(),
        agent: AgentId::new("nuc1"),
        wanted: Wish::Running,
        power: core::PowerRecord::default(),
        phase: PhaseName::Running,
        since_ms: NOW,
        why: "",
        message: "Runs as wanted.".into(),
        by: "".into(),
        drain: None,
        provider_id: "homelab://lab/nuc1".into(),
        proven_at_ms: Some(NOW),
        deadline_ms: None,
        quarantined_until_ms: None,
        max_sizes: None,
        instead: Vec::new(),
        wake_armed: Some(["enp3s0".into()].into()),
        ready: true,
        fault: None,
        concerns: core::Concerns::new(),
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

pub(super) fn condition<'a>(
    conditions: &'a [crds::Condition],
    type_: &str,
) -> Option<&'a crds::Condition> {
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
         retry now: `homelabctl power retry nuc1`."
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
    let card = || Some(vec!["enp3s0".to_owned()]);
    let (running, failed) = (None, Some(NOW + 300_000));
    for (armed, proven, left_out, status, reason) in [
        (None, None, running, ConditionStatus::Unknown, "Unproven"),
        (card(), None, running, ConditionStatus::Unknown, "Unproven"),
        (card(), None, failed, ConditionStatus::Unknown, "Unproven"),
        (
            Some(vec![]),
            Some(NOW),
            running,
            ConditionStatus::False,
            "NotArmed",
        ),
        (None, Some(NOW), running, ConditionStatus::True, "Proven"),
        (
            card(),
            Some(NOW),
            failed,
            ConditionStatus::False,
            "DidNotWake",
        ),
    ] {
        let view = MachineView {
            quarantined_until_ms: left_out,
            wake_armed: armed.map(Into::into),
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

#[test]
fn an_unreadable_object_is_told_with_what_is_wrong() {
    let found = invalid_spec("spec.group: missing");
    assert_eq!(found[0].type_, "InvalidSpec");
    assert!(found[1].message.starts_with("spec.group: missing; until"));
}

#[test]
fn a_concern_is_a_condition_while_it_lasts_and_false_afterwards() {
    let mut status = NodeStatus::default();
    for concern in core::Concern::OF_MACHINES {
        let view = MachineView {
            concerns: core::Concerns::from([(concern, "do this".to_owned())]),
            ..machine_view()
        };
        status = described(&view, status);
        let found = condition(&status.conditions, concern.as_str()).unwrap();
        assert_eq!(
            (found.status, found.message.as_str()),
            (ConditionStatus::True, "do this")
        );
        let ready = condition(&status.conditions, "Ready").unwrap();
        assert_eq!(
            ready.status,
            ConditionStatus::True,
            "it is managed all the same"
        );
        status = described(&machine_view(), status);
        let found = condition(&status.conditions, concern.as_str()).unwrap();
        assert_eq!(found.status, ConditionStatus::False);
    }
    for concern in core::Concern::OF_GROUPS {
        let view = GroupView {
            concerns: core::Concerns::from([(concern, "do that".to_owned())]),
            ..group_view()
        };
        let status = described_group(&view);
        let found = condition(&status.conditions, concern.as_str()).unwrap();
        assert_eq!(found.status, ConditionStatus::True);
        let calm = described_group(&group_view());
        assert_eq!(condition(&calm.conditions, concern.as_str()), None);
    }
}

#[test]
fn an_operation_under_way_shows_when_it_is_given_up() {
    let operation = json!({"operation": {"id": "x", "kind": "Wake", "token": {"epoch": 3, "seq": 1}, "step": "Waking",
        "startedAt": "2026-11-21T10:00:00Z", "by": "ann"}});
    let view = MachineView {
        deadline_ms: Some(NOW),
        ..machine_view()
    };
    let status = described(&view, from(operation));
    assert_eq!(status.operation.unwrap().deadline, Some(whole_second(NOW)));
}

#[test]
fn a_quarantined_machine_names_who_is_woken_instead_and_what_its_group_has_without_it() {
    let view = MachineView {
        quarantined_until_ms: Some(NOW + 300_000),
        why: "BootTimeout",
        message: "No sign of life in 10m0s.".into(),
        max_sizes: Some((3, 2)),
        instead: vec![MachineId::new("nuc2")],
        ready: false,
        ..machine_view()
    };
    let status = described(&view, NodeStatus::default());
    assert_eq!(
        status.why.as_deref(),
        Some("BootTimeout: next try 14:18 UTC, nuc2 is being woken instead")
    );
    let told = condition(&status.conditions, "Quarantined").unwrap();
    assert!(
        told.message
            .contains("Out of group lab/workers (maxSize 3 → 2) until 14:18 UTC"),
        "{}",
        told.message
    );
}

#[test]
fn a_lock_of_somebody_else_is_a_condition_while_it_stands() {
    let held = MachineView {
        fault: Some("Locked: ann holds it for firmware-update since 10:00".into()),
        ..machine_view()
    };
    let status = described(&held, NodeStatus::default());
    let locked = condition(&status.conditions, "Locked").unwrap();
    assert_eq!(locked.status, ConditionStatus::True);
    assert!(locked.message.starts_with("ann holds it"), "{locked:?}");
    let freed = described(&machine_view(), status);
    let freed = condition(&freed.conditions, "Locked").unwrap();
    assert_eq!(freed.status, ConditionStatus::False);
}
