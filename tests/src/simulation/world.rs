//! The world: everything there is, and the one loop that moves its time from one happening to the next.
//!
//! Holds: whatever will happen stands in the queue; a happening that its host or process has outlived is dropped.

use std::collections::BTreeMap;

use agent_core::Input;
use coordinator::outputs::commands::CoordinatorKey;
use coordinator_core::{Fact, GroupSpec, MachineSpec, Now};
use proto_mqtt::key::{COORDINATOR_KID, TrustedKeys};

use super::Tally;
use super::broker::{Broker, Saying};
use super::cluster::Cluster;
use super::coordinators::Coordinator;
use super::declared::{self, MACHINES, RELAYS};
use super::deeds::Deed;
use super::dice::Dice;
use super::hosts::{Change, Host};
use super::model::Model;
use super::store::{Store, Write};
use super::verdict::Looks;

/// Wall clock at the start: any day will do.
const WALL_MS: i64 = 1_763_700_000_000;
/// Shortest pause between two decisions, as in the coordinator's engine.
const NAP_MS: u64 = 5;
/// Lines of the trace that are kept.
const TRACE: usize = 400;
/// The seed of the coordinator's key.
const KEY: [u8; 32] = [3; 32];

/// Something that will happen.
pub(super) enum Event {
    /// A coordinator's input says something.
    Told { process: u32, fact: Box<Fact> },
    /// A message of an agent reaches a coordinator.
    Heard {
        process: u32,
        agent: String,
        saying: Box<Saying>,
    },
    /// A coordinator starts, unless one leads.
    Starts,
    /// A coordinator connects to the broker.
    Joins { process: u32 },
    /// A coordinator ends.
    Ends { process: u32 },
    /// A write reaches the store.
    Lands(Box<Write>),
    /// An input reaches an agent's process.
    Fed {
        host: String,
        instance: u32,
        input: Box<Input>,
    },
    /// An agent's process connects to the broker.
    Connects { host: String, instance: u32 },
    /// The broker publishes a last will.
    Will { host: String, instance: u32 },
    /// Something happens to a host during one life of it.
    Host {
        host: String,
        life: u32,
        change: Change,
    },
    /// Somebody does something.
    Deed(Deed),
    /// The next random deed, and the plan for the one after it, until then.
    NextDeed { until_ms: u64 },
}

/// What goes wrong at present, in percent or milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) loss: u64,
    pub(super) repeat: u64,
    pub(super) lag_ms: u64,
    pub(super) store_fails: u64,
    pub(super) store_unsure: u64,
    pub(super) store_lag_ms: u64,
    pub(super) bmc_fails: u64,
}

pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) dice: Dice,
    pub(super) faults: Faults,
    pub(super) group: GroupSpec,
    pub(super) specs: BTreeMap<String, MachineSpec>,
    pub(super) hosts: BTreeMap<String, Host>,
    pub(super) broker: Broker,
    pub(super) cluster: Cluster,
    pub(super) store: Store,
    pub(super) coordinators: Vec<Coordinator>,
    pub(super) starts: u32,
    pub(super) epoch: u32,
    pub(super) key: CoordinatorKey,
    pub(super) trusted: TrustedKeys,
    pub(super) model: Model,
    pub(super) looks: Looks,
    pub(super) tally: Tally,
    queue: BTreeMap<(u64, u64), Event>,
    serial: u64,
    trace: Vec<String>,
}

impl World {
    /// A lab whose machines are off but for a few, with one coordinator.
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let key = CoordinatorKey::from_bytes(&KEY).expect("a seed of the right length");
        let trusted = TrustedKeys::only(COORDINATOR_KID, key.public());
        let group = declared::group(&mut dice);
        let specs = MACHINES.map(|name| (name.to_owned(), declared::machine(name)));
        let mut world = Self {
            now_ms: 10_000_000,
            faults: Faults::default(),
            group,
            specs: specs.into(),
            hosts: BTreeMap::new(),
            broker: Broker::default(),
            cluster: Cluster::default(),
            store: Store::default(),
            coordinators: Vec::new(),
            starts: 0,
            epoch: 0,
            key,
            trusted,
            model: Model::default(),
            looks: Looks::default(),
            tally: Tally::default(),
            queue: BTreeMap::new(),
            serial: 0,
            trace: Vec::new(),
            dice,
        };
        for name in RELAYS {
            world.hosts.insert(name.to_owned(), Host::relay());
            world.press_on(name);
        }
        for name in MACHINES {
            world.hosts.insert(name.to_owned(), Host::machine());
            let (on, deaf) = (world.dice.percent(15), world.dice.percent(20));
            if let Some(host) = world.hosts.get_mut(name) {
                host.deaf = u32::from(deaf);
            }
            if on {
                world.press_on(name);
            }
        }
        world.after(1_000, Event::Starts);
        world
    }

    pub(super) fn into_parts(self) -> (Tally, Vec<String>, Option<String>) {
        (self.tally, self.trace, self.model.broken)
    }

    pub(super) fn now(&self) -> Now {
        Now {
            boot_ms: self.now_ms,
            wall_ms: WALL_MS.saturating_add_unsigned(self.now_ms),
        }
    }

    /// Writes down what happened, for whoever has to find out why.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.trace.len() >= 2 * TRACE {
            self.trace.drain(..TRACE);
        }
        self.trace
            .push(format!("{:>9} {}", self.now_ms - 10_000_000, line()));
    }

    pub(super) fn after(&mut self, ms: u64, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now_ms + ms, self.serial), event);
    }

    pub(super) fn run_for(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.model.broken.is_none() {
            let next_ms = self.next_ms();
            if next_ms > end_ms {
                break;
            }
            self.now_ms = self.now_ms.max(next_ms);
            while let Some(entry) = self
                .queue
                .first_entry()
                .filter(|entry| entry.key().0 <= self.now_ms)
            {
                let event = entry.remove();
                self.happen(event);
            }
            self.tick_agents();
            self.decide();
        }
        self.now_ms = end_ms;
    }

    fn next_ms(&self) -> u64 {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let agents = self.hosts.values().filter_map(Host::agent_deadline);
        let cores = self
            .coordinators
            .iter()
            .filter_map(|coordinator| coordinator.lab.deadline())
            .map(|at| at.max(self.now_ms + NAP_MS));
        queued
            .into_iter()
            .chain(agents)
            .chain(cores)
            .min()
            .unwrap_or(u64::MAX)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Told { process, fact } => self.tell(process, *fact),
            Event::Heard {
                process,
                agent,
                saying,
            } => self.hear(process, &agent, *saying),
            Event::Starts => self.start_coordinator(),
            Event::Joins { process } => self.join_broker(process),
            Event::Ends { process } => self.end_coordinator(process),
            Event::Lands(write) => self.land(*write),
            Event::Fed {
                host,
                instance,
                input,
            } => {
                if self.runs(&host, instance) {
                    self.feed(&host, *input);
                }
            }
            Event::Connects { host, instance } => self.connect_agent(&host, instance),
            Event::Will { host, instance } => self.publish_will(&host, instance),
            Event::Host { host, life, change } => {
                let same = self.hosts.get(&host).is_some_and(|h| h.life == life);
                if same {
                    self.change(&host, change);
                }
            }
            Event::Deed(deed) => self.do_deed(deed),
            Event::NextDeed { until_ms } => self.next_deed(until_ms),
        }
    }
}
