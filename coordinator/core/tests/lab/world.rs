//! A lab in virtual time: machines with real power, agents, a store and core Nodes, driven only by the core's actions.
//!
//! In: what a test does to it. Out: effects on power with their times, answers, events.
//! Holds: time moves only in `run_for`, from one thing that happens to the next; the same calls give the same history.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::{
    AgentId, AgentInfo, Answer, Beat, Command, Event, EvictionOutcome, Fact, GroupId, GroupRecord,
    Joins, Lab, MachineId, MachineRecord, NodeSeen, Now, PodSeen, Policy, Request, Ticket, Token,
};

use crate::declare;

/// Wall clock at the start: any day will do.
const WALL_MS: i64 = 1_763_700_000_000;
const BEAT_MS: u64 = 10_000;

/// Something that moved power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A wake reached a machine's segment or BMC.
    Wake(String),
    /// A machine was told to go down.
    Stop(String),
    /// A machine's power was cut.
    Cut(String),
}

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Up,
    /// It takes nothing.
    Down,
    /// It takes a group's wish, and its answer is lost.
    Mute,
}

/// How a machine behaves.
#[derive(Clone, Debug)]
pub(crate) struct Sim {
    pub(crate) on: bool,
    pub(crate) boots: u32,
    pub(crate) booted_ms: u64,
    pub(crate) joins: Joins,
    pub(crate) never_boots: bool,
    pub(crate) ignores_stop: bool,
    pub(crate) mute: bool,
    pub(crate) agentless: bool,
    pub(crate) boot_takes_ms: u64,
    pub(crate) changing: Option<(u64, bool)>,
    pub(crate) seen_ids: BTreeMap<String, Token>,
    beats: u64,
}

impl Sim {
    /// A machine that is off and has never run.
    pub(crate) fn off(joins: Joins) -> Self {
        Self {
            on: false,
            boots: 0,
            booted_ms: 0,
            joins,
            never_boots: false,
            ignores_stop: false,
            mute: false,
            agentless: false,
            boot_takes_ms: 30_000,
            changing: None,
            seen_ids: BTreeMap::new(),
            beats: 0,
        }
    }
}

pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) now_ms: u64,
    /// By how much the wall clock was set back.
    pub(crate) clock_back_ms: i64,
    pub(crate) policy: Policy,
    pub(crate) sims: BTreeMap<String, Sim>,
    pub(crate) relays: BTreeMap<String, bool>,
    pub(crate) nodes: BTreeMap<String, NodeSeen>,
    /// By Node.
    pub(crate) pods: BTreeMap<String, Vec<PodSeen>>,
    /// What evictions of a pod come to, by its name; of any other, that it leaves.
    pub(crate) keeps: BTreeMap<String, EvictionOutcome>,
    /// Pods that were to be evicted, and when.
    pub(crate) evictions: Vec<(u64, String)>,
    pub(crate) effects: Vec<(u64, Effect)>,
    pub(crate) answers: BTreeMap<u64, (u64, Answer)>,
    pub(crate) events: Vec<Event>,
    pub(crate) commands: Vec<Command>,
    pub(crate) store_groups: BTreeMap<GroupId, GroupRecord>,
    pub(crate) store_machines: BTreeMap<MachineId, MachineRecord>,
    pub(crate) store: Store,
    /// The relay refuses every wake.
    pub(crate) refuses_wakes: bool,
    /// Machines whose records the store refuses.
    pub(crate) unstorable: BTreeSet<String>,
    /// Relays whose credentials every BMC refuses.
    pub(crate) barred: BTreeSet<String>,
    /// No Node can be tainted.
    pub(crate) fences_fail: bool,
    /// How long a commit waits for its turn; one whose time is over by then is not stored.
    pub(crate) store_queue_ms: u64,
    pub(crate) writes: u64,
    pub(crate) drop_reports: bool,
    specs: Vec<Fact>,
    epoch: u32,
    queue: BTreeMap<(u64, u64), Fact>,
    serial: u64,
    next_ticket: u64,
    next_beat_ms: u64,
    pub(crate) tokens: BTreeMap<String, (Token, String)>,
}

impl World {
    /// A loaded, leading lab of the given declarations with one relay, `pi`.
    pub(crate) fn new(specs: Vec<Fact>) -> Self {
        Self::with_policy(
            specs,
            Policy {
                grace_ms: 15_000,
                ..Policy::default()
            },
        )
    }

    pub(crate) fn with_policy(specs: Vec<Fact>, policy: Policy) -> Self {
        let sims = specs.iter().filter_map(declare::sim).collect();
        let mut world = Self {
            lab: Lab::new(7, policy.clone()),
            now_ms: 1_000_000,
            clock_back_ms: 0,
            policy,
            sims,
            relays: BTreeMap::from([("pi".to_owned(), true)]),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            keeps: BTreeMap::new(),
            evictions: Vec::new(),
            effects: Vec::new(),
            answers: BTreeMap::new(),
            events: Vec::new(),
            commands: Vec::new(),
            store_groups: BTreeMap::new(),
            store_machines: BTreeMap::new(),
            store: Store::Up,
            refuses_wakes: false,
            unstorable: BTreeSet::new(),
            barred: BTreeSet::new(),
            fences_fail: false,
            store_queue_ms: 0,
            writes: 0,
            drop_reports: false,
            specs,
            epoch: 0,
            queue: BTreeMap::new(),
            serial: 0,
            next_ticket: 0,
            next_beat_ms: 1_000_000,
            tokens: BTreeMap::new(),
        };
        world.restart();
        world.run_for(1_000);
        world
    }

    /// Kills the coordinator and starts another one on the same store.
    pub(crate) fn restart(&mut self) {
        self.follow();
        self.lead();
    }

    /// Kills the coordinator and starts another one, which reads the store and does not lead yet.
    pub(crate) fn follow(&mut self) {
        self.lab = Lab::new(7, self.policy.clone());
        self.queue.clear();
        for spec in self.specs.clone() {
            self.tell(spec);
        }
        for (group, record) in self.store_groups.clone() {
            self.tell(Fact::GroupStored { group, record });
        }
        for (machine, record) in self.store_machines.clone() {
            self.tell(Fact::MachineStored { machine, record });
        }
        for node in self.nodes.clone().into_values() {
            self.tell(Fact::NodeSeen(node));
        }
        self.tell(Fact::Broker { up: true });
        self.tell(Fact::Cluster { up: true });
        self.tell(Fact::Loaded);
        for relay in self.relays.keys().cloned().collect::<Vec<_>>() {
            self.tell(Fact::AgentInfo(
                AgentInfo {
                    key: Some("ed25519:pi".into()),
                    ..declare::relay_info(&relay)
                }
                .into(),
            ));
        }
    }

    /// Lets the coordinator lead.
    pub(crate) fn lead(&mut self) {
        self.epoch += 1;
        self.tell(Fact::Leading { epoch: self.epoch });
        self.settle();
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            boot_ms: self.now_ms,
            wall_ms: WALL_MS + i64::try_from(self.now_ms).expect("small") - self.clock_back_ms,
        }
    }

    pub(crate) fn tell(&mut self, fact: Fact) {
        let now = self.now();
        self.lab.observe(fact, now);
    }

    /// Replaces a declaration.
    pub(crate) fn redeclare(&mut self, fact: Fact) {
        self.specs.push(fact.clone());
        self.tell(fact);
        self.settle();
    }

    /// Asks; the answer is found under the returned number.
    pub(crate) fn ask(&mut self, request: Request) -> u64 {
        self.ask_within(request, 5_000)
    }

    pub(crate) fn ask_within(&mut self, request: Request, within_ms: u64) -> u64 {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let deadline_ms = self.now_ms + within_ms;
        self.tell(Fact::Asked {
            ticket: Ticket(ticket),
            deadline_ms,
            request,
        });
        ticket
    }

    /// Asks and waits for the answer.
    pub(crate) fn call(&mut self, request: Request) -> Answer {
        let ticket = self.ask(request);
        self.run_for(500);
        if !self.answers.contains_key(&ticket) {
            self.run_for(6_000);
        }
        self.answers
            .get(&ticket)
            .expect("every call is answered")
            .1
            .clone()
    }

    /// Lets the core decide and carries its actions out, until it has nothing more to say.
    pub(crate) fn settle(&mut self) {
        loop {
            let actions = self.lab.decide(self.now());
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.perform(action);
            }
        }
    }

    /// Moves time, from one thing that happens to the next.
    pub(crate) fn run_for(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        self.settle();
        loop {
            let next = [
                self.queue.keys().next().map(|(at, _)| *at),
                self.lab.deadline().filter(|at| *at > self.now_ms),
                Some(self.next_beat_ms),
                self.sims
                    .values()
                    .filter_map(|sim| sim.changing.map(|(at, _)| at))
                    .min(),
            ]
            .into_iter()
            .flatten()
            .min()
            .expect("heartbeats never end");
            if next > end {
                break;
            }
            self.now_ms = self.now_ms.max(next);
            self.happen();
            self.settle();
        }
        self.now_ms = end;
        self.settle();
    }

    fn happen(&mut self) {
        while let Some(entry) = self
            .queue
            .first_entry()
            .filter(|e| e.key().0 <= self.now_ms)
        {
            let fact = entry.remove();
            self.tell(fact);
        }
        let due: Vec<(String, bool)> = self
            .sims
            .iter()
            .filter_map(|(name, sim)| {
                sim.changing
                    .filter(|(at, _)| *at <= self.now_ms)
                    .map(|(_, on)| (name.clone(), on))
            })
            .collect();
        for (name, on) in due {
            self.set_power(&name, on);
        }
        if self.next_beat_ms <= self.now_ms {
            self.next_beat_ms += BEAT_MS;
            for agent in self
                .sims
                .keys()
                .chain(self.relays.keys())
                .cloned()
                .collect::<Vec<_>>()
            {
                self.beat(&agent);
            }
        }
    }

    /// Switches a machine as a hand at its button would.
    pub(crate) fn set_power(&mut self, name: &str, on: bool) {
        let now_ms = self.now_ms;
        let sim = self.sims.get_mut(name).expect("known machine");
        sim.changing = None;
        if sim.on == on {
            return;
        }
        sim.on = on;
        if on {
            sim.boots += 1;
            sim.booted_ms = now_ms;
            self.register(name);
            self.beat(name);
        } else if let Some(node) = self.nodes.get_mut(name) {
            node.ready = false;
            let node = node.clone();
            self.later(20, Fact::NodeSeen(node));
        }
    }

    fn register(&mut self, name: &str) {
        if self.sims[name].joins == Joins::Agent {
            return;
        }
        let boot_id = self.boot_id(name);
        let serial = self.serial;
        let node = self
            .nodes
            .entry(name.to_owned())
            .or_insert_with(|| NodeSeen {
                name: name.to_owned(),
                uid: format!("uid-{serial}"),
                capacity: BTreeMap::from([
                    ("cpu".into(), "4".into()),
                    ("memory".into(), "8Gi".into()),
                ])
                .into(),
                allocatable: BTreeMap::from([
                    ("cpu".into(), "3900m".into()),
                    ("memory".into(), "7Gi".into()),
                ])
                .into(),
                ..NodeSeen::default()
            });
        node.ready = true;
        node.boot_id = boot_id;
        let node = node.clone();
        self.later(5, Fact::NodeSeen(node));
        self.later(
            6,
            Fact::LeaseRenewed {
                name: name.to_owned(),
            },
        );
    }

    pub(crate) fn boot_id(&self, name: &str) -> String {
        format!(
            "{name}-boot-{}",
            self.sims.get(name).map_or(0, |sim| sim.boots)
        )
    }

    /// A heartbeat, if the host is up and can be heard.
    pub(crate) fn beat(&mut self, name: &str) {
        let (up_ms, beats) = match self.sims.get_mut(name) {
            Some(sim) if !sim.on || sim.mute => return,
            Some(sim) => {
                sim.beats += 1;
                (self.now_ms - sim.booted_ms, sim.beats)
            }
            None if self.relays.get(name) == Some(&true) => (self.now_ms, self.now_ms),
            None => return,
        };
        if self.nodes.contains_key(name) {
            let name = name.to_owned();
            self.later(2, Fact::LeaseRenewed { name });
        }
        if self.sims.get(name).is_some_and(|sim| sim.agentless) {
            return;
        }
        let boot_id = self.boot_id(name);
        self.later(
            1,
            Fact::Beat(Beat {
                agent: AgentId::new(name),
                boot_id: boot_id.as_str().into(),
                instance: boot_id,
                challenge: format!("{name}-{beats}"),
                up_ms,
            }),
        );
    }

    /// Moves time until a list of pods is on its way.
    pub(crate) fn until_listing(&mut self) {
        let listed = |fact: &Fact| matches!(fact, Fact::PodsListed { .. });
        let end_ms = self.now_ms + 60_000;
        while !self.queue.values().any(listed) {
            assert!(self.now_ms < end_ms, "nobody lists pods");
            self.run_for(1);
        }
    }

    pub(crate) fn later(&mut self, ms: u64, fact: Fact) {
        self.serial += 1;
        self.queue.insert((self.now_ms + ms, self.serial), fact);
    }

    pub(crate) fn wakes(&self, name: &str) -> usize {
        self.effects
            .iter()
            .filter(|(_, e)| *e == Effect::Wake(name.to_owned()))
            .count()
    }

    pub(crate) fn stops(&self, name: &str) -> usize {
        let name = name.to_owned();
        self.effects
            .iter()
            .filter(|(_, e)| *e == Effect::Stop(name.clone()) || *e == Effect::Cut(name.clone()))
            .count()
    }

    pub(crate) fn woken(&self) -> BTreeSet<String> {
        self.effects
            .iter()
            .filter_map(|(_, e)| {
                if let Effect::Wake(n) = e {
                    Some(n.clone())
                } else {
                    None
                }
            })
            .collect()
    }

    pub(crate) fn stopped(&self) -> BTreeSet<String> {
        self.effects
            .iter()
            .filter_map(|(_, e)| {
                if let Effect::Stop(n) | Effect::Cut(n) = e {
                    Some(n.clone())
                } else {
                    None
                }
            })
            .collect()
    }

    pub(crate) fn reasons(&self) -> Vec<&'static str> {
        self.events.iter().map(|e| e.reason).collect()
    }
}
