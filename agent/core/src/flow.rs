//! The way of a command from acceptance to its end.
//! In: a task and an event. Out: its next stage, or its end, with the steps on the way.
//! Holds: a destructive order is carried out only after the journal said accepted, the broker confirmed it, the grace
//! passed and the journal said executing.
//! Not here: what a barrier does (`barrier`).

use crate::admission::Refused;
use crate::agent::Agent;
use crate::journal::{Ending, Entry, Progress};
use crate::marks::Mark;
use crate::replies::Identity;
use crate::step::{Job, Now, Refusal, Report, Step, Turn};
use crate::task::{End, Event, Stage, Task};
use proto_mqtt::command::CommandHead;
use proto_mqtt::report::{Code, Outcome, ResultBody, ResultState, StatusReason};
use proto_mqtt::{CommandBody, Order, Text, Ulid, Verb};

/// How long the broker may take to confirm the acceptance: later, the coordinator has made other plans.
const CONFIRM_MS: u64 = 3000;
/// How long to wait until somebody knows that the host is stopping; it goes down anyway.
const STOPPING_MS: u64 = 2000;
/// How long setting the wake flags may take: a local call for each interface.
const ARM_MS: u64 = 5000;
/// How late a deadline may be noticed; a process that was stopped for longer gives up what has not begun.
const LATE_MS: u64 = 10_000;
/// How long a driver may take for the host: logind answers at once, an own program within its time limit of 45 s.
const HOST_RUN_MS: u64 = 60_000;
/// How long a driver may take for anything else: slow BMCs answer in tens of seconds, several times.
const RUN_MS: u64 = 300_000;
/// How long a host may take from the order to go down until it stops its services.
const FALL_MS: u64 = 180_000;

impl Agent {
    /// Takes a new command on its way.
    pub(crate) fn begin(&mut self, body: CommandBody, turn: &mut Turn) {
        let mark_before = self.marks.get(&body.target);
        self.marks.raise(&body.target, body.token, body.id);
        match &body.order {
            Order::PowerOff | Order::PowerReboot | Order::RedfishOff { .. } => {
                self.journal.push(self.entry(&body, turn.now));
                let id = body.id;
                self.tasks.push(Task {
                    body,
                    stage: Stage::Accepting { mark_before },
                });
                self.write_journal(Some(id), turn);
            }
            Order::Wake(_) | Order::RedfishOn(_) | Order::RedfishStatus(_) => {
                let accepted = self.result_of(&body, ResultState::Accepted, turn.now);
                self.answer(&body, accepted, turn);
                self.enter_grace(
                    Task {
                        body,
                        stage: Stage::Starting,
                    },
                    turn,
                );
            }
            Order::Cancel { id } => self.cancel(&body, *id, turn),
            Order::Barrier => self.raise_barrier(body, turn),
            Order::Refresh => {
                self.publish_status(StatusReason::Update, turn);
                turn.steps.push(Step::Announce);
                turn.steps.push(Step::Beat);
                self.end(&body, End::done(), turn);
            }
            Order::Unknown { .. } => {
                self.end(
                    &body,
                    End::new(ResultState::Refused, Code::Unsupported, "unknown verb"),
                    turn,
                );
            }
        }
    }

    /// Hands an event to a task; nothing happens if the task is gone or the event is not for its stage.
    pub(crate) fn advance(&mut self, id: Ulid, event: Event, turn: &mut Turn) {
        let Some(index) = self.tasks.iter().position(|task| task.body.id == id) else {
            return;
        };
        let task = self.tasks.remove(index);
        let late_ms = task
            .stage
            .deadline()
            .map_or(0, |deadline| turn.now.boot_ms.saturating_sub(deadline));
        let event = if late_ms > LATE_MS && !task.stage.is_handed_over() {
            Event::Suspended
        } else {
            event
        };
        match task.stage.clone() {
            Stage::Barring => self.in_barring(task, &event, turn),
            Stage::Accepting { mark_before } => self.in_accepting(task, mark_before, event, turn),
            Stage::Confirming { .. } => self.in_confirming(task, event, turn),
            Stage::Grace { .. } => self.in_grace(task, &event, turn),
            Stage::Starting => self.in_starting(task, &event, turn),
            Stage::Arming { .. } => self.in_arming(task, event, turn),
            Stage::Stopping { .. } => self.in_stopping(task, &event, turn),
            Stage::Running { .. } => self.in_running(task, event, turn),
            Stage::Falling { .. } => self.in_falling(task, &event, turn),
        }
    }

    fn in_accepting(
        &mut self,
        task: Task,
        mark_before: Option<Mark>,
        event: Event,
        turn: &mut Turn,
    ) {
        match event {
            Event::Journaled { written: true } => {
                let accepted = self.result_of(&task.body, ResultState::Accepted, turn.now);
                self.remember(&task.body, accepted.clone());
                let ticket = self.publish_tracked(Report::Result(accepted), turn);
                let until_ms = turn.now.boot_ms + CONFIRM_MS;
                self.keep(task, Stage::Confirming { ticket, until_ms });
            }
            Event::Journaled { written: false } => {
                self.marks.put_back(&task.body.target, mark_before);
                self.journal.remove(task.body.id);
                let refusal =
                    Refusal::new(Code::JournalUnwritable, "the journal could not be written");
                self.refuse(
                    Refused::Proved(CommandHead::from(&task.body), ResultState::Refused, refusal),
                    turn,
                );
            }
            Event::Cancelled | Event::LinkLost | Event::Suspended | Event::Terminating => {
                // The write is on its way and cannot be recalled; without a confirmation the order ends there.
                self.abort(&task, &event, turn);
            }
            Event::Delivered { .. } | Event::Armed(_) | Event::Ended(_) | Event::TimeUp => {
                self.tasks.push(task)
            }
        }
    }

    fn in_confirming(&mut self, task: Task, event: Event, turn: &mut Turn) {
        match event {
            Event::Delivered { reached: true } => self.enter_grace(task, turn),
            Event::Delivered { reached: false } | Event::TimeUp | Event::LinkLost => {
                self.end_task(&task, End::no_ack_path(), turn);
            }
            Event::Cancelled | Event::Suspended | Event::Terminating => {
                self.abort(&task, &event, turn)
            }
            Event::Journaled { .. } | Event::Armed(_) | Event::Ended(_) => self.tasks.push(task),
        }
    }

    fn in_grace(&mut self, task: Task, event: &Event, turn: &mut Turn) {
        match event {
            Event::TimeUp => self.leave_grace(task, turn),
            // Nobody could cancel any more, and the host's going down would look like a failure.
            Event::LinkLost if task.body.order.verb().is_destructive() => {
                self.end_task(&task, End::no_ack_path(), turn);
            }
            Event::Cancelled | Event::Suspended | Event::Terminating => {
                self.abort(&task, event, turn)
            }
            Event::LinkLost
            | Event::Journaled { .. }
            | Event::Delivered { .. }
            | Event::Armed(_)
            | Event::Ended(_) => self.tasks.push(task),
        }
    }

    fn in_starting(&mut self, task: Task, event: &Event, turn: &mut Turn) {
        match event {
            Event::Journaled { written: true } => match task.body.order.verb() {
                Verb::PowerOff | Verb::PowerReboot => {
                    turn.steps.push(Step::Arm { id: task.body.id });
                    self.keep(
                        task,
                        Stage::Arming {
                            until_ms: turn.now.boot_ms + ARM_MS,
                        },
                    );
                }
                Verb::Wake
                | Verb::RedfishOn
                | Verb::RedfishOff
                | Verb::RedfishStatus
                | Verb::Cancel
                | Verb::Barrier
                | Verb::Refresh
                | Verb::Unknown => {
                    let running = self.result_of(&task.body, ResultState::Running, turn.now);
                    self.answer(&task.body, running, turn);
                    self.carry(task, turn);
                }
            },
            Event::Journaled { written: false } => {
                let end = End::aborted(Code::JournalUnwritable, "the journal could not be written");
                self.end_task(&task, end, turn);
            }
            Event::Suspended | Event::Terminating => self.abort(&task, event, turn),
            Event::Delivered { .. }
            | Event::Armed(_)
            | Event::Ended(_)
            | Event::Cancelled
            | Event::LinkLost
            | Event::TimeUp => self.tasks.push(task),
        }
    }

    fn in_arming(&mut self, task: Task, event: Event, turn: &mut Turn) {
        let outcome = match event {
            Event::Armed(outcome) => outcome,
            Event::TimeUp => None,
            Event::Suspended | Event::Terminating => return self.abort(&task, &event, turn),
            Event::Journaled { .. }
            | Event::Delivered { .. }
            | Event::Ended(_)
            | Event::Cancelled
            | Event::LinkLost => return self.tasks.push(task),
        };
        let mut running = self.result_of(&task.body, ResultState::Running, turn.now);
        running.out = outcome.map(Outcome::Host);
        self.remember(&task.body, running.clone());
        // Retained before the host goes down: a coordinator that is away now must still learn that it did so on purpose.
        self.publish_last(turn);
        let ticket = self.publish_tracked(Report::Result(running), turn);
        self.keep(
            task,
            Stage::Stopping {
                ticket,
                until_ms: turn.now.boot_ms + STOPPING_MS,
            },
        );
        self.publish_status(StatusReason::Op, turn);
    }

    fn in_stopping(&mut self, task: Task, event: &Event, turn: &mut Turn) {
        match event {
            Event::Delivered { .. } | Event::TimeUp | Event::LinkLost => self.carry(task, turn),
            Event::Suspended | Event::Terminating => self.abort(&task, event, turn),
            Event::Journaled { .. } | Event::Armed(_) | Event::Ended(_) | Event::Cancelled => {
                self.tasks.push(task)
            }
        }
    }

    fn in_running(&mut self, task: Task, event: Event, turn: &mut Turn) {
        let own_host = matches!(task.body.order, Order::PowerOff | Order::PowerReboot);
        match event {
            Event::Ended(Ok(_)) if own_host => {
                self.keep(
                    task,
                    Stage::Falling {
                        until_ms: turn.now.boot_ms + FALL_MS,
                    },
                );
            }
            Event::Ended(result) => self.end_task(&task, End::of_driver(result), turn),
            Event::TimeUp => {
                let end = End::new(
                    ResultState::Failed,
                    Code::ExecTimeout,
                    "the driver did not answer",
                );
                self.end_task(&task, end, turn);
            }
            Event::Journaled { .. }
            | Event::Delivered { .. }
            | Event::Armed(_)
            | Event::Cancelled
            | Event::LinkLost
            | Event::Suspended
            | Event::Terminating => self.tasks.push(task),
        }
    }

    fn in_falling(&mut self, task: Task, event: &Event, turn: &mut Turn) {
        match event {
            Event::TimeUp => {
                let end = End::new(
                    ResultState::Failed,
                    Code::Stalled,
                    "the host was told to go down and is still here",
                );
                self.end_task(&task, end, turn);
            }
            Event::Journaled { .. }
            | Event::Delivered { .. }
            | Event::Armed(_)
            | Event::Ended(_)
            | Event::Cancelled
            | Event::LinkLost
            | Event::Suspended
            | Event::Terminating => self.tasks.push(task),
        }
    }

    fn cancel(&mut self, body: &CommandBody, id: Ulid, turn: &mut Turn) {
        let begun = self
            .tasks
            .iter()
            .find(|task| task.body.id == id)
            .map(|task| task.stage.has_begun());
        let end = match begun {
            Some(false) => {
                self.advance(id, Event::Cancelled, turn);
                End::done()
            }
            Some(true) => End::new(ResultState::Refused, Code::Busy, "the order has begun"),
            None => End::new(
                ResultState::Refused,
                Code::Precondition,
                "no such order waits here",
            ),
        };
        self.end(body, end, turn);
    }

    fn enter_grace(&mut self, task: Task, turn: &mut Turn) {
        if task.body.delay_ms == 0 {
            return self.leave_grace(task, turn);
        }
        let until_ms = turn.now.boot_ms + u64::from(task.body.delay_ms);
        self.keep(task, Stage::Grace { until_ms });
    }

    fn leave_grace(&mut self, task: Task, turn: &mut Turn) {
        let verb = task.body.order.verb();
        if matches!(verb, Verb::PowerOff | Verb::PowerReboot)
            && let Err(refusal) = self.check_policy()
        {
            let end = End::aborted(refusal.code, refusal.detail.as_str());
            return self.end_task(&task, end, turn);
        }
        if !verb.is_destructive() {
            return self.carry(task, turn);
        }
        let id = task.body.id;
        self.journal.progress(id, Progress::Executing);
        self.keep(task, Stage::Starting);
        self.write_journal(Some(id), turn);
    }

    fn carry(&mut self, task: Task, turn: &mut Turn) {
        let limit_ms = match task.body.order {
            Order::PowerOff | Order::PowerReboot => HOST_RUN_MS,
            Order::Wake(_)
            | Order::RedfishOn(_)
            | Order::RedfishOff { .. }
            | Order::RedfishStatus(_)
            | Order::Cancel { .. }
            | Order::Barrier
            | Order::Refresh
            | Order::Unknown { .. } => RUN_MS,
        };
        turn.steps.push(Step::Carry(Job {
            id: task.body.id,
            target: task.body.target.clone(),
            order: task.body.order.clone(),
            expect: task.body.expect.map(|expect| expect.power),
        }));
        self.keep(
            task,
            Stage::Running {
                until_ms: turn.now.boot_ms + limit_ms,
            },
        );
    }

    fn abort(&mut self, task: &Task, event: &Event, turn: &mut Turn) {
        let end = match event {
            Event::Cancelled => End {
                state: ResultState::Cancelled,
                code: None,
                msg: Text::shortened("cancelled by the coordinator"),
                out: None,
            },
            Event::Terminating => End {
                state: ResultState::Aborted,
                code: None,
                msg: Text::shortened("the agent ended before the order began"),
                out: None,
            },
            Event::Suspended => End::aborted(
                Code::Expired,
                "the agent was stopped or the host asleep in between",
            ),
            Event::LinkLost
            | Event::TimeUp
            | Event::Journaled { .. }
            | Event::Delivered { .. }
            | Event::Armed(_)
            | Event::Ended(_) => End::no_ack_path(),
        };
        self.end_task(task, end, turn);
    }

    fn end_task(&mut self, task: &Task, end: End, turn: &mut Turn) {
        if task.body.order.verb().is_destructive() {
            let ending = Ending {
                state: end.state,
                code: end.code,
                msg: end.msg.clone(),
            };
            self.journal.progress(task.body.id, Progress::Ended(ending));
            self.write_journal(None, turn);
        }
        self.end(&task.body, end, turn);
        if task.stage.is_taking_down()
            && matches!(task.body.order, Order::PowerOff | Order::PowerReboot)
        {
            self.publish_status(StatusReason::Update, turn);
        }
    }

    pub(crate) fn end(&mut self, body: &CommandBody, end: End, turn: &mut Turn) {
        let mut result = self.result_of(body, end.state, turn.now);
        result.code = end.code;
        result.msg = end.msg;
        result.out = end.out;
        self.answer(body, result, turn);
        self.publish_last(turn);
    }

    fn answer(&mut self, body: &CommandBody, result: ResultBody, turn: &mut Turn) {
        self.remember(body, result.clone());
        self.publish(Report::Result(result), turn);
    }

    fn remember(&mut self, body: &CommandBody, result: ResultBody) {
        self.replies.record(Identity::from(body), result);
    }

    fn keep(&mut self, task: Task, stage: Stage) {
        self.tasks.push(Task { stage, ..task });
    }

    fn entry(&self, body: &CommandBody, now: Now) -> Entry {
        Entry {
            id: body.id,
            token: body.token,
            target: body.target.clone(),
            verb: body.order.verb(),
            progress: Progress::Accepted,
            boot: self.config.boot.clone(),
            at_boot_ms: now.boot_ms,
            at_wall_s: now.wall_s,
        }
    }
}
