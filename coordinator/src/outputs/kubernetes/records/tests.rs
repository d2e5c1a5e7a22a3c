//! Which writes a status needs, and which it does not.

use coordinator_crds::node_status::{Ask, AskVerb, Token as Stored};
use http::Method;
use serde_json::{Value, json};

use super::{
    super::fake_api::{Asked, Reply, count, object, refusal, writer},
    *,
};

fn place() -> Place {
    Place {
        uid: "u".into(),
        ..Place::default()
    }
}

fn with_token() -> NodeStatus {
    NodeStatus {
        token: Some(Stored { epoch: 1, seq: 2 }),
        ..NodeStatus::default()
    }
}

#[test]
fn a_stored_token_is_tested_before_anything_is_written() {
    let after = NodeStatus {
        phase: Some("Waking".into()),
        token: Some(Stored { epoch: 1, seq: 3 }),
        ..NodeStatus::default()
    };
    let steps = machine_steps(&place(), Some(&with_token()), &after).unwrap();
    assert_eq!(
        steps.as_json(),
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "test", "path": "/status/token", "value": {"epoch": 1, "seq": 2}},
            {"op": "test", "path": "/status/operation", "value": null},
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
    assert_eq!(steps[4], json!({"op": "remove", "path": "/status/ask"}));
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

fn record_with(epoch: u32, seq: u32) -> MachineRecord {
    MachineRecord {
        token: Token { epoch, seq },
        boot_id: Some("b".into()),
        ..MachineRecord::default()
    }
}

/// Stores a record at token 1.3 over what the mirror knows at 1.2, in front of a server that refuses it and holds this.
async fn refused(stored: Value) -> (Result<(), CallFault>, Writer, Asked) {
    let (writer, asked) = writer(move |method| {
        if *method == Method::GET {
            object("Node", "nuc1", 9, stored.clone())
        } else {
            refusal(422, "the server rejected our request")
        }
    });
    writer.knows_machine(with_token());
    let machine = MachineId::new("nuc1");
    let outcome = record(&writer, &machine, &record_with(1, 3), &View::default()).await;
    (outcome, writer, asked)
}

#[tokio::test]
async fn what_is_refused_although_nothing_changed_is_our_fault_and_not_repeated() {
    let (outcome, writer, asked) = refused(json!({"token": {"epoch": 1, "seq": 2}})).await;
    assert_eq!(store_fault(&outcome.unwrap_err()), StoreFault::Refused);
    assert_eq!(count(&asked, &Method::PATCH), 1);
    assert!(writer.shared.mandate.holds());
}

#[tokio::test]
async fn a_successor_is_not_written_over_and_ends_the_mandate() {
    let (outcome, writer, asked) = refused(json!({"token": {"epoch": 2, "seq": 0}})).await;
    assert_eq!(store_fault(&outcome.unwrap_err()), StoreFault::Unavailable);
    assert_eq!(count(&asked, &Method::PATCH), 1, "none after the read");
    assert!(!writer.shared.mandate.holds());
}

#[tokio::test]
async fn a_successor_that_the_watch_has_shown_already_is_not_even_tried_against() {
    let (writer, asked) = writer(|_| Reply::Silence);
    writer.knows_machine(NodeStatus {
        token: Some(Stored { epoch: 2, seq: 0 }),
        ..NodeStatus::default()
    });
    let machine = MachineId::new("nuc1");
    let outcome = record(&writer, &machine, &record_with(1, 3), &View::default()).await;
    assert!(outcome.is_err() && !writer.shared.mandate.holds());
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_somebody_else_changed_is_built_upon_once_it_was_read() {
    let (outcome, _, asked) =
        refused(json!({"token": {"epoch": 1, "seq": 2}, "bootID": "x"})).await;
    // Read once, it stays as it was read: the second refusal is ours.
    assert_eq!(store_fault(&outcome.unwrap_err()), StoreFault::Refused);
    assert_eq!(count(&asked, &Method::PATCH), 2);
}

#[test]
fn the_operation_that_was_seen_is_tested_too() {
    let mut before = with_token();
    documents::store_machine(
        &MachineRecord {
            operation: Some(Box::new(coordinator_core::Operation {
                id: "01JD0000000000000000000000".into(),
                kind: coordinator_core::OperationKind::Wake,
                token: Token { epoch: 1, seq: 2 },
                boot_id: None,
                started_at_ms: 0,
                by: "test".into(),
                ordered_at_ms: None,
                going_down: false,
            })),
            ..record_with(1, 2)
        },
        &mut before,
    );
    let steps = machine_steps(&place(), Some(&before), &with_token()).unwrap();
    assert_eq!(
        steps.as_json()[2],
        json!({"op": "test", "path": "/status/operation/id", "value": "01JD0000000000000000000000"})
    );
}
