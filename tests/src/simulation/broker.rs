//! The broker and the network to it: nothing is safe with them.
//!
//! In: what agents say, what coordinators command. Out: the same, lost, repeated, late, out of order.
//! Holds: what is retained reaches whoever connects; everything else reaches only who is connected.

use std::collections::BTreeMap;

use agent_core::{Input, Report, Ticket};
use proto_mqtt::key::PublicKey;
use proto_mqtt::report::{AgentState, Hardware, Inventory, Segment, Status};
use proto_mqtt::version::V1;
use proto_mqtt::{AgentTopic, Text};

use super::agents::is_kept;
use super::world::{Event, World};

/// One way through the broker when nothing is wrong.
const WAY_MS: u64 = 5;
/// How long the broker waits for a sign of life before it publishes a last will.
const KEEPALIVE_MS: u64 = 22_000;
/// Commands that a hostile broker has kept.
const KEPT: usize = 40;

/// What an agent says.
#[derive(Clone)]
pub(super) enum Saying {
    Report(Box<Report>),
    Inventory(Box<Inventory>),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Retained {
    Status,
    Inventory,
    Last,
}

impl Saying {
    fn retained(&self) -> Option<Retained> {
        match self {
            Self::Inventory(_) => Some(Retained::Inventory),
            Self::Report(report) => match **report {
                Report::Status(_) => Some(Retained::Status),
                Report::Last(_) => Some(Retained::Last),
                Report::Heartbeat(_) | Report::Result(_) => None,
            },
        }
    }
}

pub(super) struct Broker {
    pub(super) up: bool,
    retained: BTreeMap<(String, Retained), Saying>,
    wills: BTreeMap<(String, u32), Status>,
    /// Commands that passed, with their agent.
    pub(super) captured: Vec<(String, String, Vec<u8>)>,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            up: true,
            retained: BTreeMap::new(),
            wills: BTreeMap::new(),
            captured: Vec::new(),
        }
    }
}

impl World {
    pub(super) fn inventory(&self, name: &str) -> Inventory {
        let relay = self.hosts.get(name).is_some_and(|host| host.relay);
        let segment = || Segment {
            name: Text::from("default"),
            iface: Text::from("eth0"),
        };
        Inventory {
            v: V1,
            hostname: Text::from(name),
            machine: Text::default(),
            hw: Hardware::default(),
            nics: Vec::new(),
            os: Text::default(),
            kernel: Text::default(),
            arch: Text::default(),
            caps: Vec::new(),
            segments: if relay { vec![segment()] } else { Vec::new() },
            l2: None,
            credentials: relay.then(|| vec![Text::from("lab")]),
            key: self.result_key(),
        }
    }

    /// Results are not signed here, so one key serves all: what is forged is marked as such instead.
    fn result_key(&self) -> PublicKey {
        self.key.public()
    }

    /// How long one message takes; `None` if it never comes.
    fn way_ms(&mut self) -> Option<u64> {
        if self.dice.percent(self.faults.loss) {
            return None;
        }
        let lag_ms = self.dice.roll(self.faults.lag_ms + 1);
        Some(WAY_MS + lag_ms)
    }

    pub(super) fn is_connected(&self, name: &str) -> bool {
        let host = self.hosts.get(name);
        self.broker.up
            && host.is_some_and(|host| {
                !host.unplugged && host.process.as_ref().is_some_and(|p| p.connected)
            })
    }

    /// An agent publishes.
    pub(super) fn say(&mut self, name: &str, saying: Saying) {
        if !self.is_connected(name) {
            if let Some(host) = self.hosts.get_mut(name).filter(|_| is_kept(&saying)) {
                host.outbox.push(saying);
            }
            return;
        }
        self.publish(name, saying);
    }

    fn publish(&mut self, name: &str, saying: Saying) {
        if let Saying::Report(report) = &saying
            && let Report::Result(result) = &**report
        {
            let (state, id) = (result.state, result.id);
            self.note_command(&id.to_string(), || format!("{name} says {state} of {id}"));
        }
        if let Some(kind) = saying.retained() {
            let key = (name.to_owned(), kind);
            self.broker.retained.insert(key, saying.clone());
        }
        let processes = self.listening();
        for process in processes {
            self.carry(process, name, &saying);
        }
    }

    fn listening(&self) -> Vec<u32> {
        let connected = self.coordinators.iter().filter(|c| c.connected);
        connected.map(|c| c.id).collect()
    }

    fn carry(&mut self, process: u32, name: &str, saying: &Saying) {
        let copies = 1 + u32::from(self.dice.percent(self.faults.repeat));
        for _ in 0..copies {
            // What is retained is late at most: the broker keeps it until it is confirmed.
            let kept = saying
                .retained()
                .map(|_| WAY_MS + self.dice.roll(self.faults.lag_ms + 1));
            let Some(ms) = kept.or_else(|| self.way_ms()) else {
                continue;
            };
            let event = Event::Heard {
                process,
                agent: name.to_owned(),
                saying: Box::new(saying.clone()),
            };
            self.after(ms, event);
        }
    }

    /// What a coordinator that connects is told of the past.
    pub(super) fn hand_out_retained(&mut self, process: u32) {
        let all: Vec<_> = self
            .broker
            .retained
            .iter()
            .map(|((name, _), saying)| (name.clone(), saying.clone()))
            .collect();
        for (name, saying) in all {
            self.carry(process, &name, &saying);
        }
    }

    /// Tells an agent whether a report reached anybody.
    pub(super) fn confirm_later(&mut self, name: &str, ticket: Ticket) {
        if !self.is_connected(name) {
            return;
        }
        let reached = !self.listening().is_empty();
        if let Some(ms) = self.way_ms() {
            self.arrive(name, 2 * ms, Input::Delivered { ticket, reached });
        }
    }

    fn arrive(&mut self, name: &str, ms: u64, input: Input) {
        let process = self.hosts.get(name).and_then(|h| h.process.as_ref());
        if let Some(instance) = process.map(|process| process.instance) {
            let event = Event::Fed {
                host: name.to_owned(),
                instance,
                input: Box::new(input),
            };
            self.after(ms, event);
        }
    }

    /// A coordinator publishes a command; a hostile broker keeps a copy.
    pub(super) fn command(&mut self, name: &str, topic: &str, payload: &[u8]) {
        if self.broker.captured.len() == KEPT {
            self.broker.captured.remove(0);
        }
        let kept = (name.to_owned(), topic.to_owned(), payload.to_vec());
        self.broker.captured.push(kept);
        let copies = 1 + u32::from(self.dice.percent(self.faults.repeat));
        for _ in 0..copies {
            if let Some(ms) = self.way_ms() {
                self.message(name, topic, payload.to_vec(), ms);
            }
        }
    }

    /// The broker hands a message to an agent.
    pub(super) fn message(&mut self, name: &str, topic: &str, payload: Vec<u8>, ms: u64) {
        if self.is_connected(name) {
            let message = Input::Message {
                topic: topic.to_owned(),
                payload,
                retain: false,
            };
            self.arrive(name, ms, message);
        }
    }

    pub(super) fn ping(&mut self, name: &str) {
        let agent = name.parse().expect("hosts have plain names");
        let topic = AgentTopic::Ping.of(&agent).to_string();
        if let Some(ms) = self.way_ms() {
            self.message(name, &topic, b"{}".to_vec(), ms);
        }
    }

    pub(super) fn connect_agent(&mut self, name: &str, instance: u32) {
        let up = self.broker.up;
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        let possible = up && !host.unplugged;
        let Some(process) = host.process.as_mut().filter(|p| p.instance == instance) else {
            return;
        };
        if process.connected || !possible {
            return;
        }
        process.connected = true;
        process.conn += 1;
        let conn = process.conn;
        for saying in std::mem::take(&mut host.outbox) {
            self.publish(name, saying);
        }
        self.feed(name, Input::Connected { conn });
    }

    /// A process has lost its connection, or died with it.
    pub(super) fn lose(&mut self, name: &str, will: &Status, instance: u32) {
        let host = name.to_owned();
        let key = (host.clone(), instance);
        self.broker.wills.insert(key, will.clone());
        self.after(KEEPALIVE_MS, Event::Will { host, instance });
    }

    /// A last will comes, unless its process has connected again.
    pub(super) fn publish_will(&mut self, name: &str, instance: u32) {
        let Some(will) = self.broker.wills.remove(&(name.to_owned(), instance)) else {
            return;
        };
        let process = self.hosts.get(name).and_then(|h| h.process.as_ref());
        let back = process.is_some_and(|p| p.connected && p.instance == instance);
        if !back {
            debug_assert_eq!(will.state, AgentState::Offline);
            let report = Report::Status(will);
            self.publish(name, Saying::Report(Box::new(report)));
        }
    }

    /// An agent's connection breaks.
    pub(super) fn disconnect(&mut self, name: &str) {
        let process = self.hosts.get_mut(name).and_then(|h| h.process.as_mut());
        let Some(process) = process.filter(|process| process.connected) else {
            return;
        };
        process.connected = false;
        let (will, instance) = (process.agent.will(process.conn), process.instance);
        self.lose(name, &will, instance);
        self.feed(name, Input::Disconnected);
    }

    /// Everybody loses the broker, or finds it again.
    pub(super) fn set_broker(&mut self, up: bool) {
        if self.broker.up == up {
            return;
        }
        self.note(|| format!("broker up: {up}"));
        self.broker.up = up;
        let names: Vec<String> = self.hosts.keys().cloned().collect();
        for name in names {
            if up {
                self.reconnect(&name);
            } else {
                self.disconnect(&name);
            }
        }
        self.broker_for_coordinators(up);
    }

    /// A host finds the broker again, a little later.
    pub(super) fn reconnect(&mut self, name: &str) {
        let ms = self.dice.between(100, 3_000);
        let process = self.hosts.get(name).and_then(|h| h.process.as_ref());
        if let Some(instance) = process.map(|process| process.instance) {
            let host = name.to_owned();
            self.after(ms, Event::Connects { host, instance });
        }
    }
}
