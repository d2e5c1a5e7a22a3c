//! The hands of the core: carries out its steps and brings back what came of them.
//! In: inputs for the core. Out: messages on the link, journal writes, jobs for the host.
//! Holds: steps are carried out in their order; answers that are known at once are fed back before anything else.

use crate::clock::Clock;
use crate::host::Host;
use crate::journal_file::JournalFile;
use crate::publications::{Publications, RESULT_EXPIRY};
use agent_core::{Agent, Input, Refusal, Report, Step, Ticket};
use proto_link::{Delivery, LinkHandle, Message};
use proto_mqtt::Challenge;
use proto_mqtt::report::{Inventory, Policy, Status};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// What became of a message, later.
pub(crate) type Delivered = Pin<Box<dyn Future<Output = Delivery> + Send>>;

/// The part of the MQTT link that the shell needs.
pub(crate) trait Link {
    /// Publishes at most once.
    fn publish(&self, message: Message) -> Delivered;
    /// Publishes until the broker has it, through reconnections.
    fn publish_until_acked(&self, message: Message, within: Duration);
}

impl Link for LinkHandle {
    fn publish(&self, message: Message) -> Delivered {
        Box::pin(Self::publish(self, message))
    }

    fn publish_until_acked(&self, message: Message, within: Duration) {
        // The message is handed over in the call; nobody waits for its confirmation.
        drop(Self::publish_until_acked(self, message, within));
    }
}

/// Everything that one agent consists of.
pub(crate) struct Shell<L> {
    pub(crate) agent: Agent,
    pub(crate) link: L,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) publications: Publications,
    pub(crate) journal: JournalFile,
    pub(crate) clock: Clock,
    /// Where answers that take a while are sent to; the owner feeds them.
    pub(crate) answers: mpsc::Sender<Input>,
    /// What the next last will is made of.
    pub(crate) will: Arc<Mutex<Status>>,
    /// What the core was told last of what stands against switching off.
    pub(crate) policy: Policy,
    /// The inventory that was published last.
    pub(crate) announced: Option<Inventory>,
    /// Whether the core said that this is the end.
    pub(crate) ended: bool,
}

impl<L: Link> Shell<L> {
    /// Feeds one input and carries out everything that follows from it at once.
    pub(crate) fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        // Somebody may have begun to work on the host since the last look, which costs one system call.
        let maintenance = self.host.in_maintenance();
        if maintenance != self.policy.maintenance {
            inputs.push_front(Input::Policy(Policy {
                maintenance,
                ..self.policy
            }));
        }
        while let Some(input) = inputs.pop_front() {
            if let Input::Policy(policy) = &input {
                self.policy = *policy;
            }
            let steps = self.agent.observe(input, self.clock.now());
            inputs.extend(steps.into_iter().filter_map(|step| self.carry_out(step)));
        }
        *self.will.lock().unwrap_or_else(PoisonError::into_inner) = self.agent.will(0);
    }

    /// Carries out the steps that [`Agent::new`] gave.
    pub(crate) fn start(&mut self, steps: Vec<Step>) {
        let answers: Vec<Input> = steps
            .into_iter()
            .filter_map(|step| self.carry_out(step))
            .collect();
        for answer in answers {
            self.feed(answer);
        }
    }

    /// How long until the core wants to know the time.
    pub(crate) fn until_deadline(&self) -> Option<Duration> {
        let deadline = self.agent.deadline()?;
        Some(Duration::from_millis(
            deadline.saturating_sub(self.clock.now().boot_ms),
        ))
    }

    /// Publishes what the host is made of and how it is.
    pub(crate) fn announce(&mut self) {
        self.announced = None;
        self.announce_changes();
    }

    /// The same, but what the host is made of only if that has changed since the last time.
    pub(crate) fn announce_changes(&mut self) {
        let inventory = self.host.inventory();
        if self.announced.as_ref() != Some(&inventory) {
            self.publish(self.publications.inventory(&inventory));
            self.announced = Some(inventory);
        }
        self.announce_health();
    }

    fn announce_health(&self) {
        let health = self.host.health(self.clock.now().boot_ms / 1000);
        self.publish(self.publications.health(&health));
    }

    /// Looks whether anything stands against switching off, and feeds it when known.
    pub(crate) fn look_at_policy(&self) {
        let (looked, answers) = (self.host.policy(), self.answers.clone());
        tokio::spawn(async move {
            let _ = answers.send(Input::Policy(looked.await)).await;
        });
    }

    fn carry_out(&mut self, step: Step) -> Option<Input> {
        match step {
            Step::Beat => return challenge(),
            Step::Publish {
                report,
                ticket: Some(ticket),
            } => self.publish_tracked(&report, ticket),
            Step::Publish {
                report,
                ticket: None,
            } => self.publish_report(&report),
            Step::Announce => self.announce(),
            Step::WriteJournal(journal) => {
                let written = self.journal.write(&journal).inspect_err(|error| {
                    tracing::error!(%error, "journal not written");
                });
                return Some(Input::Journaled {
                    written: written.is_ok(),
                });
            }
            Step::Arm { id } => {
                return Some(Input::Armed {
                    id,
                    outcome: self.host.arm(),
                });
            }
            Step::Carry(job) => {
                tracing::info!(id = %job.id, verb = job.order.word(), target = %job.target, "carrying out");
                let (id, carried, answers) = (job.id, self.host.carry(job), self.answers.clone());
                tokio::spawn(async move {
                    let _ = answers
                        .send(Input::Ended {
                            id,
                            result: carried.await,
                        })
                        .await;
                });
            }
            Step::Log(refusal) => log(&refusal),
            Step::Exit => self.ended = true,
        }
        None
    }

    fn publish_tracked(&self, report: &Report, ticket: Ticket) {
        let delivered = self.link.publish(self.publications.report(report));
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let reached = delivered.await == Delivery::Delivered;
            let _ = answers.send(Input::Delivered { ticket, reached }).await;
        });
    }

    /// Results wait for a coordinator that is away; everything else is said again on the next connection.
    fn publish_report(&self, report: &Report) {
        let message = self.publications.report(report);
        match report {
            Report::Result(result) => {
                let code = result.code.map(proto_mqtt::report::Code::as_str);
                tracing::info!(id = %result.id, state = %result.state, code, "result");
                self.link.publish_until_acked(message, RESULT_EXPIRY);
            }
            Report::Status(_) | Report::Heartbeat(_) | Report::Last(_) => self.publish(message),
        }
    }

    fn publish(&self, message: Message) {
        // The message is handed over in the call; nobody waits for its confirmation.
        drop(self.link.publish(message));
    }
}

/// No randomness, no challenge, and so no command: it fails safe.
fn challenge() -> Option<Input> {
    let mut bytes = [0u8; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Some(Input::Challenge(Challenge(bytes))),
        Err(error) => {
            tracing::error!(%error, "no random bytes: no heartbeat");
            None
        }
    }
}

fn log(refusal: &Refusal) {
    let id = refusal.id.map(|id| id.to_string());
    tracing::warn!(code = %refusal.code, id, detail = %refusal.detail, "refused");
}

#[cfg(test)]
mod tests;
