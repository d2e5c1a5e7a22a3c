//! A broker, and the coordinator's side of the protocol, for one agent.
//! Holds: commands are signed over the newest challenge that was heard; results are taken unverified (`shell` proves them).

use std::time::Duration;

use proto_link::{LinkEvent, LinkHandle, LinkOptions, Message, Subscription};
use proto_mqtt::key::Signer;
use proto_mqtt::report::{AgentState, Heartbeat, ResultBody, Status};
use proto_mqtt::{
    Actor, AgentId, AgentTopic, CommandBody, Envelope, Order, Payload, Purpose, Text, Token, Ulid,
};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::agent::{Folder, PATIENCE};
use crate::mosquitto::Mosquitto;

/// See the file's description.
pub(crate) struct Lab {
    pub(crate) folder: Folder,
    link: LinkHandle,
    events: Receiver<LinkEvent>,
    _broker: Mosquitto,
}

pub(crate) fn coordinator() -> Signer {
    Signer::from_seed("c1", &[3; 32])
}

/// An authority that has signed nothing.
pub(crate) fn authority() -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).expect("a certificate").pem()
}

fn id() -> AgentId {
    "nas-01".parse().expect("a name")
}

fn topic(topic: AgentTopic) -> String {
    topic.of(&id()).to_string()
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let broker = Mosquitto::open();
        let mut options = LinkOptions::new(broker.url().parse().expect("an address"), "c");
        options.subscriptions = [
            AgentTopic::Heartbeat,
            AgentTopic::Result,
            AgentTopic::Status,
        ]
        .map(|level| Subscription::live(topic(level)))
        .into();
        let (link, mut events) = proto_link::connect(options).expect("good options");
        let up = timeout(PATIENCE, events.recv()).await.expect("in time");
        assert!(matches!(up, Some(LinkEvent::Up { .. })), "{up:?}");
        Self {
            folder: Folder::new(&broker.url()),
            link,
            events,
            _broker: broker,
        }
    }

    /// How often the host was told to go down.
    pub(crate) fn begun(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path("begun")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn order_power_off(&mut self) -> CommandBody {
        let heartbeat = self.heartbeat().await;
        let body = CommandBody {
            id: Ulid::from_bits(1),
            order: Order::PowerOff,
            aud: id(),
            target: id(),
            token: Token { epoch: 1, seq: 7 },
            chal: heartbeat.chal,
            ttl_ms: 30_000,
            delay_ms: 0,
            boot: None,
            expect: None,
            actor: Actor::System,
            reason: Text::from("test"),
            op: Ulid::from_bits(99),
            crit: vec![],
            iat: None,
        };
        self.send(&body);
        body
    }

    /// The same command again, signed over a challenge of the agent that runs now.
    pub(crate) async fn repeat(&mut self, body: &CommandBody) {
        let chal = self.heartbeat().await.chal;
        self.send(&CommandBody {
            chal,
            ..body.clone()
        });
    }

    fn send(&self, body: &CommandBody) {
        let topic = topic(AgentTopic::Command);
        let sealed = Envelope::seal(&coordinator(), Purpose::Command, &topic, body.encode_text());
        let message = Message {
            expiry: Some(Duration::from_secs(30)),
            ..Message::once(topic, sealed.encode())
        };
        drop(self.link.publish(message));
    }

    async fn heartbeat(&mut self) -> Heartbeat {
        let bytes = self.next(AgentTopic::Heartbeat).await;
        Heartbeat::decode(&bytes).expect("a heartbeat")
    }

    /// The next result, which must be this order's.
    pub(crate) async fn result_of(&mut self, body: &CommandBody) -> ResultBody {
        let bytes = self.next(AgentTopic::Result).await;
        let envelope = Envelope::decode(&bytes).expect("an envelope");
        let result =
            ResultBody::decode(envelope.unverified_body().as_bytes()).expect("a result in it");
        assert_eq!((result.id, result.token), (body.id, body.token));
        result
    }

    /// The next status that says this.
    pub(crate) async fn status(&mut self, state: AgentState) -> Status {
        loop {
            let bytes = self.next(AgentTopic::Status).await;
            let status = Status::decode(&bytes).expect("a status");
            if status.state == state {
                return status;
            }
        }
    }

    async fn next(&mut self, level: AgentTopic) -> Vec<u8> {
        let wanted = topic(level);
        loop {
            let event = timeout(PATIENCE, self.events.recv())
                .await
                .expect("a message in time");
            if let Some(LinkEvent::Message { topic, payload, .. }) = event
                && topic == wanted
            {
                return payload.to_vec();
            }
        }
    }
}
