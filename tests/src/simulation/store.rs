//! The store: what was recorded outlives every coordinator.
//!
//! In: writes on their way. Out: what became of them, told or not.
//! Holds: a group changes only from the expected sequence; a machine's token never falls.

use std::collections::BTreeMap;

use coordinator_core::{AgentId, Fact, GroupRecord, MachineId, MachineRecord, StoreFault};

use super::declared::group_id;
use super::world::{Event, World};

/// From a write to the store and back.
const WAY_MS: u64 = 2;
/// Until a watch shows what a write of unknown outcome has done.
const ECHO_MS: u64 = 4_000;

#[derive(Default)]
pub(super) struct Store {
    pub(super) group: GroupRecord,
    pub(super) machines: BTreeMap<MachineId, MachineRecord>,
    agents: BTreeMap<AgentId, String>,
    pub(super) writes: u64,
    /// The latest write on its way lands then: writes keep their order.
    landing_ms: u64,
}

/// What is to be stored.
pub(super) enum Put {
    Group {
        expected: u64,
        record: GroupRecord,
        deadline_ms: Option<u64>,
    },
    Machine {
        machine: MachineId,
        version: u64,
        record: Box<MachineRecord>,
    },
    Agent {
        agent: AgentId,
        key: String,
    },
}

/// A write on its way.
pub(super) struct Write {
    process: u32,
    put: Put,
    fate: Fate,
}

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is stored, and the writer hears so.
    Stored,
    /// It is stored, and the writer hears that nobody knows.
    Unsure,
    /// It is not stored.
    Fails,
}

impl Write {
    pub(super) fn silent(put: Put) -> Self {
        Self {
            process: 0,
            put,
            fate: Fate::Stored,
        }
    }
}

impl Store {
    /// What a coordinator that starts is told.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::GroupStored {
            group: group_id(),
            record: self.group.clone(),
        }];
        for (machine, record) in &self.machines {
            facts.push(Fact::MachineStored {
                machine: machine.clone(),
                record: record.clone(),
            });
        }
        for (agent, key) in &self.agents {
            facts.push(Fact::AgentStored {
                agent: agent.clone(),
                key: key.clone(),
            });
        }
        facts
    }
}

fn failed(put: &Put) -> Option<Fact> {
    let fault = StoreFault::Unavailable;
    match put {
        Put::Group { .. } => Some(Fact::CommitFailed {
            group: group_id(),
            fault,
        }),
        Put::Machine { machine, .. } => Some(Fact::RecordFailed {
            machine: machine.clone(),
            fault,
        }),
        Put::Agent { .. } => None,
    }
}

impl World {
    /// A coordinator writes: the write may fail, or land with nobody knowing.
    pub(super) fn put(&mut self, process: u32, put: Put) {
        let fate = if !self.may_write(process) || self.dice.percent(self.faults.store_fails) {
            Fate::Fails
        } else if self.dice.percent(self.faults.store_unsure) {
            Fate::Unsure
        } else {
            Fate::Stored
        };
        let lag_ms = self.dice.roll(self.faults.store_lag_ms + 1);
        let landing_ms = self.store.landing_ms.max(self.now_ms + WAY_MS + lag_ms);
        self.store.landing_ms = landing_ms;
        let write = Box::new(Write { process, put, fate });
        self.after(landing_ms - self.now_ms, Event::Lands(write));
    }

    pub(super) fn land(&mut self, write: Write) {
        let unheard = failed(&write.put);
        let heard = match write.fate {
            Fate::Fails => unheard,
            Fate::Stored => self.store_it(write.put, write.fate),
            Fate::Unsure => {
                self.tally.count("a write landed and nobody was told");
                self.store_it(write.put, write.fate);
                unheard
            }
        };
        if let Some(fact) = heard {
            let event = Event::Told {
                process: write.process,
                fact: Box::new(fact),
            };
            self.after(WAY_MS, event);
        }
    }

    fn store_it(&mut self, put: Put, fate: Fate) -> Option<Fact> {
        self.store.writes += 1;
        match put {
            Put::Group {
                expected,
                record,
                deadline_ms,
            } if deadline_ms.is_none_or(|at| self.now_ms <= at) => {
                Some(self.land_group(expected, record, fate))
            }
            Put::Group { .. } => Some(Fact::CommitFailed {
                group: group_id(),
                fault: StoreFault::TooLate,
            }),
            Put::Machine {
                machine,
                version,
                record,
            } => Some(self.land_machine(machine, version, *record)),
            Put::Agent { agent, key } => {
                self.store.agents.entry(agent).or_insert(key);
                None
            }
        }
    }

    fn land_group(&mut self, expected: u64, record: GroupRecord, fate: Fate) -> Fact {
        let group = group_id();
        if self.store.group.sequence != expected {
            self.tally.count("a commit lost its race");
            let record = self.store.group.clone();
            return Fact::CommitLost { group, record };
        }
        self.judge_commit(&record, fate == Fate::Unsure);
        let sequence = record.sequence;
        self.note(|| format!("stored: sequence {sequence}, wanted {:?}", record.wanted));
        self.store.group = record.clone();
        let fact = Fact::GroupStored {
            group: group.clone(),
            record,
        };
        let processes: Vec<u32> = self.coordinators.iter().map(|c| c.id).collect();
        for process in processes {
            let fact = Box::new(fact.clone());
            self.after(ECHO_MS, Event::Told { process, fact });
        }
        Fact::Committed { group, sequence }
    }

    fn land_machine(&mut self, machine: MachineId, version: u64, record: MachineRecord) -> Fact {
        let stored = self.store.machines.entry(machine.clone()).or_default();
        if record.token < stored.token {
            let fault = StoreFault::Refused;
            return Fact::RecordFailed { machine, fault };
        }
        *stored = record;
        self.remember_operation(&machine);
        Fact::Recorded { machine, version }
    }
}
