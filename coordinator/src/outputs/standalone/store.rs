//! The database in the state folder: wishes, machine records, agents' keys, the count of starts and the core's seed.
//!
//! In: batches of [`Write`]s. Out: one [`Outcome`] for each, in order, after fsync; at start everything that is stored.
//! Holds: a batch is one transaction: all of it is durable, or none of it happened.
//! Holds: one process has the file open; a second one is refused.
//! Not here: the thread that calls this (`writer`), and the form of the values (`stored`).

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use coordinator_core::{AgentId, GroupId, GroupRecord, MachineId, MachineRecord};
use redb::{Builder, Database, DatabaseError, ReadableTable, TableDefinition, WriteTransaction};

use super::stored::{self, ReadValue};
use crate::clock;

mod replay;

pub use replay::Replay;

const FILE: &str = "coordinator.redb";
const GROUPS: TableDefinition<'_, &str, &str> = TableDefinition::new("groups");
const MACHINES: TableDefinition<'_, &str, &str> = TableDefinition::new("machines");
const AGENTS: TableDefinition<'_, &str, &str> = TableDefinition::new("agents");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// How often this state was opened, and the epoch of the latest start.
const STARTS: &str = "starts";
/// The core's seed, drawn once.
const SEED: &str = "seed";
/// Page cache in bytes: room for what one batch touches. Records are read at start only, and the system keeps the file's pages
/// anyway. A thousand machines would fill 2 MiB; redb's own default is a whole GiB.
const CACHE: usize = 256 << 10;

/// Why the state folder cannot be used. The text names the folder and what would help.
#[derive(Debug, thiserror::Error)]
pub enum OpenStore {
    /// The folder is not there and cannot be made.
    #[error("state folder {}: cannot be created; name a writable folder with --state", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another coordinator runs on it.
    #[error(
        "state folder {}: another homelab-coordinator is using it; stop that one, or name another folder with --state",
        dir.display()
    )]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The database cannot be opened or read.
    #[error("state file {}: cannot be opened", file.display())]
    Database {
        /// The file.
        file: PathBuf,
        /// What redb said.
        #[source]
        source: redb::Error,
    },
    /// One value in it makes no sense.
    #[error(
        "state file {}: {key} is unreadable; install the newer version again, or move the state folder away \
         to begin anew (machines are then adopted as they are found)",
        file.display()
    )]
    Value {
        /// The file.
        file: PathBuf,
        /// Table and key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: ReadValue,
    },
    /// The seed could not be drawn.
    #[error("the system gives no random numbers")]
    Random,
}

/// Why a batch was not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteStore {
    #[error("cannot open {}", file.display())]
    Reopen {
        file: PathBuf,
        #[source]
        source: DatabaseError,
    },
    #[error("cannot write {}", file.display())]
    Write {
        file: PathBuf,
        #[source]
        source: redb::Error,
    },
}

/// One thing to store.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Group {
        group: GroupId,
        expected: u64,
        record: GroupRecord,
        /// Not to be stored after this, on the boot clock, milliseconds.
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

/// What became of one thing in a batch that is durable.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Stored,
    /// A wish that was computed from another sequence than the stored one; this is stored instead.
    Moved(GroupRecord),
    /// A wish whose caller was told by now that nothing happened, so nothing is stored.
    TooLate,
    /// What is stored cannot be read, so it is not overwritten either.
    Unreadable,
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    file: PathBuf,
    /// Closed after a failed write: redb refuses everything after one, until the file is opened again.
    database: Option<Database>,
}

impl Store {
    /// Opens the state in `dir`, makes both if they are missing, and counts the start.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, another process uses it, the file is damaged, or a value in it is unreadable.
    pub fn open(dir: &Path) -> Result<(Self, Replay), OpenStore> {
        make_folder(dir)?;
        let file = dir.join(FILE);
        let database = open_database(&file).map_err(|source| refused(dir, &file, source))?;
        let failed = |source| OpenStore::Database {
            file: file.clone(),
            source,
        };
        // The database is as private as the key beside it.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
            .map_err(|source| failed(redb::Error::Io(source)))?;
        let transaction = database.begin_write().map_err(|e| failed(e.into()))?;
        let replay = replay::read_all(&transaction).map_err(|fault| fault.in_file(&file))?;
        replay::count_start(&transaction, &replay).map_err(failed)?;
        transaction.commit().map_err(|e| failed(e.into()))?;
        let store = Self {
            file,
            database: Some(database),
        };
        Ok((store, replay))
    }

    /// Stores a batch in one transaction and waits until it is on the disk.
    ///
    /// # Errors
    ///
    /// The disk is full, gone or broken. The batch is then stored as a whole or not at all: ask [`Self::group`] once it works again.
    pub(super) fn write(&mut self, batch: &[Write]) -> Result<Vec<Outcome>, WriteStore> {
        let written = self.database()?.begin_write().map_err(Into::into);
        let written = written.and_then(|transaction| {
            let outcomes = apply(&transaction, batch)?;
            transaction.commit()?;
            Ok(outcomes)
        });
        written.map_err(|source| {
            self.database = None;
            WriteStore::Write {
                file: self.file.clone(),
                source,
            }
        })
    }

    /// What is stored for a group.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub(super) fn group(&mut self, group: &GroupId) -> Result<Option<GroupRecord>, WriteStore> {
        let read = self.database()?.begin_write().map_err(Into::into);
        let read = read.and_then(|transaction| {
            let table = transaction.open_table(GROUPS)?;
            let value = table.get(group.as_str())?;
            Ok(value.and_then(|value| stored::group(value.value()).ok()))
        });
        read.map_err(|source| {
            self.database = None;
            WriteStore::Write {
                file: self.file.clone(),
                source,
            }
        })
    }

    /// Closes the file and uses another one from now on; returns the old path. A folder that is not there acts as a broken disk.
    #[cfg(test)]
    pub(super) fn swap_file(&mut self, file: PathBuf) -> PathBuf {
        self.database = None;
        std::mem::replace(&mut self.file, file)
    }

    fn database(&mut self) -> Result<&Database, WriteStore> {
        let open = match self.database.take() {
            Some(open) => open,
            None => open_database(&self.file).map_err(|source| WriteStore::Reopen {
                file: self.file.clone(),
                source,
            })?,
        };
        Ok(self.database.insert(open))
    }
}

fn make_folder(dir: &Path) -> Result<(), OpenStore> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| OpenStore::Folder {
            dir: dir.to_owned(),
            source,
        })
}

fn open_database(file: &Path) -> Result<Database, DatabaseError> {
    Builder::new().set_cache_size(CACHE).create(file)
}

fn refused(dir: &Path, file: &Path, source: DatabaseError) -> OpenStore {
    if matches!(source, DatabaseError::DatabaseAlreadyOpen) {
        return OpenStore::InUse {
            dir: dir.to_owned(),
        };
    }
    OpenStore::Database {
        file: file.to_owned(),
        source: source.into(),
    }
}

fn apply(transaction: &WriteTransaction, batch: &[Write]) -> Result<Vec<Outcome>, redb::Error> {
    let mut groups = transaction.open_table(GROUPS)?;
    let mut machines = transaction.open_table(MACHINES)?;
    let mut agents = transaction.open_table(AGENTS)?;
    batch
        .iter()
        .map(|write| match write {
            Write::Group {
                group,
                expected,
                record,
                deadline_ms,
            } => {
                if deadline_ms.is_some_and(|deadline_ms| clock::until(deadline_ms).is_zero()) {
                    return Ok(Outcome::TooLate);
                }
                commit_wish(&mut groups, group, *expected, record)
            }
            Write::Machine {
                machine, record, ..
            } => {
                machines.insert(machine.as_str(), stored::machine_text(record).as_str())?;
                Ok(Outcome::Stored)
            }
            Write::Agent { agent, key } => {
                agents.insert(agent.as_str(), key.as_str())?;
                Ok(Outcome::Stored)
            }
        })
        .collect()
}

fn commit_wish(
    groups: &mut redb::Table<'_, &str, &str>,
    group: &GroupId,
    expected: u64,
    record: &GroupRecord,
) -> Result<Outcome, redb::Error> {
    let present = match groups.get(group.as_str())? {
        Some(value) => match stored::group(value.value()) {
            Ok(present) => present,
            Err(_) => return Ok(Outcome::Unreadable),
        },
        None => GroupRecord::default(),
    };
    if present.sequence != expected {
        return Ok(Outcome::Moved(present));
    }
    groups.insert(group.as_str(), stored::group_text(record).as_str())?;
    Ok(Outcome::Stored)
}

#[cfg(test)]
mod tests;
