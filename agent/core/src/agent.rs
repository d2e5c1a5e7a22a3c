//! The agent's state and its one entrance.
//! In: one [`Input`] at a time. Out: the [`Step`]s that follow from it, and the next deadline.
//! Holds: deadlines that have passed are served before the input, so a late confirmation never counts.
//! Not here: the checks (`admission`), the way of a command (`flow`), status and heartbeat (`presence`).

use crate::admission::{Admitted, Refused};
use crate::challenges::Challenges;
use crate::config::Config;
use crate::journal::{Journal, Progress, Stored};
use crate::marks::Marks;
use crate::presence::Presence;
use crate::rate::Bucket;
use crate::replies::{Identity, Replies};
use crate::step::{Arrival, Input, Now, Refusal, Report, Step, Ticket, Turn};
use crate::task::{Event, Task};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use proto_mqtt::report::{Code, LastResults, Policy, ResultBody, ResultState};
use proto_mqtt::version::V1;
use proto_mqtt::{AgentTopic, CommandBody, Order, Text, Token, Topic, Ulid};

/// What an agent knows and does.
#[derive(Debug)]
pub struct Agent {
    pub(crate) config: Config,
    pub(crate) challenges: Challenges,
    pub(crate) bucket: Bucket,
    pub(crate) marks: Marks,
    pub(crate) journal: Journal,
    pub(crate) journal_readable: bool,
    pub(crate) journal_written: bool,
    pub(crate) replies: Replies,
    pub(crate) tasks: Vec<Task>,
    pub(crate) policy: Policy,
    pub(crate) presence: Presence,
    /// Where the last barrier stands in the journal that was read or written last.
    pub(crate) floor_on_disk: Token,
    /// Writes under way, oldest first.
    writes: VecDeque<Write>,
    /// Ends of orders of the last process that nobody has been told yet.
    untold: Vec<ResultBody>,
    tickets: u64,
}

/// A journal that is being written.
#[derive(Debug)]
struct Write {
    /// Who waits for it.
    waiting: Option<Ulid>,
    /// Where the last barrier stands in it.
    floor: Token,
}

impl Agent {
    /// An agent that has just started; orders that the last process left open are ended by rule.
    ///
    /// The returned steps make that durable.
    #[must_use]
    pub fn new(config: Config, stored: Stored, now: Now) -> (Self, Vec<Step>) {
        let (journal, journal_readable) = match stored {
            Stored::Readable(journal) => (journal, true),
            Stored::Unreadable => (Journal::default(), false),
        };
        let mut agent = Self {
            challenges: Challenges::default(),
            bucket: Bucket::full(now),
            marks: Marks::restore(journal.floor, &journal.marks),
            floor_on_disk: journal.floor,
            journal,
            journal_readable,
            journal_written: true,
            replies: Replies::default(),
            tasks: Vec::new(),
            policy: Policy::default(),
            presence: Presence::default(),
            writes: VecDeque::new(),
            untold: Vec::new(),
            tickets: 0,
            config,
        };
        agent.challenges.watch(now);
        let mut turn = Turn::at(now);
        agent.settle_last_process(&mut turn);
        (agent, turn.steps)
    }

    /// Takes one input and says what follows.
    pub fn observe(&mut self, input: Input, now: Now) -> Vec<Step> {
        let mut turn = Turn::at(now);
        if self.challenges.watch(now) {
            self.for_each_task(&Event::Suspended, &mut turn);
        }
        self.serve_deadlines(&mut turn);
        self.take(input, &mut turn);
        turn.steps
    }

    fn take(&mut self, input: Input, turn: &mut Turn) {
        match input {
            Input::Connected { conn } => self.on_connected(conn, turn),
            Input::Disconnected => {
                self.presence.disconnected();
                self.for_each_task(&Event::LinkLost, turn);
            }
            Input::Message {
                topic,
                payload,
                retain,
            } => {
                self.on_message(
                    &Arrival {
                        topic: &topic,
                        payload: &payload,
                        retain,
                    },
                    turn,
                );
            }
            Input::Challenge(challenge) => {
                self.challenges.add(challenge, turn.now);
                self.publish_heartbeat(challenge, turn);
            }
            Input::Delivered { ticket, reached } => self.on_delivered(ticket, reached, turn),
            Input::Journaled { written } => self.on_journaled(written, turn),
            Input::Armed { id, outcome } => self.advance(id, Event::Armed(outcome), turn),
            Input::Ended { id, result } => self.advance(id, Event::Ended(result), turn),
            Input::Policy(policy) => self.on_policy(policy, turn),
            Input::Terminating { host } => self.on_terminating(host, turn),
            Input::Tick => {}
        }
    }

    /// When the next [`Input::Tick`] is due, on the boot clock in milliseconds.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let tasks = self.tasks.iter().filter_map(|task| task.stage.deadline());
        tasks.chain(self.presence.deadline()).min()
    }

    fn on_message(&mut self, arrival: &Arrival<'_>, turn: &mut Turn) {
        let own = match arrival.topic.parse::<Topic>() {
            Ok(Topic::Agent(agent, level)) if agent == self.config.id => Some(level),
            Ok(Topic::Agent(..) | Topic::CoordinatorStatus) | Err(_) => None,
        };
        match own {
            Some(AgentTopic::Command) => self.on_command(arrival, turn),
            Some(AgentTopic::Ping) => self.on_ping(arrival.retain, turn),
            Some(AgentTopic::Status) => self.on_own_status(arrival.payload, turn),
            Some(
                AgentTopic::Heartbeat
                | AgentTopic::Health
                | AgentTopic::Inventory
                | AgentTopic::Result
                | AgentTopic::Last,
            )
            | None => {
                let detail = "a message on a topic that this agent did not subscribe to";
                self.refuse(
                    Refused::Unproved(Refusal::new(Code::WrongAud, detail)),
                    turn,
                );
            }
        }
    }

    fn on_command(&mut self, arrival: &Arrival<'_>, turn: &mut Turn) {
        match self.admit(arrival, turn.now) {
            Ok(Admitted::New(body)) => self.begin(*body, turn),
            Ok(Admitted::Answered(result)) => self.publish(Report::Result(result), turn),
            Ok(Admitted::Pending) => {}
            Err(refused) => self.refuse(refused, turn),
        }
    }

    fn on_delivered(&mut self, ticket: Ticket, reached: bool, turn: &mut Turn) {
        if self.presence.farewell_delivered(ticket) {
            turn.steps.push(Step::Exit);
            return;
        }
        let waiting = self
            .tasks
            .iter()
            .find(|task| task.stage.ticket() == Some(ticket));
        if let Some(id) = waiting.map(|task| task.body.id) {
            self.advance(id, Event::Delivered { reached }, turn);
        }
    }

    fn on_journaled(&mut self, written: bool, turn: &mut Turn) {
        self.journal_written = written;
        let Some(write) = self.writes.pop_front() else {
            return;
        };
        if written {
            self.floor_on_disk = write.floor;
        }
        if let Some(id) = write.waiting {
            self.advance(id, Event::Journaled { written }, turn);
        }
    }

    fn on_terminating(&mut self, host: bool, turn: &mut Turn) {
        if self.presence.is_closing() {
            return;
        }
        let by_own_order = self
            .own_power_task()
            .is_some_and(|task| task.stage.is_handed_over());
        self.for_each_task(&Event::Terminating, turn);
        self.say_farewell(host, by_own_order, turn);
    }

    fn serve_deadlines(&mut self, turn: &mut Turn) {
        let due = |task: &&Task| {
            task.stage
                .deadline()
                .is_some_and(|deadline| deadline <= turn.now.boot_ms)
        };
        let ids: Vec<Ulid> = self
            .tasks
            .iter()
            .filter(due)
            .map(|task| task.body.id)
            .collect();
        for id in ids {
            self.advance(id, Event::TimeUp, turn);
        }
        self.serve_presence(turn);
    }

    fn for_each_task(&mut self, event: &Event, turn: &mut Turn) {
        let ids: Vec<Ulid> = self.tasks.iter().map(|task| task.body.id).collect();
        for id in ids {
            self.advance(id, event.clone(), turn);
        }
    }

    fn settle_last_process(&mut self, turn: &mut Turn) {
        let settled = self.journal.settle(&self.config.boot);
        for entry in &self.journal.entries {
            let Progress::Ended(ending) = &entry.progress else {
                continue;
            };
            let identity = Identity {
                verb: entry.verb,
                target: entry.target.clone(),
                token: entry.token,
            };
            let mut result = self.result(entry.id, entry.token, ending.state, turn.now);
            result.code = ending.code;
            result.msg = ending.msg.clone();
            if settled.contains(&entry.id) {
                self.untold.push(result.clone());
            }
            self.replies.record(identity, result);
        }
        if !settled.is_empty() {
            self.write_journal(None, turn);
        }
    }

    /// Tells what the last process left open, once somebody can hear it.
    pub(crate) fn tell_untold(&mut self, turn: &mut Turn) {
        for result in core::mem::take(&mut self.untold) {
            self.publish(Report::Result(result), turn);
        }
        self.publish_last(turn);
    }

    pub(crate) fn publish_last(&self, turn: &mut Turn) {
        let results = self.replies.last();
        if !results.is_empty() {
            self.publish(Report::Last(LastResults { v: V1, results }), turn);
        }
    }

    pub(crate) fn publish(&self, report: Report, turn: &mut Turn) {
        turn.steps.push(Step::Publish {
            report,
            ticket: None,
        });
    }

    pub(crate) fn publish_tracked(&mut self, report: Report, turn: &mut Turn) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        turn.steps.push(Step::Publish {
            report,
            ticket: Some(ticket),
        });
        ticket
    }

    pub(crate) fn write_journal(&mut self, waiting: Option<Ulid>, turn: &mut Turn) {
        self.journal.floor = self.marks.floor();
        // A mark outlives the entries that it came from.
        let stored = self.journal.marks.iter().map(|mark| &mark.target);
        let listed = self.journal.entries.iter().map(|entry| &entry.target);
        self.journal.marks = self.marks.of(stored.chain(listed));
        self.writes.push_back(Write {
            waiting,
            floor: self.journal.floor,
        });
        turn.steps.push(Step::WriteJournal(self.journal.clone()));
    }

    pub(crate) fn result(
        &self,
        id: Ulid,
        token: Token,
        state: ResultState,
        now: Now,
    ) -> ResultBody {
        ResultBody {
            v: V1,
            id,
            token,
            state,
            code: None,
            msg: Text::default(),
            boot: self.config.boot.clone(),
            inst: self.config.inst,
            at_up_s: now.boot_ms / 1000,
            out: None,
        }
    }

    pub(crate) fn result_of(&self, body: &CommandBody, state: ResultState, now: Now) -> ResultBody {
        self.result(body.id, body.token, state, now)
    }

    /// The order under way that takes this host down.
    pub(crate) fn own_power_task(&self) -> Option<&Task> {
        self.tasks
            .iter()
            .find(|task| matches!(task.body.order, Order::PowerOff | Order::PowerReboot))
    }
}
