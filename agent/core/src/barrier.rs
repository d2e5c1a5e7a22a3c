//! The barrier that a new leader puts up before its first order.
//! In: a signed barrier. Out: `done` once orders of earlier leaders are refused, by the next process too.
//! Holds: it stands before anything is answered; where it cannot be written down it ends with this process, and the answer
//! says so.

use crate::admission::Refused;
use crate::agent::Agent;
use crate::step::{Refusal, Turn};
use crate::task::{End, Event, Stage, Task};
use proto_mqtt::CommandBody;
use proto_mqtt::command::CommandHead;
use proto_mqtt::report::{Code, ResultState};

impl Agent {
    pub(crate) fn raise_barrier(&mut self, body: CommandBody, turn: &mut Turn) {
        self.marks.bar(body.token);
        // What another order has written, or tries to write, counts only once it is on disk.
        if self.floor_on_disk == self.marks.floor() {
            return self.end(&body, End::done(), turn);
        }
        if !self.journal_readable {
            return self.refuse_barrier(&body, "the journal cannot be read", turn);
        }
        let id = body.id;
        let stage = Stage::Barring;
        self.tasks.push(Task { body, stage });
        self.write_journal(Some(id), turn);
    }

    pub(crate) fn in_barring(&mut self, task: Task, event: &Event, turn: &mut Turn) {
        match event {
            Event::Journaled { written: true } => self.end(&task.body, End::done(), turn),
            // The same barrier, signed again, is written again.
            Event::Journaled { written: false } => {
                self.refuse_barrier(&task.body, "the journal could not be written", turn);
            }
            Event::Delivered { .. }
            | Event::Armed(_)
            | Event::Ended(_)
            | Event::Cancelled
            | Event::LinkLost
            | Event::Suspended
            | Event::Terminating
            | Event::TimeUp => self.tasks.push(task),
        }
    }

    fn refuse_barrier(&mut self, body: &CommandBody, why: &str, turn: &mut Turn) {
        let detail = alloc::format!("the barrier ends with this process: {why}");
        let refusal = Refusal::new(Code::JournalUnwritable, &detail);
        let head = CommandHead::from(body);
        self.refuse(Refused::Proved(head, ResultState::Refused, refusal), turn);
    }
}
