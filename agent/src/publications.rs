//! Reports as MQTT messages: which topic, how long they live, who keeps them, what is signed.

use agent_core::Report;
use proto_link::{Message, Qos, Subscription};
use proto_mqtt::key::Signer;
use proto_mqtt::report::{Health, Inventory, LastResults, Status};
use proto_mqtt::{AgentId, AgentTopic, Envelope, MAX_PAYLOAD_BYTES, Payload, Purpose};
use std::time::Duration;

/// Three heartbeats: an older one only invites commands that come too late.
const HEARTBEAT_EXPIRY: Duration = Duration::from_secs(30);
/// Five health reports: a stale reading vanishes instead of looking fresh.
const HEALTH_EXPIRY: Duration = Duration::from_secs(300);
/// How long a result is offered to a coordinator that is away.
pub(crate) const RESULT_EXPIRY: Duration = Duration::from_secs(600);

/// One agent's topics and key.
#[derive(Debug)]
pub(crate) struct Publications {
    id: AgentId,
    signer: Signer,
}

impl Publications {
    pub(crate) fn new(id: AgentId, signer: Signer) -> Self {
        Self { id, signer }
    }

    /// Exactly the three topics that an agent reads.
    pub(crate) fn subscriptions(id: &AgentId) -> Vec<Subscription> {
        let topic = |topic: AgentTopic| topic.of(id).to_string();
        vec![
            Subscription::live(topic(AgentTopic::Command)),
            Subscription {
                qos: Qos::AtMostOnce,
                ..Subscription::live(topic(AgentTopic::Ping))
            },
            Subscription::stored(topic(AgentTopic::Status)),
        ]
    }

    pub(crate) fn report(&self, report: &Report) -> Message {
        match report {
            Report::Status(status) => Self::status(&self.id, status),
            Report::Heartbeat(heartbeat) => Message {
                qos: Qos::AtMostOnce,
                expiry: Some(HEARTBEAT_EXPIRY),
                ..Message::once(self.topic(AgentTopic::Heartbeat), heartbeat.encode())
            },
            Report::Result(result) => Message {
                expiry: Some(RESULT_EXPIRY),
                ..self.signed(AgentTopic::Result, result.encode_text())
            },
            Report::Last(last) => self.last(last),
        }
    }

    /// Also the last will, which is made before there is anything else.
    pub(crate) fn status(id: &AgentId, status: &Status) -> Message {
        Message {
            retain: true,
            ..Message::once(AgentTopic::Status.of(id).to_string(), status.encode())
        }
    }

    pub(crate) fn inventory(&self, inventory: &Inventory) -> Message {
        Message {
            retain: true,
            ..Message::once(self.topic(AgentTopic::Inventory), inventory.encode())
        }
    }

    pub(crate) fn health(&self, health: &Health) -> Message {
        Message {
            qos: Qos::AtMostOnce,
            retain: true,
            expiry: Some(HEALTH_EXPIRY),
            ..Message::once(self.topic(AgentTopic::Health), health.encode())
        }
    }

    /// The oldest outcomes give way if all of them are more than a reader accepts.
    fn last(&self, last: &LastResults) -> Message {
        let mut kept = last.clone();
        loop {
            let message = self.signed(AgentTopic::Last, kept.encode_text());
            if message.payload.len() <= MAX_PAYLOAD_BYTES || kept.results.is_empty() {
                return Message {
                    retain: true,
                    ..message
                };
            }
            kept.results.remove(0);
        }
    }

    fn signed(&self, topic: AgentTopic, body: String) -> Message {
        let topic = self.topic(topic);
        let envelope = Envelope::seal(&self.signer, Purpose::Result, &topic, body);
        Message::once(topic, envelope.encode())
    }

    fn topic(&self, topic: AgentTopic) -> String {
        topic.of(&self.id).to_string()
    }
}
