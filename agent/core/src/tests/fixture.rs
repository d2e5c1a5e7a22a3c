//! A rig around one agent: signs commands, plays disk, clock and random source.

use crate::{Agent, Config, Input, Job, Journal, Now, Report, Step, Stored, Ticket};
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use proto_mqtt::key::{Signer, TrustedKeys};
use proto_mqtt::order::{BmcOrder, OffMode, WakeOrder};
use proto_mqtt::report::{Code, ResultBody, ResultState, Status};
use proto_mqtt::{
    Actor, AgentId, AgentTopic, Challenge, CommandBody, Envelope, Instance, Mac, Order, Payload,
    Purpose, Text, Token, Ulid, Verb,
};

pub(crate) const TOPIC: &str = "hla/v1/a/nas-01/cmd";

pub(crate) struct Rig {
    pub(crate) agent: Agent,
    pub(crate) now: Now,
    pub(crate) disk: Journal,
    pub(crate) disk_fails: bool,
    /// The challenge of the newest heartbeat.
    pub(crate) chal: Challenge,
    pub(crate) last_ticket: Option<Ticket>,
    seq: u64,
    pub(crate) random: u8,
}

pub(crate) fn config() -> Config {
    Config {
        id: id("nas-01"),
        boot: "boot-1".parse().expect("a boot id"),
        inst: Instance(7),
        version: Text::from("0.1.0"),
        keys: TrustedKeys::only("c1", signer().public_key()),
        allow: vec![Verb::PowerOff, Verb::PowerReboot],
        segments: Some(vec![Text::from("default")]),
        min_uptime_ms: 180_000,
        acts_per_hour: 6,
        heartbeat_ms: 10_000,
    }
}

pub(crate) fn signer() -> Signer {
    Signer::from_seed("c1", &[3; 32])
}

pub(crate) fn id(name: &str) -> AgentId {
    name.parse().expect("a name")
}

impl Rig {
    /// A connected agent on a host that has been up for an hour.
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self::restarted(config, Stored::Readable(Journal::default()))
    }

    pub(crate) fn restarted(config: Config, stored: Stored) -> Self {
        let now = Now {
            boot_ms: 3_600_000,
            awake_ms: 3_600_000,
            wall_s: 1_800_000_000,
        };
        Self::started_at(config, stored, now).connected()
    }

    pub(crate) fn started_at(config: Config, stored: Stored, now: Now) -> Self {
        let disk = match &stored {
            Stored::Readable(journal) => journal.clone(),
            Stored::Unreadable => Journal::default(),
        };
        let (agent, steps) = Agent::new(config, stored, now);
        let mut rig = Self {
            agent,
            now,
            disk,
            disk_fails: false,
            chal: Challenge([0; 16]),
            last_ticket: None,
            seq: 0,
            random: 0,
        };
        for step in steps {
            if let Step::WriteJournal(journal) = step {
                rig.disk = journal;
                rig.feed(Input::Journaled { written: true });
            }
        }
        rig
    }

    pub(crate) fn connected(mut self) -> Self {
        self.feed(Input::Connected { conn: 1 });
        self
    }

    /// Feeds one input and plays disk and random source for the steps that ask for it.
    pub(crate) fn feed(&mut self, input: Input) -> Vec<Step> {
        let mut inputs = VecDeque::from([input]);
        let mut all = Vec::new();
        while let Some(input) = inputs.pop_front() {
            for step in self.agent.observe(input, self.now) {
                match &step {
                    Step::WriteJournal(journal) => {
                        if !self.disk_fails {
                            self.disk = journal.clone();
                        }
                        inputs.push_back(Input::Journaled {
                            written: !self.disk_fails,
                        });
                    }
                    Step::Beat => {
                        self.random = self.random.wrapping_add(1);
                        self.chal = Challenge([self.random; 16]);
                        inputs.push_back(Input::Challenge(self.chal));
                    }
                    Step::Publish {
                        ticket: Some(ticket),
                        ..
                    } => self.last_ticket = Some(*ticket),
                    Step::Publish { .. }
                    | Step::Announce
                    | Step::Arm { .. }
                    | Step::Carry(_)
                    | Step::Log(_)
                    | Step::Exit => {}
                }
                all.push(step);
            }
        }
        all
    }

    pub(crate) fn pass(&mut self, ms: u64) -> Vec<Step> {
        self.now.boot_ms += ms;
        self.now.awake_ms += ms;
        self.now.wall_s += ms / 1000;
        self.feed(Input::Tick)
    }

    /// Takes the host's sleep into account only on the boot clock.
    pub(crate) fn sleep(&mut self, ms: u64) -> Vec<Step> {
        self.now.boot_ms += ms;
        self.feed(Input::Tick)
    }

    pub(crate) fn command(&mut self, order: Order) -> CommandBody {
        self.seq += 1;
        CommandBody {
            id: Ulid::from_bits(u128::from(self.seq)),
            order,
            aud: id("nas-01"),
            target: id("nas-01"),
            token: Token {
                epoch: 1,
                seq: self.seq,
            },
            chal: self.chal,
            ttl_ms: 30_000,
            delay_ms: 0,
            boot: None,
            expect: None,
            actor: Actor::System,
            reason: Text::from("test"),
            op: Ulid::from_bits(1000 + u128::from(self.seq)),
            crit: Vec::new(),
            iat: None,
        }
    }

    pub(crate) fn send(&mut self, body: &CommandBody) -> Vec<Step> {
        let payload = sealed(body);
        self.feed(message(payload))
    }

    pub(crate) fn order(&mut self, order: Order) -> Vec<Step> {
        let body = self.command(order);
        self.send(&body)
    }

    /// The broker confirms, or not, that the newest tracked report reached somebody.
    pub(crate) fn confirm(&mut self, reached: bool) -> Vec<Step> {
        let ticket = self.last_ticket.expect("a tracked report was published");
        self.feed(Input::Delivered { ticket, reached })
    }
}

pub(crate) fn sealed(body: &CommandBody) -> Vec<u8> {
    Envelope::seal(&signer(), Purpose::Command, TOPIC, body.encode_text()).encode()
}

pub(crate) fn message(payload: Vec<u8>) -> Input {
    Input::Message {
        topic: TOPIC.to_string(),
        payload,
        retain: false,
    }
}

pub(crate) fn on(topic: AgentTopic, payload: Vec<u8>, retain: bool) -> Input {
    Input::Message {
        topic: topic.of(&id("nas-01")).to_string(),
        payload,
        retain,
    }
}

pub(crate) fn wake() -> Order {
    Order::Wake(WakeOrder {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        segment: Text::from("default"),
        ports: vec![9],
        broadcast: None,
        secureon: None,
        repeat: 3,
        spacing_ms: 100,
    })
}

pub(crate) fn bmc() -> BmcOrder {
    BmcOrder {
        address: Text::from("https://10.0.9.20"),
        system: None,
        credentials: Text::from("r720"),
        fingerprint: None,
        ca: None,
    }
}

pub(crate) fn bmc_off() -> Order {
    Order::RedfishOff {
        bmc: bmc(),
        mode: OffMode::Graceful,
    }
}

/// Every result that the steps publish, with its state and code.
pub(crate) fn results(steps: &[Step]) -> Vec<(ResultState, Option<Code>)> {
    bodies(steps)
        .iter()
        .map(|result| (result.state, result.code))
        .collect()
}

pub(crate) fn bodies(steps: &[Step]) -> Vec<ResultBody> {
    let result = |report: &Report| {
        if let Report::Result(result) = report {
            Some(result.clone())
        } else {
            None
        }
    };
    reports(steps).filter_map(result).collect()
}

pub(crate) fn statuses(steps: &[Step]) -> Vec<Status> {
    let status = |report: &Report| {
        if let Report::Status(status) = report {
            Some(status.clone())
        } else {
            None
        }
    };
    reports(steps).filter_map(status).collect()
}

pub(crate) fn reports(steps: &[Step]) -> impl Iterator<Item = &Report> {
    steps.iter().filter_map(|step| {
        if let Step::Publish { report, .. } = step {
            Some(report)
        } else {
            None
        }
    })
}

pub(crate) fn jobs(steps: &[Step]) -> Vec<Job> {
    steps
        .iter()
        .filter_map(|step| {
            if let Step::Carry(job) = step {
                Some(job.clone())
            } else {
                None
            }
        })
        .collect()
}

pub(crate) fn writes(steps: &[Step]) -> usize {
    steps
        .iter()
        .filter(|step| matches!(step, Step::WriteJournal(_)))
        .count()
}

pub(crate) fn details(steps: &[Step]) -> Vec<String> {
    bodies(steps)
        .iter()
        .map(|result| result.msg.to_string())
        .collect()
}
