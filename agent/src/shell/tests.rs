//! The shell against a scripted link and host: what leaves, in which order, and what is on disk by then.

mod journal;

use super::*;
use crate::host::{Carried, Looked};
use agent_core::{Config, Job, Stored};
use proto_mqtt::key::{PublicKey, Signer, TrustedKeys};
use proto_mqtt::report::{
    Health, Heartbeat, HostOutcome, Inventory, Outcome, ResultBody, ResultState, Status,
    StatusReason, WakeOutcome,
};
use proto_mqtt::{
    Actor, AgentId, AgentTopic, BootId, CommandBody, Envelope, Instance, Mac, Order, Payload,
    Purpose, Text, Token, Ulid, Verb,
};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::timeout;

/// Far more than any step takes, so that a hang fails instead of lasting.
const PATIENCE: Duration = Duration::from_secs(30);

const COMMAND: &str = "hla/v1/a/nas-01/cmd";

/// Everything that happened outside of the core, in order.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Message(String, Vec<u8>, bool),
    Armed,
    Carried(Order),
}

type Record = Arc<Mutex<Vec<Seen>>>;

fn note(record: &Record, seen: Seen) {
    record.lock().expect("no panic holds it").push(seen);
}

#[derive(Clone)]
struct ScriptedLink {
    record: Record,
    delivery: Delivery,
}

impl Link for ScriptedLink {
    fn publish(&self, message: Message) -> Delivered {
        note(
            &self.record,
            Seen::Message(message.topic, message.payload.to_vec(), message.retain),
        );
        let delivery = self.delivery.clone();
        Box::pin(async { delivery })
    }

    fn publish_until_acked(&self, message: Message, _within: Duration) {
        note(
            &self.record,
            Seen::Message(message.topic, message.payload.to_vec(), message.retain),
        );
    }
}

struct ScriptedHost {
    record: Record,
    maintenance: AtomicBool,
    inventory: Mutex<Inventory>,
}

impl Host for ScriptedHost {
    fn carry(&self, job: Job) -> Carried {
        note(&self.record, Seen::Carried(job.order.clone()));
        let woken = WakeOutcome {
            sent: vec![],
            ports: vec![9],
            packets: 3,
        };
        let outcome = matches!(job.order, Order::Wake(_)).then_some(Outcome::Wol(woken));
        Box::pin(async { Ok(outcome) })
    }

    fn arm(&self) -> Option<HostOutcome> {
        note(&self.record, Seen::Armed);
        None
    }

    fn in_maintenance(&self) -> bool {
        self.maintenance.load(Ordering::Relaxed)
    }

    fn policy(&self) -> Looked {
        let maintenance = self.in_maintenance();
        Box::pin(async move {
            Policy {
                maintenance,
                inhibited: false,
            }
        })
    }

    fn inventory(&self) -> Inventory {
        self.inventory.lock().expect("no panic holds it").clone()
    }

    fn health(&self, up_s: u64) -> Health {
        let inventory = self.inventory();
        assert_eq!(inventory.hostname.as_str(), "nas-01");
        Health {
            v: inventory.v,
            at_up_s: up_s,
            at_wall_s: None,
            load1: 0.0,
            mem_used_pct: 0.0,
            temps: std::collections::BTreeMap::new(),
            disks: vec![],
            power_w: None,
            energy_wh: None,
            users: 0,
            inhibitors: 0,
            targets: vec![],
        }
    }
}

struct Rig {
    shell: Shell<ScriptedLink>,
    answered: mpsc::Receiver<Input>,
    record: Record,
    host: Arc<ScriptedHost>,
    state: tempfile::TempDir,
    key: PublicKey,
    seq: u64,
}

fn coordinator() -> Signer {
    Signer::from_seed("c1", &[3; 32])
}

fn id() -> AgentId {
    "nas-01".parse().expect("a name")
}

fn boot() -> BootId {
    "boot-1".parse().expect("a boot id")
}

fn inventory(key: PublicKey) -> Inventory {
    Inventory {
        v: proto_mqtt::version::V1,
        hostname: Text::from("nas-01"),
        machine: Text::from("m"),
        hw: proto_mqtt::report::Hardware::default(),
        nics: vec![],
        os: Text::default(),
        kernel: Text::default(),
        arch: Text::default(),
        caps: vec![],
        segments: vec![],
        l2: None,
        credentials: None,
        key,
    }
}

fn config() -> Config {
    Config {
        id: id(),
        boot: boot(),
        inst: Instance(1),
        version: Text::from("0"),
        keys: TrustedKeys::only("c1", coordinator().public_key()),
        allow: vec![Verb::PowerOff],
        segments: Some(vec![Text::from("default")]),
        min_uptime_ms: 0,
        acts_per_hour: 6,
        heartbeat_ms: 10_000,
    }
}

impl Rig {
    /// A connected agent whose messages all get this answer.
    fn new(delivery: Delivery) -> Self {
        Self::on(tempfile::tempdir().expect("a folder"), delivery)
    }

    /// The same with what the last process left in its state folder.
    fn on(state: tempfile::TempDir, delivery: Delivery) -> Self {
        let signer = crate::result_key::load_or_make(state.path()).expect("a key");
        let key = signer.public_key();
        let record = Record::default();
        let host = Arc::new(ScriptedHost {
            record: Arc::clone(&record),
            maintenance: AtomicBool::new(false),
            inventory: Mutex::new(inventory(key)),
        });
        let journal = JournalFile::new(state.path());
        let (agent, steps) = Agent::new(config(), journal.load(), Clock::default().now());
        let (answers, answered) = mpsc::channel(16);
        let will = Arc::new(Mutex::new(agent.will(0)));
        let mut shell = Shell {
            agent,
            link: ScriptedLink {
                record: Arc::clone(&record),
                delivery,
            },
            host: Arc::clone(&host) as Arc<dyn Host>,
            publications: Publications::new(id(), signer),
            journal,
            clock: Clock::default(),
            answers,
            will,
            policy: Policy::default(),
            announced: None,
            ended: false,
        };
        shell.start(steps);
        shell.feed(Input::Connected { conn: 1 });
        Self {
            shell,
            answered,
            record,
            host,
            state,
            key,
            seq: 0,
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.record.lock().expect("no panic holds it").clone()
    }

    fn heard(&self, topic: AgentTopic) -> Vec<Vec<u8>> {
        let name = topic.of(&id()).to_string();
        let payload = |seen: Seen| match seen {
            Seen::Message(topic, payload, _) if topic == name => Some(payload),
            Seen::Message(..) | Seen::Armed | Seen::Carried(_) => None,
        };
        self.seen().into_iter().filter_map(payload).collect()
    }

    /// Signed results, verified with the key that the inventory tells.
    fn results(&self) -> Vec<ResultBody> {
        let keys = TrustedKeys::only("r1", self.key);
        let topic = AgentTopic::Result.of(&id()).to_string();
        let open = |payload: Vec<u8>| {
            let envelope = Envelope::decode(&payload).expect("an envelope");
            let body = envelope
                .open(Purpose::Result, &topic, &keys)
                .expect("our signature");
            ResultBody::decode(body.as_bytes()).expect("a result")
        };
        self.heard(AgentTopic::Result)
            .into_iter()
            .map(open)
            .collect()
    }

    fn order(&mut self, order: Order) -> Ulid {
        self.seq += 1;
        let beat = self
            .heard(AgentTopic::Heartbeat)
            .pop()
            .expect("a heartbeat");
        let body = CommandBody {
            id: Ulid::from_bits(self.seq.into()),
            order,
            aud: id(),
            target: id(),
            token: Token {
                epoch: 1,
                seq: self.seq,
            },
            chal: Heartbeat::decode(&beat).expect("its bytes").chal,
            ttl_ms: 30_000,
            delay_ms: 0,
            boot: Some(boot()),
            expect: None,
            actor: Actor::System,
            reason: Text::from("test"),
            op: Ulid::from_bits(99),
            crit: vec![],
            iat: None,
        };
        let payload = Envelope::seal(
            &coordinator(),
            Purpose::Command,
            COMMAND,
            body.encode_text(),
        )
        .encode();
        self.shell.feed(Input::Message {
            topic: COMMAND.to_owned(),
            payload,
            retain: false,
        });
        body.id
    }

    /// Feeds answers until the newest result has this state.
    async fn until(&mut self, state: ResultState) {
        let reached = |rig: &Self| rig.results().last().map(|result| result.state) == Some(state);
        while !reached(self) {
            let answer = timeout(PATIENCE, self.answered.recv())
                .await
                .expect("an answer in time");
            self.shell.feed(answer.expect("the shell holds a sender"));
        }
    }

    async fn until_carried(&mut self) {
        while !self
            .seen()
            .iter()
            .any(|seen| matches!(seen, Seen::Carried(_)))
        {
            let answer = timeout(PATIENCE, self.answered.recv())
                .await
                .expect("an answer in time");
            self.shell.feed(answer.expect("the shell holds a sender"));
        }
    }
}

fn wake() -> Order {
    Order::Wake(proto_mqtt::order::WakeOrder {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        segment: Text::from("default"),
        ports: vec![9],
        broadcast: None,
        secureon: None,
        repeat: 3,
        spacing_ms: 0,
    })
}

#[tokio::test]
async fn an_inventory_is_published_on_each_connection_and_when_it_has_changed() {
    let mut rig = Rig::new(Delivery::Delivered);
    rig.shell.announce_changes();
    assert_eq!(rig.heard(AgentTopic::Inventory).len(), 1);
    let mut changed = rig.host.inventory();
    changed.credentials = Some(vec![Text::from("r720")]);
    *rig.host.inventory.lock().expect("no panic holds it") = changed.clone();
    rig.shell.announce_changes();
    rig.shell.feed(Input::Connected { conn: 2 });
    let told = rig.heard(AgentTopic::Inventory);
    assert_eq!(told[1..], [changed.encode(), changed.encode()]);
}

#[tokio::test]
async fn a_connection_publishes_status_inventory_health_and_heartbeat() {
    let rig = Rig::new(Delivery::Delivered);
    let status = Status::decode(&rig.heard(AgentTopic::Status)[0]).expect("its bytes");
    assert_eq!((status.reason, status.conn), (StatusReason::Start, 1));
    assert_eq!(
        Inventory::decode(&rig.heard(AgentTopic::Inventory)[0]).map(|inventory| inventory.key),
        Ok(rig.key)
    );
    assert_eq!(rig.heard(AgentTopic::Health).len(), 1);
    assert_eq!(rig.heard(AgentTopic::Heartbeat).len(), 1);
    let retained: Vec<String> = rig
        .seen()
        .into_iter()
        .filter_map(|seen| {
            if let Seen::Message(topic, _, true) = seen {
                Some(topic)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        retained,
        [
            "hla/v1/a/nas-01/status",
            "hla/v1/a/nas-01/inv",
            "hla/v1/a/nas-01/health"
        ]
    );
}

#[tokio::test]
async fn a_wake_is_carried_out_and_its_outcome_signed() {
    let mut rig = Rig::new(Delivery::Delivered);
    rig.order(wake());
    rig.until(ResultState::Done).await;
    let states: Vec<ResultState> = rig.results().iter().map(|result| result.state).collect();
    assert_eq!(states, [ResultState::Accepted, ResultState::Done]);
    let woken = WakeOutcome {
        sent: vec![],
        ports: vec![9],
        packets: 3,
    };
    assert_eq!(rig.results()[1].out, Some(Outcome::Wol(woken)));
    assert!(
        !rig.state.path().join("journal.json").exists(),
        "a wake writes no journal"
    );
    assert_eq!(rig.heard(AgentTopic::Last).len(), 1);
}

#[tokio::test]
async fn a_power_off_is_on_disk_before_it_is_carried_out() {
    let mut rig = Rig::new(Delivery::Delivered);
    let id = rig.order(Order::PowerOff);
    rig.until_carried().await;
    let Stored::Readable(journal) = rig.shell.journal.load() else {
        panic!("the journal is readable")
    };
    assert_eq!(journal.entries[0].id, id);
    assert_eq!(journal.entries[0].progress, agent_core::Progress::Executing);
    let seen = rig.seen();
    let armed = seen
        .iter()
        .position(|seen| *seen == Seen::Armed)
        .expect("armed");
    let carried = seen
        .iter()
        .position(|seen| matches!(seen, Seen::Carried(_)))
        .expect("carried");
    assert!(
        armed < carried,
        "the wake flags are set before the host goes down"
    );
    let states: Vec<ResultState> = rig.results().iter().map(|result| result.state).collect();
    assert_eq!(states, [ResultState::Accepted, ResultState::Running]);

    rig.shell.feed(Input::Terminating { host: true });
    while !rig.shell.ended {
        let answer = timeout(PATIENCE, rig.answered.recv())
            .await
            .expect("an answer in time");
        rig.shell.feed(answer.expect("the shell holds a sender"));
    }
    let farewell = Status::decode(&rig.heard(AgentTopic::Status).pop().expect("a farewell"))
        .expect("its bytes");
    assert_eq!(
        (farewell.state, farewell.reason),
        (proto_mqtt::report::AgentState::Offline, StatusReason::Op)
    );
}

#[tokio::test]
async fn without_a_subscriber_the_host_stays_up() {
    for delivery in [
        Delivery::NoSubscribers,
        Delivery::Lost,
        Delivery::Refused {
            reason: "acl".to_owned(),
        },
    ] {
        let mut rig = Rig::new(delivery);
        rig.order(Order::PowerOff);
        rig.until(ResultState::Aborted).await;
        assert!(
            !rig.seen()
                .iter()
                .any(|seen| matches!(seen, Seen::Carried(_)))
        );
    }
}

#[tokio::test]
async fn a_maintenance_file_counts_from_the_moment_it_is_there() {
    let mut rig = Rig::new(Delivery::Delivered);
    rig.host.maintenance.store(true, Ordering::Relaxed);
    rig.order(Order::PowerOff);
    assert_eq!(
        rig.results().pop().and_then(|result| result.code),
        Some(proto_mqtt::report::Code::Maintenance)
    );
    let status =
        Status::decode(&rig.heard(AgentTopic::Status).pop().expect("a status")).expect("its bytes");
    assert!(status.policy.maintenance);
    rig.host.maintenance.store(false, Ordering::Relaxed);
    rig.order(Order::PowerOff);
    rig.until_carried().await;
}

#[tokio::test]
async fn the_next_will_knows_the_newest_token() {
    let mut rig = Rig::new(Delivery::Delivered);
    rig.order(wake());
    let will = rig.shell.will.lock().expect("no panic holds it").clone();
    assert_eq!(
        (will.hwm, will.reason),
        (Token { epoch: 1, seq: 1 }, StatusReason::Lwt)
    );
}
