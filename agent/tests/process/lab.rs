//! A broker, and the coordinator's side of the protocol, for one agent.
//! Holds: commands are signed over the newest challenge that was heard; results are taken unverified (`shell` proves them).

use std::process::Command;
use std::time::Duration;

use proto_link::{Delivery, LinkEvent, LinkHandle, LinkOptions, Message, Subscription};
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
    orders: u32,
    broker: Mosquitto,
}

/// What a client leaves at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// Nothing.
    Clean,
    /// Its subscriptions, and what comes for them.
    Kept,
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
        let address = broker.url();
        Self::with(broker, &address).await
    }

    /// The agent reaches the broker at this address.
    pub(crate) async fn with(broker: Mosquitto, address: &str) -> Self {
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
            folder: Folder::new(address),
            link,
            events,
            orders: 0,
            broker,
        }
    }

    /// Where the broker is.
    pub(crate) fn address(&self) -> String {
        self.broker.url()
    }

    /// How often the host was told to go down.
    pub(crate) fn begun(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path("begun")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn order_power_off(&mut self) -> CommandBody {
        let body = self.power_off().await;
        self.send(&body).await;
        body
    }

    pub(crate) async fn power_off(&mut self) -> CommandBody {
        self.command(Order::PowerOff).await
    }

    /// A command over a challenge of the agent that runs now, not yet sent.
    pub(crate) async fn command(&mut self, order: Order) -> CommandBody {
        let heartbeat = self.heartbeat().await;
        self.orders += 1;
        CommandBody {
            id: Ulid::from_bits(self.orders.into()),
            order,
            aud: id(),
            target: id(),
            token: Token {
                epoch: 1,
                seq: self.orders.into(),
            },
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
        }
    }

    /// The same command again, signed over a challenge of the agent that runs now.
    pub(crate) async fn repeat(&mut self, body: &CommandBody) {
        let chal = self.heartbeat().await.chal;
        let again = CommandBody {
            chal,
            ..body.clone()
        };
        self.send(&again).await;
    }

    /// The same with each heartbeat until there is an answer: a flood may have taken the place of the first.
    pub(crate) async fn insist(&mut self, body: &CommandBody) -> ResultBody {
        let answered = async {
            loop {
                self.repeat(body).await;
                // What the agent says before its next heartbeat.
                while let (AgentTopic::Result, bytes) =
                    self.either(AgentTopic::Result, AgentTopic::Heartbeat).await
                {
                    let result = result(&bytes);
                    if result.id == body.id {
                        return result;
                    }
                }
            }
        };
        timeout(PATIENCE, answered)
            .await
            .expect("an answer in time")
    }

    /// Answers what the broker says of it.
    pub(crate) async fn send(&self, body: &CommandBody) -> Delivery {
        self.link.publish(signed(&coordinator(), body)).await
    }

    pub(crate) async fn send_retained(&self, body: &CommandBody) -> Delivery {
        let message = Message {
            retain: true,
            ..signed(&coordinator(), body)
        };
        self.link.publish(message).await
    }

    /// As many commands of a stranger, as fast as the broker takes them.
    pub(crate) async fn flood(&self, body: &CommandBody, number: usize) {
        let stranger = Signer::from_seed("c1", &[4; 32]);
        let message = signed(&stranger, body);
        for _ in 0..number {
            let delivery = self.link.publish(message.clone()).await;
            assert_eq!(delivery, Delivery::Delivered);
        }
    }

    /// Connects under the agent's name and leaves at once: the broker throws the agent out, if it is there. A kept session
    /// then collects commands for whoever comes next under this name.
    pub(crate) fn impersonate(&self, session: Session) {
        let mut client = Command::new("mosquitto_sub");
        client.args([
            "-V",
            "5",
            "-h",
            "127.0.0.1",
            "-i",
            "nas-01",
            "-E",
            "-q",
            "1",
        ]);
        client.args(["-t", &topic(AgentTopic::Command)]);
        client.args(["-p", &self.broker.port.to_string()]);
        match session {
            Session::Clean => {}
            Session::Kept => {
                client.args(["-c", "-x", "600"]);
            }
        }
        let status = client.status().expect("it comes with mosquitto");
        assert!(status.success(), "{status}");
    }

    /// The next one, not one that has waited.
    async fn heartbeat(&mut self) -> Heartbeat {
        while self.events.try_recv().is_ok() {}
        let bytes = self.next(AgentTopic::Heartbeat).await;
        Heartbeat::decode(&bytes).expect("a heartbeat")
    }

    /// The next result, which must be this order's.
    pub(crate) async fn result_of(&mut self, body: &CommandBody) -> ResultBody {
        let result = self.result().await;
        assert_eq!((result.id, result.token), (body.id, body.token));
        result
    }

    /// The next result, whatever it is about.
    pub(crate) async fn result(&mut self) -> ResultBody {
        result(&self.next(AgentTopic::Result).await)
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
        self.either(level, level).await.1
    }

    async fn either(&mut self, one: AgentTopic, other: AgentTopic) -> (AgentTopic, Vec<u8>) {
        loop {
            let event = timeout(PATIENCE, self.events.recv())
                .await
                .expect("a message in time");
            let Some(LinkEvent::Message {
                topic: came,
                payload,
                ..
            }) = event
            else {
                continue;
            };
            if let Some(level) = [one, other].into_iter().find(|level| topic(*level) == came) {
                return (level, payload.to_vec());
            }
        }
    }
}

fn signed(signer: &Signer, body: &CommandBody) -> Message {
    let topic = topic(AgentTopic::Command);
    let sealed = Envelope::seal(signer, Purpose::Command, &topic, body.encode_text());
    Message {
        expiry: Some(Duration::from_secs(30)),
        ..Message::once(topic, sealed.encode())
    }
}

fn result(bytes: &[u8]) -> ResultBody {
    let envelope = Envelope::decode(bytes).expect("an envelope");
    ResultBody::decode(envelope.unverified_body().as_bytes()).expect("a result in it")
}
