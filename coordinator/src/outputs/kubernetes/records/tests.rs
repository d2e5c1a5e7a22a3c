//! Which writes a status needs, and which it does not.

use coordinator_crds::node_status::{Ask, AskVerb, Token};
use serde_json::json;

use super::*;

fn place() -> Place {
    Place {
        uid: "u".into(),
        ..Place::default()
    }
}

fn with_token() -> NodeStatus {
    NodeStatus {
        token: Some(Token { epoch: 1, seq: 2 }),
        ..NodeStatus::default()
    }
}

#[test]
fn a_stored_token_is_tested_before_anything_is_written() {
    let after = NodeStatus {
        phase: Some("Waking".into()),
        token: Some(Token { epoch: 1, seq: 3 }),
        ..NodeStatus::default()
    };
    let steps = machine_steps(&place(), Some(&with_token()), &after).unwrap();
    assert_eq!(
        steps.as_json(),
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "test", "path": "/status/token", "value": {"epoch": 1, "seq": 2}},
            {"op": "add", "path": "/status/phase", "value": "Waking"},
            {"op": "add", "path": "/status/token", "value": {"epoch": 1, "seq": 3}},
        ])
    );
}

#[test]
fn a_request_is_only_taken_off_if_it_is_still_that_one() {
    let asked = NodeStatus {
        ask: Some(Ask {
            id: "a1".into(),
            verb: AskVerb::Retry,
            until: None,
            by: "ann".into(),
        }),
        ..with_token()
    };
    let steps = machine_steps(&place(), Some(&asked), &with_token()).unwrap();
    let steps = steps.as_json();
    assert_eq!(steps[1]["path"], "/status/ask");
    assert_eq!(steps[1]["value"]["id"], "a1");
    assert_eq!(steps[3], json!({"op": "remove", "path": "/status/ask"}));
}

#[test]
fn nothing_is_written_where_nothing_differs() {
    assert_eq!(
        machine_steps(&place(), Some(&with_token()), &with_token()),
        None
    );
}

#[test]
fn words_alone_are_no_reason_to_write() {
    let condition = |message: &str, reason: &str| NodeStatus {
        conditions: documents::refresh(
            &[],
            &[documents::Finding::new(
                "Ready",
                coordinator_crds::ConditionStatus::False,
                reason,
                message,
            )],
            Some(1),
            1_000,
        ),
        ..NodeStatus::default()
    };
    let old = condition("90 s after the first packet", "WakeUnanswered");
    assert!(same_but_words(
        &old,
        &condition("120 s after the first packet", "WakeUnanswered")
    ));
    assert!(!same_but_words(
        &old,
        &condition("90 s after the first packet", "BootTimeout")
    ));
    assert!(same_but_words(
        &condition("sent", "WakeSent"),
        &condition("has power", "Booting")
    ));
    assert!(!same_but_words(&old, &condition("has power", "Booting")));
}
