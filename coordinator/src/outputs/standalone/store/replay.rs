//! What is stored, read back whole at start.
//!
//! In: the tables. Out: facts for the core, its seed, and the epoch of this start.
//! Holds: a value that cannot be read stops the start; leaving it out would forget tokens that agents remember.

use std::path::Path;

use coordinator_core::{AgentId, Fact, GroupId, GroupRecord, MachineId, MachineRecord};
use redb::{ReadableTable as _, WriteTransaction};

use super::{AGENTS, GROUPS, MACHINES, NUMBERS, OpenStore, SEED, STARTS};
use crate::outputs::standalone::stored::{self, ReadValue};

/// Everything that was stored, and the two numbers of this start.
#[derive(Debug, PartialEq)]
pub struct Replay {
    /// The core's seed; the same at every start of this state.
    pub seed: u64,
    /// Higher than at any start before, and than any token in a record.
    pub epoch: u32,
    /// Stored wishes.
    pub groups: Vec<(GroupId, GroupRecord)>,
    /// Stored machines.
    pub machines: Vec<(MachineId, MachineRecord)>,
    /// Stored keys of agents.
    pub agents: Vec<(AgentId, String)>,
}

impl Replay {
    /// Everything as facts, with `Loaded` and `Leading` at the end.
    pub fn into_facts(self) -> impl Iterator<Item = Fact> {
        let groups = self.groups.into_iter();
        let machines = self.machines.into_iter();
        let agents = self.agents.into_iter();
        groups
            .map(|(group, record)| Fact::GroupStored { group, record })
            .chain(machines.map(|(machine, record)| Fact::MachineStored { machine, record }))
            .chain(agents.map(|(agent, key)| Fact::AgentStored { agent, key }))
            .chain([Fact::Loaded, Fact::Leading { epoch: self.epoch }])
    }
}

/// Why the stored state could not be read, before the file is named.
pub(super) enum ReadAll {
    Database(redb::Error),
    Value { key: String, source: ReadValue },
    Random,
}

impl<E: Into<redb::Error>> From<E> for ReadAll {
    fn from(source: E) -> Self {
        Self::Database(source.into())
    }
}

impl ReadAll {
    pub(super) fn in_file(self, file: &Path) -> OpenStore {
        let file = file.to_owned();
        match self {
            Self::Database(source) => OpenStore::Database { file, source },
            Self::Value { key, source } => OpenStore::Value { file, key, source },
            Self::Random => OpenStore::Random,
        }
    }
}

pub(super) fn read_all(transaction: &WriteTransaction) -> Result<Replay, ReadAll> {
    let mut groups = Vec::new();
    for row in transaction.open_table(GROUPS)?.iter()? {
        let (name, value) = row?;
        let record = stored::group(value.value()).map_err(|source| ReadAll::Value {
            key: format!("group {}", name.value()),
            source,
        })?;
        groups.push((GroupId::new(name.value()), record));
    }
    let mut machines = Vec::new();
    for row in transaction.open_table(MACHINES)?.iter()? {
        let (name, value) = row?;
        let record = stored::machine(value.value()).map_err(|source| ReadAll::Value {
            key: format!("machine {}", name.value()),
            source,
        })?;
        machines.push((MachineId::new(name.value()), record));
    }
    let mut agents = Vec::new();
    for row in transaction.open_table(AGENTS)?.iter()? {
        let (name, key) = row?;
        agents.push((AgentId::new(name.value()), key.value().to_owned()));
    }
    let numbers = transaction.open_table(NUMBERS)?;
    let starts = numbers.get(STARTS)?.map_or(0, |n| n.value());
    let seed = match numbers.get(SEED)? {
        Some(seed) => seed.value(),
        None => getrandom::u64().map_err(|_| ReadAll::Random)?,
    };
    let granted = machines.iter().map(|(_, record)| record.token.epoch).max();
    // Four thousand million starts are out of reach, so saturating never shows.
    let epoch = u32::try_from(starts)
        .unwrap_or(u32::MAX)
        .max(granted.unwrap_or(0))
        .saturating_add(1);
    Ok(Replay {
        seed,
        epoch,
        groups,
        machines,
        agents,
    })
}

pub(super) fn count_start(
    transaction: &WriteTransaction,
    replay: &Replay,
) -> Result<(), redb::Error> {
    let mut numbers = transaction.open_table(NUMBERS)?;
    numbers.insert(STARTS, u64::from(replay.epoch))?;
    numbers.insert(SEED, replay.seed)?;
    Ok(())
}
