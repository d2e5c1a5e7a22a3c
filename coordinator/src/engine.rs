//! The engine: one task that owns the core, feeds it facts and hands out its actions.
//! In: facts and questions through [`Facts`] and [`Handle`]. Out: a [`View`] for readers, actions for [`Outputs`], answers.
//! Holds: a view is published before any action of the same decision; answers come last; a caller that goes away
//! changes nothing, because what it asked for lives in the core.
//! Not here: decisions (`coordinator-core`), and who carries actions out (`outputs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator_core::{
    Action, Answer, Fact, Lab, Now, Rejected, RejectedKind, Request, Ticket, View,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::clock;
use crate::mandate::Mandate;
use crate::outputs::Outputs;

/// Facts that may wait for the engine; senders wait beyond that. A thousand machines listed at start fit twice.
const QUEUE: usize = 4096;
/// Inputs taken in before the next decision, so that a flood cannot delay decisions for ever.
const ROUND: usize = 256;
/// Longest sleep. Timers stop while the host is suspended and deadlines on the boot clock do not, so the clock is read again.
const LONGEST_NAP: Duration = Duration::from_secs(5);
/// Shortest sleep: bounds the load if the core names a deadline that has passed already.
const SHORTEST_NAP: Duration = Duration::from_millis(5);
/// A decision that takes this long looks at thousands of machines. Messages come a few at a time, and the next decision costs as
/// much for one as for all: as long as this one took, they are gathered first, so that half of the time is left for taking them in.
const DEAR: Duration = Duration::from_millis(20);
/// Longest time for that.
const LONGEST_GATHERING: Duration = Duration::from_millis(500);
/// How much longer than its deadline a caller waits for the core's own word that it is too late.
const LAST_WORD: Duration = Duration::from_millis(100);

/// What decides. Implemented by the core's [`Lab`]; a script in tests.
pub trait Core: Send {
    /// Takes a fact in.
    fn observe(&mut self, fact: Fact, now: Now);
    /// What is to be done now.
    fn decide(&mut self, now: Now) -> Vec<Action>;
    /// When to decide again even if nothing happens, milliseconds on the boot clock.
    fn deadline(&self) -> Option<u64>;
    /// What readers see.
    fn view(&mut self, now: Now) -> Arc<View>;
}

impl Core for Lab {
    fn observe(&mut self, fact: Fact, now: Now) {
        Self::observe(self, fact, now);
    }

    fn decide(&mut self, now: Now) -> Vec<Action> {
        Self::decide(self, now)
    }

    fn deadline(&self) -> Option<u64> {
        Self::deadline(self)
    }

    fn view(&mut self, now: Now) -> Arc<View> {
        Self::view(self, now)
    }
}

/// Facts that belong together. Of a whole lab they are thousands, so none is moved.
pub(crate) type Batch = Vec<Box<Fact>>;

enum Input {
    Fact(Box<Fact>),
    /// Nothing is decided between these.
    Together(Batch),
    Question {
        request: Request,
        deadline_ms: u64,
        reply: oneshot::Sender<Answer>,
    },
}

/// Tells facts to the engine; clones share its queue.
#[derive(Clone, Debug)]
pub struct Facts {
    queue: mpsc::Sender<Input>,
}

impl Facts {
    /// Tells a fact; waits while the queue is full. Facts of one caller arrive in order.
    ///
    /// A fact told after the engine has ended is lost with it: the process is about to end.
    pub async fn tell(&self, fact: Fact) {
        // The error means exactly that the engine has ended.
        let _ = self.queue.send(Input::Fact(Box::new(fact))).await;
    }

    /// Tells facts of which one alone says what is not so, as of an object that is replaced: nothing is decided between them.
    pub(crate) async fn tell_together(&self, facts: Batch) {
        if facts.is_empty() {
            return;
        }
        // The error means exactly that the engine has ended.
        let _ = self.queue.send(Input::Together(facts)).await;
    }

    /// The same as [`tell`](Self::tell) for threads outside of the runtime. Must not be called from a task.
    pub fn tell_blocking(&self, fact: Fact) {
        // The error means exactly that the engine has ended.
        let _ = self.queue.blocking_send(Input::Fact(Box::new(fact)));
    }
}

/// Everything that inputs need: facts in, views and answers out.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Tells facts.
    pub facts: Facts,
    /// The latest view.
    pub view: watch::Receiver<Arc<View>>,
    /// Until when this process may say that something is done.
    pub(crate) mandate: Mandate,
}

impl Handle {
    /// The latest view.
    #[must_use]
    pub fn current(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// What keeps this process from answering out of a view right now; nothing while it has loaded everything and leads.
    ///
    /// The mandate may have ended before the core hears of it: another process may lead by then, and know better.
    #[must_use]
    pub fn waits_for(&self, view: &View) -> Option<&'static str> {
        if !view.serving {
            Some(view.waiting_for)
        } else if !self.mandate.holds() {
            Some("the leader's Lease")
        } else {
            None
        }
    }

    /// Asks for something and waits for the answer, at most until shortly after the deadline (boot clock, milliseconds).
    ///
    /// Dropping the future withdraws nothing.
    pub async fn ask(&self, request: Request, deadline_ms: u64) -> Answer {
        let (reply, answer) = oneshot::channel();
        let question = Input::Question {
            request,
            deadline_ms,
            reply,
        };
        let exchange = async {
            self.facts.queue.send(question).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(clock::until(deadline_ms) + LAST_WORD, exchange).await {
            // What needs no write is refused by no store: another leader may have changed what it rests on.
            Ok(Some(Answer::Done)) if !self.mandate.holds() => {
                rejected(RejectedKind::Unavailable, "another coordinator may lead")
            }
            Ok(Some(answer)) => answer,
            Ok(None) => rejected(
                RejectedKind::Unavailable,
                "the coordinator is shutting down",
            ),
            Err(_) => rejected(
                RejectedKind::DeadlineExceeded,
                "no answer before the caller's deadline",
            ),
        }
    }
}

fn rejected(kind: RejectedKind, message: &str) -> Answer {
    Answer::Rejected(Rejected {
        kind,
        message: message.to_owned(),
    })
}

/// The engine's own end of its queue, until the core and the outputs are there.
pub struct Seat {
    queue: mpsc::Receiver<Input>,
    view: watch::Sender<Arc<View>>,
}

/// Makes the queue and the first, empty view. Outputs need the handle, and the engine needs the outputs: so this comes first.
///
/// While the mandate does not hold nobody is told that anything is done, and nobody may answer out of a view.
#[must_use]
pub fn open(mandate: Mandate) -> (Handle, Seat) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let (publisher, view) = watch::channel(Arc::new(first_view()));
    let handle = Handle {
        facts: Facts { queue: sender },
        view,
        mandate,
    };
    let seat = Seat {
        queue,
        view: publisher,
    };
    (handle, seat)
}

fn first_view() -> View {
    View {
        waiting_for: "the start",
        ..View::default()
    }
}

/// The one task that owns the core.
pub struct Engine<C, O> {
    core: C,
    outputs: O,
    seat: Seat,
    waiting: BTreeMap<Ticket, oneshot::Sender<Answer>>,
    last_ticket: u64,
    /// Until when facts are gathered before the next decision.
    gathers_until: Instant,
}

impl Seat {
    /// The engine, ready to run.
    #[must_use]
    pub fn take<C: Core, O: Outputs>(self, core: C, outputs: O) -> Engine<C, O> {
        Engine {
            core,
            outputs,
            seat: self,
            waiting: BTreeMap::new(),
            last_ticket: 0,
            gathers_until: Instant::now(),
        }
    }
}

impl<C: Core, O: Outputs> Engine<C, O> {
    /// Runs until every [`Handle`] and [`Facts`] is gone.
    pub async fn run(mut self) {
        self.decide();
        while let Some(first) = self.next_input().await {
            self.observe(first);
            self.gather().await;
            let started = Instant::now();
            self.decide();
            let took = started.elapsed();
            if took >= DEAR {
                self.gathers_until = Instant::now() + took.min(LONGEST_GATHERING);
            }
        }
    }

    /// Takes more facts in after a dear decision. Nobody who waits for an answer waits for that.
    async fn gather(&mut self) {
        while self.waiting.is_empty() && Instant::now() < self.gathers_until {
            let more = tokio::time::timeout_at(self.gathers_until, self.seat.queue.recv()).await;
            match more {
                Ok(Some(input)) => self.observe(Some(input)),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// The next input, or a deadline (`Some(None)`); `None` when nobody can send any more.
    async fn next_input(&mut self) -> Option<Option<Input>> {
        let nap = self
            .core
            .deadline()
            .map_or(LONGEST_NAP, clock::until)
            .clamp(SHORTEST_NAP, LONGEST_NAP);
        match tokio::time::timeout(nap, self.seat.queue.recv()).await {
            Ok(input) => input.map(Some),
            Err(_) => Some(None),
        }
    }

    fn observe(&mut self, first: Option<Input>) {
        let now = clock::now();
        let mut next = first;
        let mut room = ROUND;
        while let Some(input) = next {
            room = room.saturating_sub(self.take_in(input, now));
            // Nothing may be taken out of the queue that is not observed in this round.
            next = if room > 0 {
                self.seat.queue.try_recv().ok()
            } else {
                None
            };
        }
    }

    /// How many facts these are.
    fn take_in(&mut self, input: Input, now: Now) -> usize {
        match input {
            Input::Fact(fact) => {
                self.take_fact(*fact, now);
                1
            }
            Input::Together(facts) => {
                let count = facts.len();
                for fact in facts {
                    self.take_fact(*fact, now);
                }
                count
            }
            Input::Question {
                request,
                deadline_ms,
                reply,
            } => {
                let asked = Fact::Asked {
                    ticket: self.ticket(reply),
                    deadline_ms,
                    request,
                };
                self.take_fact(asked, now);
                1
            }
        }
    }

    fn take_fact(&mut self, fact: Fact, now: Now) {
        tracing::trace!(?fact, "observed");
        self.core.observe(fact, now);
    }

    fn ticket(&mut self, reply: oneshot::Sender<Answer>) -> Ticket {
        // Callers that went away need no answer; their wish stays with the core.
        self.waiting.retain(|_, reply| !reply.is_closed());
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.insert(ticket, reply);
        ticket
    }

    /// Wakes readers only if there is something new to read.
    fn publish(&self, view: Arc<View>) {
        self.seat.view.send_if_modified(|shown| {
            let changed = !Arc::ptr_eq(shown, &view) && **shown != *view;
            *shown = view;
            changed
        });
    }

    fn decide(&mut self) {
        let now = clock::now();
        let actions = self.core.decide(now);
        let view = self.core.view(now);
        self.publish(view);
        let mut answers = Vec::new();
        for action in actions {
            tracing::trace!(?action, "decided");
            if let Action::Answer { ticket, answer } = action {
                answers.push((ticket, answer));
            } else {
                self.outputs.perform(action);
            }
        }
        for (ticket, answer) in answers {
            if let Some(reply) = self.waiting.remove(&ticket) {
                // The caller may have gone away meanwhile.
                let _ = reply.send(answer);
            }
        }
    }
}

#[cfg(test)]
mod tests;
