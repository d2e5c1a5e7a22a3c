//! Requests of people, while the core cannot take them.

use std::{collections::VecDeque, sync::Mutex};

use coordinator_core::{Action, Ask, Now, Rejected, View};
use coordinator_crds::{NodeStatus, node_status};

use super::*;
use crate::{
    engine::{self, Core},
    outputs::Outputs,
};

/// Answers each request with the next of these, and counts them.
struct Script {
    answers: VecDeque<Answer>,
    actions: Vec<Action>,
    asked: Arc<Mutex<usize>>,
}

impl Core for Script {
    fn observe(&mut self, fact: Fact, _now: Now) {
        if let Fact::Asked { ticket, .. } = fact {
            *self.asked.lock().unwrap() += 1;
            let answer = self.answers.pop_front().unwrap_or(Answer::Done);
            self.actions.push(Action::Answer { ticket, answer });
        }
    }

    fn decide(&mut self, _now: Now) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn view(&mut self, _now: Now) -> Arc<View> {
        Arc::default()
    }
}

struct Nowhere;

impl Outputs for Nowhere {
    fn perform(&mut self, _action: Action) {}
}

fn rejected(kind: RejectedKind) -> Answer {
    Answer::Rejected(Rejected {
        kind,
        message: "not now".into(),
    })
}

/// Puts a request to a core that answers like this; how often it was asked, and whether the person was told of a refusal.
async fn put(answers: Vec<Answer>) -> (usize, bool) {
    let machine = MachineId::new("nuc1");
    let mirror = Arc::new(Mirror::default());
    let status = NodeStatus {
        ask: Some(node_status::Ask {
            id: "one".into(),
            verb: node_status::AskVerb::Retry,
            until: None,
            by: "ann".into(),
        }),
        ..NodeStatus::default()
    };
    mirror.saw_machine(&machine, Place::default(), Some(status));
    let asked = Arc::new(Mutex::new(0));
    let script = Script {
        answers: answers.into(),
        actions: Vec::new(),
        asked: Arc::clone(&asked),
    };
    let (handle, seat) = engine::open(Mandate::standing());
    let engine = tokio::spawn(seat.take(script, Nowhere).run());
    let (notices, mut told) = mpsc::channel(4);
    let request = Request::Ask {
        machine,
        id: "one".into(),
        ask: Ask::Retry,
        by: "ann".into(),
    };
    ask(handle, mirror, notices, request).await;
    engine.await.unwrap();
    let count = *asked.lock().unwrap();
    (count, told.recv().await.is_some())
}

#[tokio::test(start_paused = true)]
async fn a_request_that_could_not_be_stored_in_time_is_put_again() {
    let slow = vec![
        rejected(RejectedKind::DeadlineExceeded),
        rejected(RejectedKind::Unavailable),
    ];
    assert_eq!(put(slow).await, (3, false));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_is_told_to_the_one_who_asked() {
    let refused = vec![rejected(RejectedKind::FailedPrecondition)];
    assert_eq!(put(refused).await, (1, true));
}
