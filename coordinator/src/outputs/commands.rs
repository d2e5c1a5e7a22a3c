//! Commands on their way to agents: signed here, published once, never retained.
//! In: `Send` and `Ping`. Out: MQTT messages on the present connection to the broker.
//! Holds: nothing is kept for later: without a connection a command is lost, and the core's own time limits notice.
//! Not here: when something is sent, and again (`coordinator-core`); the connection itself (`inputs::reports`).

use std::sync::Arc;

use coordinator_core::{Action, AgentId, Command};
use proto_link::{Delivery, LinkHandle, Message};
use tokio::sync::watch;

use crate::metrics::{Metrics, Sending};
use crate::outputs::Outputs;

mod key;
mod to_wire;

pub use key::{CoordinatorKey, KeyFault, SEED_BYTES};

/// The present connection to the broker, if there is one; whoever makes connections sets it.
pub type Line = watch::Receiver<Option<LinkHandle>>;

/// Signs and publishes.
pub struct Commands {
    line: Line,
    key: Arc<CoordinatorKey>,
    metrics: Metrics,
}

impl Commands {
    /// Publishes over whatever connection `line` holds at the time. Must be used inside a tokio runtime.
    #[must_use]
    pub fn new(line: Line, key: Arc<CoordinatorKey>, metrics: Metrics) -> Self {
        Self { line, key, metrics }
    }

    fn send(&self, command: &Command) {
        let verb = to_wire::word(&command.verb);
        let message = match to_wire::message(command, &self.key) {
            Ok(message) => message,
            Err(fault) => {
                tracing::error!(id = command.id, agent = %command.agent, verb, %fault, "command cannot be expressed");
                self.metrics.command(verb, Sending::Unsayable);
                return;
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
        let metrics = self.metrics.clone();
        let (id, agent) = (command.id.clone(), command.agent.clone());
        self.publish(message, move |delivery| {
            let outcome = outcome(&delivery);
            metrics.command(verb, outcome);
            if delivery != Delivery::Delivered {
                tracing::debug!(id, %agent, outcome = outcome.as_str(), "command not delivered");
            }
        });
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
        self.publish(message, move |delivery| {
            if delivery != Delivery::Delivered {
                tracing::debug!(%agent, outcome = outcome(&delivery).as_str(), "ping not delivered");
            }
        });
    }

    fn publish(&self, message: Message, then: impl FnOnce(Delivery) + Send + 'static) {
        let link = self.line.borrow().clone();
        match link {
            Some(link) => {
                // Taken over in the call, so the order of the core stays; only the outcome is awaited.
                let delivery = link.publish(message);
                tokio::spawn(async move { then(delivery.await) });
            }
            None => then(Delivery::Lost),
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
            | Action::PatchNode { .. }
            | Action::RetireNode { .. }
            | Action::Event(_) => {}
        }
    }
}
