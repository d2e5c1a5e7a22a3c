//! Requests of people, while the core cannot take them; what is read between taking the Lease and leading.

use std::{collections::VecDeque, convert::Infallible, sync::Mutex};

use coordinator_core::{Action, Ask, Now, Rejected, View};
use coordinator_crds::{NodeStatus, node_status};
use kube::client::Body;
use serde_json::{Value, json};

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

/// A cluster without objects of ours, whose ConfigMap is answered with each of these in turn.
fn cluster(answers: Vec<(u16, Value)>) -> Cluster {
    let answers = Mutex::new(VecDeque::from(answers));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (code, object) = if request.uri().path().ends_with(AGENTS) {
            answers.lock().unwrap().pop_front().unwrap()
        } else {
            let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []});
            (200, list)
        };
        let body = Body::from(object.to_string().into_bytes());
        let response = http::Response::builder().status(code).body(body).unwrap();
        async { Ok::<_, Infallible>(response) }
    });
    Cluster::with_client(kube::Client::new(service, "lab"), "own")
}

/// What comes between taking the Lease and leading, in front of such a cluster.
async fn caught_up(answers: Vec<(u16, Value)>, mandate: Mandate) -> (Option<u32>, Vec<Seen>) {
    let shared = Shared {
        cluster: cluster(answers),
        mirror: Arc::default(),
        mandate: mandate.clone(),
        metrics: Metrics::unregistered(),
    };
    let election = Election {
        enabled: true,
        lease: Duration::from_secs(15),
        renew: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };
    let me = Candidate {
        identity: "b".into(),
        incarnation: "1".into(),
        exclusive: true,
        contested: true,
    };
    let (handle, _seat) = engine::open(mandate.clone());
    let facts = (shared.metrics.clone(), handle.facts);
    let mut leadership = Leadership::new(&shared.cluster, me.clone(), election, mandate, facts);
    let inputs = Inputs {
        shared,
        me,
        election,
        notices: mpsc::channel(1).0,
    };
    let (queue, mut seen) = mpsc::channel(8);
    let epoch = inputs.catch_up(7, &queue, &mut leadership).await;
    drop(queue);
    let mut told = Vec::new();
    while let Some(one) = seen.recv().await {
        told.push(one);
    }
    (epoch, told)
}

#[tokio::test(start_paused = true)]
async fn nobody_leads_before_it_knows_the_keys_that_an_earlier_leader_pinned() {
    let away = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "away", "reason": "", "code": 503});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": AGENTS},
        "data": {"coordinatorKey": "ed25519:c", "key.pi": "ed25519:first"}});
    let answers = vec![(503, away.clone()), (503, away.clone()), (200, map)];
    let (epoch, seen) = caught_up(answers, Mandate::standing()).await;
    assert_eq!(epoch, Some(7));
    let Some(Seen::RelayKeys(keys)) = seen.last() else {
        panic!("{seen:?}");
    };
    let pinned = [(AgentId::new("pi"), "ed25519:first".to_owned())];
    assert_eq!(*keys, BTreeMap::from(pinned));

    let (epoch, _) = caught_up(vec![(503, away)], Mandate::default()).await;
    assert_eq!(epoch, None, "not without them");
}
