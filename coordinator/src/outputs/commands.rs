//! Commands on their way to agents: signed here, published once, never retained.
//! In: `Send` and `Ping`. Out: MQTT messages on the present connection to the broker; `NotSent` for what has certainly reached nobody.
//! Holds: nothing is kept for later: without a connection a command is lost, and the core's own time limits notice.
//! Holds: no command is written once the mandate has ended, however long it waited on the connection.
//! Not here: when something is sent, and again (`coordinator-core`); the connection itself (`inputs::reports`).

use std::sync::Arc;

use coordinator_core::{Action, AgentId, Command, Fact, NotSent};
use proto_link::{Delivery, LinkHandle};
use tokio::sync::watch;

use crate::engine::Facts;
use crate::mandate::Mandate;
use crate::metrics::{Metrics, Sending};
use crate::outputs::Outputs;

mod key;
pub mod to_wire;

pub use key::{CoordinatorKey, KeyFault, SEED_BYTES};

/// The present connection to the broker, if there is one; whoever makes connections sets it.
pub type Line = watch::Receiver<Option<LinkHandle>>;

/// Signs and publishes.
pub struct Commands {
    line: Line,
    key: Arc<CoordinatorKey>,
    mandate: Mandate,
    facts: Facts,
    metrics: Metrics,
}

impl Commands {
    /// Publishes over whatever connection `line` holds at the time, while `mandate` holds. Must be used inside a tokio runtime.
    #[must_use]
    pub fn new(
        line: Line,
        (key, mandate): (Arc<CoordinatorKey>, Mandate),
        facts: Facts,
        metrics: Metrics,
    ) -> Self {
        Self {
            line,
            key,
            mandate,
            facts,
            metrics,
        }
    }

    fn send(&self, command: &Command) {
        let verb = to_wire::word(&command.verb);
        let left = self.mandate.left();
        if left.is_zero() {
            tracing::warn!(id = command.id, agent = %command.agent, verb, "not sent: this process does not lead any more");
            return self.told(command, verb).stays(Sending::NoMandate);
        }
        let message = match to_wire::message(command, &self.key, left) {
            Ok(message) => message,
            Err(fault) => {
                tracing::error!(id = command.id, agent = %command.agent, verb, %fault, "command cannot be expressed");
                return self.told(command, verb).stays(Sending::Unsayable);
            }
        };
        tracing::info!(
            id = command.id,
            agent = %command.agent,
            target = %command.target,
            verb,
            token = %format_args!("{}.{}", command.token.epoch, command.token.seq),
            by = command.actor,
            "command sent"
        );
        let link = self.line.borrow().clone();
        let told = self.told(command, verb);
        match link {
            Some(link) => {
                let mandate = self.mandate.clone();
                // Taken over in the call, so the order of the core stays; only the outcome is awaited.
                let delivery = link.publish_while(message, move || mandate.holds());
                tokio::spawn(async move { told.of(delivery.await).await });
            }
            None => told.stays(Sending::NoConnection),
        }
    }

    fn told(&self, command: &Command, verb: &'static str) -> Told {
        Told {
            command: command.clone(),
            verb,
            facts: self.facts.clone(),
            metrics: self.metrics.clone(),
        }
    }

    fn ping(&self, agent: &AgentId) {
        let message = match to_wire::ping(agent) {
            Ok(message) => message,
            Err(fault) => {
                tracing::error!(%agent, %fault, "ping cannot be expressed");
                return;
            }
        };
        let agent = agent.clone();
        let Some(link) = self.line.borrow().clone() else {
            tracing::debug!(%agent, "ping not sent: no connection");
            return;
        };
        // It moves nothing, so it needs no mandate.
        let delivery = link.publish(message);
        tokio::spawn(async move {
            let outcome = outcome(&delivery.await);
            tracing::debug!(%agent, outcome = outcome.as_str(), "ping");
        });
    }
}

/// Who is told what became of a command.
struct Told {
    command: Command,
    verb: &'static str,
    facts: Facts,
    metrics: Metrics,
}

impl Told {
    async fn of(self, delivery: Delivery) {
        let outcome = outcome(&delivery);
        self.count(outcome);
        self.tell(outcome).await;
    }

    /// It was not even tried.
    fn stays(self, outcome: Sending) {
        self.count(outcome);
        tokio::spawn(self.tell(outcome));
    }

    /// Tells the core of what has certainly not been sent. What was lost on the way may have arrived.
    async fn tell(self, outcome: Sending) {
        let why = match outcome {
            Sending::Delivered | Sending::Lost => return,
            Sending::NoSubscribers => NotSent::NobodyListens,
            Sending::Refused | Sending::NoConnection | Sending::NoMandate | Sending::Unsayable => {
                NotSent::NoWay
            }
        };
        let Command { id, agent, .. } = self.command;
        let command = id;
        let fact = Fact::NotSent {
            agent,
            command,
            why,
        };
        self.facts.tell(fact).await;
    }

    fn count(&self, outcome: Sending) {
        self.metrics.command(self.verb, outcome);
        if outcome != Sending::Delivered {
            let Command { id, agent, .. } = &self.command;
            tracing::debug!(id, %agent, outcome = outcome.as_str(), "command not delivered");
        }
    }
}

fn outcome(delivery: &Delivery) -> Sending {
    match delivery {
        Delivery::Delivered => Sending::Delivered,
        Delivery::NoSubscribers => Sending::NoSubscribers,
        Delivery::Refused { .. } => Sending::Refused,
        Delivery::Lost => Sending::Lost,
    }
}

impl Outputs for Commands {
    fn perform(&mut self, action: Action) {
        match action {
            Action::Send(command) => self.send(&command),
            Action::Ping { agent } => self.ping(&agent),
            // Routed elsewhere.
            Action::Commit { .. }
            | Action::Record { .. }
            | Action::RecordAgent { .. }
            | Action::Answer { .. }
            | Action::Fence { .. }
            | Action::ListPods { .. }
            | Action::Evict { .. }
            | Action::PatchNode { .. }
            | Action::RetireNode { .. }
            | Action::Event(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
