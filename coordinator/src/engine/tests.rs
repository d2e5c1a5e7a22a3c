//! The order of things around a scripted core: view, actions, answers; deadlines; callers that go away.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use coordinator_core::{AgentId, GroupId};

use super::*;

type Decision = Box<dyn FnMut(&mut Script) -> Vec<Action> + Send>;

/// A core whose every decision is written down by the test.
#[derive(Default)]
struct Script {
    observed: Vec<Fact>,
    broker_up: bool,
    deadline: Option<u64>,
    decisions: Arc<AtomicUsize>,
    decide: Option<Decision>,
}

impl Core for Script {
    fn observe(&mut self, fact: Fact, _now: Now) {
        if let Fact::Broker { up } = fact {
            self.broker_up = up;
        }
        self.observed.push(fact);
    }

    fn decide(&mut self, _now: Now) -> Vec<Action> {
        self.decisions.fetch_add(1, Ordering::SeqCst);
        let Some(mut decide) = self.decide.take() else {
            return Vec::new();
        };
        let actions = decide(self);
        self.decide = Some(decide);
        actions
    }

    fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    fn view(&mut self, _now: Now) -> Arc<View> {
        Arc::new(View {
            broker_up: self.broker_up,
            ..View::default()
        })
    }
}

/// Notes what it was given, and what the view showed at that moment.
#[derive(Clone)]
struct Notes {
    view: watch::Receiver<Arc<View>>,
    seen: Arc<Mutex<Vec<(Action, bool)>>>,
}

impl Notes {
    fn new(handle: &Handle) -> Self {
        Self {
            view: handle.view.clone(),
            seen: Arc::default(),
        }
    }
}

impl Outputs for Notes {
    fn perform(&mut self, action: Action) {
        let shown = self.view.borrow().broker_up;
        self.seen.lock().unwrap().push((action, shown));
    }
}

fn increase() -> Request {
    Request::Increase {
        group: GroupId::new("default/workers"),
        delta: 1,
        looked: 0,
    }
}

fn ping() -> Action {
    Action::Ping {
        agent: AgentId::new("pi"),
    }
}

fn tickets(script: &Script) -> Vec<Ticket> {
    script
        .observed
        .iter()
        .filter_map(|fact| {
            if let Fact::Asked { ticket, .. } = fact {
                Some(*ticket)
            } else {
                None
            }
        })
        .collect()
}

fn soon() -> u64 {
    clock::boot_ms() + 60_000
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("in time")
}

#[tokio::test]
async fn the_view_is_published_before_actions_and_answers_and_answers_come_last() {
    let (handle, seat) = open(Mandate::standing());
    let notes = Notes::new(&handle);
    let script = Script {
        decide: Some(Box::new(|script| {
            let answers = tickets(script).into_iter().map(|ticket| Action::Answer {
                ticket,
                answer: Answer::Done,
            });
            let actions: Vec<_> = answers.chain([ping()]).collect();
            script.observed.clear();
            if script.broker_up {
                actions
            } else {
                Vec::new()
            }
        })),
        ..Script::default()
    };
    tokio::spawn(seat.take(script, notes.clone()).run());
    let asking = handle.clone();
    // One queue keeps the order, so the decision that sees the question has seen the fact as well.
    handle.facts.tell(Fact::Broker { up: true }).await;
    let answer = in_time(asking.ask(increase(), soon())).await;
    assert_eq!(answer, Answer::Done);
    assert!(
        handle.current().broker_up,
        "the view shows the effect before the answer is out"
    );
    let seen = notes.seen.lock().unwrap();
    assert!(
        !seen.is_empty(),
        "the action went out before the answer, although it stood behind it"
    );
    assert!(
        seen.iter()
            .all(|(action, shown)| *action == ping() && *shown)
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_wish_and_no_ticket() {
    let (handle, seat) = open(Mandate::standing());
    let mut engine = seat.take(Script::default(), Notes::new(&handle));
    for _ in 0..3 {
        let gone = handle.clone();
        let asking = tokio::spawn(async move { gone.ask(increase(), soon()).await });
        let input = in_time(engine.next_input()).await.unwrap();
        engine.observe(input);
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
    }
    assert_eq!(
        tickets(&engine.core).len(),
        3,
        "every wish reached the core"
    );
    let staying = handle.clone();
    let asking = tokio::spawn(async move { staying.ask(increase(), soon()).await });
    let input = in_time(engine.next_input()).await.unwrap();
    engine.observe(input);
    assert_eq!(engine.waiting.len(), 1, "only the one that waits is kept");
    asking.abort();
}

#[tokio::test]
async fn it_decides_again_when_the_cores_deadline_comes() {
    let (handle, seat) = open(Mandate::standing());
    let decisions = Arc::new(AtomicUsize::new(0));
    let script = Script {
        decisions: Arc::clone(&decisions),
        deadline: Some(clock::boot_ms() + 20),
        decide: Some(Box::new(|script| {
            if script.deadline.is_some_and(|at| at <= clock::boot_ms()) {
                script.deadline = None;
                script.broker_up = true;
            }
            Vec::new()
        })),
        ..Script::default()
    };
    let notes = Notes::new(&handle);
    tokio::spawn(seat.take(script, notes).run());
    let mut view = handle.view.clone();
    in_time(view.wait_for(|view| view.broker_up)).await.unwrap();
    assert!(
        decisions.load(Ordering::SeqCst) >= 2,
        "nothing but the deadline woke it"
    );
}

#[tokio::test]
async fn an_unchanged_view_does_not_wake_readers() {
    let (mut handle, seat) = open(Mandate::standing());
    let mut engine = seat.take(Script::default(), Notes::new(&handle));
    engine.decide();
    handle.view.mark_unchanged();
    engine.decide();
    assert!(!handle.view.has_changed().unwrap());
    engine.core.broker_up = true;
    engine.decide();
    assert!(handle.view.has_changed().unwrap());
}

#[tokio::test]
async fn a_flood_is_cut_into_batches_and_nothing_of_it_is_lost() {
    let (handle, seat) = open(Mandate::standing());
    let mut engine = seat.take(Script::default(), Notes::new(&handle));
    for _ in 0..ROUND + 10 {
        handle.facts.tell(Fact::Loaded).await;
    }
    let mut batches = VecDeque::new();
    for _ in 0..2 {
        let before = engine.core.observed.len();
        let input = in_time(engine.next_input()).await.unwrap();
        engine.observe(input);
        batches.push_back(engine.core.observed.len() - before);
    }
    assert_eq!(batches, [ROUND, 10]);
}

#[tokio::test]
async fn nothing_is_decided_between_facts_that_are_told_together() {
    let (handle, seat) = open(Mandate::standing());
    let notes = Notes::new(&handle);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let script = Script {
        decide: Some(Box::new(move |script: &mut Script| {
            noted.lock().unwrap().push(script.observed.len());
            Vec::new()
        })),
        ..Script::default()
    };
    let engine = tokio::spawn(seat.take(script, notes).run());
    let facts = || (0..2 * ROUND).map(|_| Box::new(Fact::Loaded)).collect();
    handle.facts.tell_together(facts()).await;
    handle.facts.tell_together(facts()).await;
    drop(handle);
    in_time(engine).await.unwrap();
    let seen = seen.lock().unwrap();
    let whole = |observed: &usize| observed.is_multiple_of(2 * ROUND);
    assert!(
        seen.iter().all(whole) && seen.last() == Some(&(4 * ROUND)),
        "{seen:?}"
    );
}

#[tokio::test]
async fn without_an_engine_or_an_answer_the_caller_is_told_so() {
    let rejected = |answer: Answer| {
        let Answer::Rejected(rejected) = answer else {
            panic!("{answer:?}")
        };
        rejected.kind
    };
    let (handle, seat) = open(Mandate::standing());
    let late = in_time(handle.ask(increase(), clock::boot_ms())).await;
    assert_eq!(rejected(late), RejectedKind::DeadlineExceeded);
    drop(seat);
    let ended = in_time(handle.ask(increase(), soon())).await;
    assert_eq!(rejected(ended), RejectedKind::Unavailable);
}

#[tokio::test]
async fn it_ends_when_nobody_can_tell_it_anything_any_more() {
    let (handle, seat) = open(Mandate::standing());
    let notes = Notes {
        view: watch::channel(Arc::default()).1,
        seen: Arc::default(),
    };
    let running = tokio::spawn(seat.take(Script::default(), notes).run());
    drop(handle);
    in_time(running).await.unwrap();
}

#[tokio::test]
async fn nobody_is_told_that_something_is_done_once_the_mandate_has_ended() {
    let mandate = Mandate::standing();
    let (handle, seat) = open(mandate.clone());
    let script = Script {
        decide: Some(Box::new(|script| {
            let tickets = tickets(script).into_iter();
            let answers = tickets.map(|ticket| Action::Answer {
                ticket,
                answer: Answer::Done,
            });
            let answers = answers.collect();
            script.observed.clear();
            answers
        })),
        ..Script::default()
    };
    let notes = Notes::new(&handle);
    tokio::spawn(seat.take(script, notes).run());
    assert_eq!(in_time(handle.ask(increase(), soon())).await, Answer::Done);
    mandate.end();
    let answer = in_time(handle.ask(increase(), soon())).await;
    assert!(
        matches!(answer, Answer::Rejected(ref r) if r.kind == RejectedKind::Unavailable),
        "{answer:?}"
    );
}

/// Costs as much as one that looks at thousands of machines.
fn dear() -> Decision {
    Box::new(|script| {
        let started = std::time::Instant::now();
        while started.elapsed() < 2 * DEAR {
            std::hint::spin_loop();
        }
        let asked = tickets(script);
        script.observed.clear();
        let answer = |ticket| Action::Answer {
            ticket,
            answer: Answer::Done,
        };
        asked.into_iter().map(answer).collect()
    })
}

#[tokio::test]
async fn facts_that_trickle_in_after_a_dear_decision_are_decided_on_together() {
    let (handle, seat) = open(Mandate::standing());
    let notes = Notes::new(&handle);
    let script = Script {
        decide: Some(dear()),
        ..Script::default()
    };
    let decisions = Arc::clone(&script.decisions);
    tokio::spawn(seat.take(script, notes).run());
    let facts = 50;
    for _ in 0..facts {
        handle.facts.tell(Fact::Broker { up: true }).await;
        // As messages come from a socket: the next one after everybody else had a turn.
        tokio::task::yield_now().await;
    }
    let answer = in_time(handle.ask(increase(), soon())).await;
    assert_eq!(answer, Answer::Done);
    let decisions = decisions.load(Ordering::SeqCst);
    assert!(decisions < facts / 2, "{decisions} decisions");
}
