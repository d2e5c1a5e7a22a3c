//! The journal on disk.
//! In: the core's journal. Out: `journal.json` in the state folder, replaced as a whole.
//! Holds: written beside, synced, renamed, folder synced: after a power cut there is the old or the new one, never a
//! torn one; a file that cannot be read is never replaced.

use agent_core::{Ending, Entry, Journal, Mark, Progress, Stored};
use proto_mqtt::report::{Code, ResultState};
use proto_mqtt::version::V1;
use proto_mqtt::{AgentId, BootId, Text, Token, Ulid, Verb};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The journal's place.
#[derive(Debug, Clone)]
pub(crate) struct JournalFile {
    folder: PathBuf,
}

impl JournalFile {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            folder: state_dir.to_owned(),
        }
    }

    /// What is there; no file is an empty journal.
    pub(crate) fn load(&self) -> Stored {
        let path = self.folder.join("journal.json");
        let read = match std::fs::read(&path) {
            Ok(bytes) => decoded(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Stored::Readable(Journal::default());
            }
            Err(error) => Err(error),
        };
        match read {
            Ok(journal) => Stored::Readable(journal),
            Err(error) => {
                tracing::error!(
                    path = %path.display(), %error,
                    "journal unreadable: orders that take power away are refused until the file is repaired or removed"
                );
                Stored::Unreadable
            }
        }
    }

    /// Replaces the journal; when this returns, a power cut cannot undo it.
    pub(crate) fn write(&self, journal: &Journal) -> io::Result<()> {
        let bytes = encoded(journal)?;
        let beside = self.folder.join("journal.json.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, self.folder.join("journal.json"))?;
        File::open(&self.folder)?.sync_all()
    }
}

/// The journal in the bytes of its file.
pub(crate) fn decoded(bytes: &[u8]) -> io::Result<Journal> {
    let journal: JournalOnDisk = serde_json::from_slice(bytes)?;
    Ok(journal.into())
}

/// The bytes of its file.
pub(crate) fn encoded(journal: &Journal) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&JournalOnDisk::from(journal))?)
}

#[derive(Serialize, Deserialize)]
struct JournalOnDisk {
    v: V1,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<Token>,
    marks: Vec<MarkOnDisk>,
    entries: Vec<EntryOnDisk>,
}

#[derive(Serialize, Deserialize)]
struct MarkOnDisk {
    target: AgentId,
    token: Token,
    id: Ulid,
}

#[derive(Serialize, Deserialize)]
struct EntryOnDisk {
    id: Ulid,
    token: Token,
    target: AgentId,
    verb: Verb,
    progress: ProgressOnDisk,
    boot: BootId,
    at_boot_ms: u64,
    at_wall_s: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ProgressOnDisk {
    Accepted,
    Executing,
    Ended {
        state: ResultState,
        code: Option<Code>,
        msg: Text<256>,
    },
}

impl From<&Journal> for JournalOnDisk {
    fn from(journal: &Journal) -> Self {
        let mark = |mark: &Mark| MarkOnDisk {
            target: mark.target.clone(),
            token: mark.token,
            id: mark.id,
        };
        Self {
            v: V1,
            floor: (journal.floor > Token::ZERO).then_some(journal.floor),
            marks: journal.marks.iter().map(mark).collect(),
            entries: journal.entries.iter().map(EntryOnDisk::from).collect(),
        }
    }
}

impl From<&Entry> for EntryOnDisk {
    fn from(entry: &Entry) -> Self {
        let progress = match &entry.progress {
            Progress::Accepted => ProgressOnDisk::Accepted,
            Progress::Executing => ProgressOnDisk::Executing,
            Progress::Ended(end) => ProgressOnDisk::Ended {
                state: end.state,
                code: end.code,
                msg: end.msg.clone(),
            },
        };
        Self {
            id: entry.id,
            token: entry.token,
            target: entry.target.clone(),
            verb: entry.verb,
            progress,
            boot: entry.boot.clone(),
            at_boot_ms: entry.at_boot_ms,
            at_wall_s: entry.at_wall_s,
        }
    }
}

impl From<JournalOnDisk> for Journal {
    fn from(disk: JournalOnDisk) -> Self {
        let mark = |mark: MarkOnDisk| Mark {
            target: mark.target,
            token: mark.token,
            id: mark.id,
        };
        Self {
            floor: disk.floor.unwrap_or(Token::ZERO),
            marks: disk.marks.into_iter().map(mark).collect(),
            entries: disk.entries.into_iter().map(Entry::from).collect(),
        }
    }
}

impl From<EntryOnDisk> for Entry {
    fn from(disk: EntryOnDisk) -> Self {
        let progress = match disk.progress {
            ProgressOnDisk::Accepted => Progress::Accepted,
            ProgressOnDisk::Executing => Progress::Executing,
            ProgressOnDisk::Ended { state, code, msg } => {
                Progress::Ended(Ending { state, code, msg })
            }
        };
        Self {
            id: disk.id,
            token: disk.token,
            target: disk.target,
            verb: disk.verb,
            progress,
            boot: disk.boot,
            at_boot_ms: disk.at_boot_ms,
            at_wall_s: disk.at_wall_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(progress: Progress) -> Entry {
        Entry {
            id: Ulid::from_bits(1),
            token: Token { epoch: 1, seq: 2 },
            target: "nas-01".parse().expect("a name"),
            verb: Verb::PowerOff,
            progress,
            boot: "boot-1".parse().expect("a boot id"),
            at_boot_ms: 3,
            at_wall_s: 4,
        }
    }

    fn journal() -> Journal {
        let end = Ending {
            state: ResultState::Aborted,
            code: Some(Code::NoAckPath),
            msg: Text::from("why"),
        };
        let mark = Mark {
            target: "nas-01".parse().expect("a name"),
            token: Token { epoch: 1, seq: 2 },
            id: Ulid::from_bits(1),
        };
        let progress = [
            Progress::Accepted,
            Progress::Executing,
            Progress::Ended(end),
        ];
        Journal {
            floor: Token::ZERO,
            marks: vec![mark],
            entries: progress.into_iter().map(entry).collect(),
        }
    }

    fn behind_a_barrier() -> Journal {
        Journal {
            floor: Token { epoch: 3, seq: 0 },
            ..journal()
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = JournalFile::new(folder.path());
        assert_eq!(file.load(), Stored::Readable(Journal::default()));
        file.write(&journal()).expect("a write");
        assert_eq!(file.load(), Stored::Readable(journal()));
        file.write(&behind_a_barrier()).expect("a second write");
        assert_eq!(file.load(), Stored::Readable(behind_a_barrier()));
        file.write(&Journal::default()).expect("a third write");
        assert_eq!(file.load(), Stored::Readable(Journal::default()));
    }

    #[test]
    fn a_leftover_of_a_torn_write_does_not_matter() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = JournalFile::new(folder.path());
        file.write(&journal()).expect("a write");
        std::fs::write(folder.path().join("journal.json.new"), b"{\"v\":1,").expect("a torn file");
        assert_eq!(file.load(), Stored::Readable(journal()));
        file.write(&journal()).expect("a write over it");
    }

    #[test]
    fn truncated_foreign_and_later_files_are_unreadable() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = JournalFile::new(folder.path());
        file.write(&journal()).expect("a write");
        let path = folder.path().join("journal.json");
        let good = std::fs::read(&path).expect("the file");
        for bad in [
            &good[..good.len() / 2],
            b"",
            b"{\"v\":2,\"marks\":[],\"entries\":[]}",
        ] {
            std::fs::write(&path, bad).expect("a bad file");
            assert_eq!(file.load(), Stored::Unreadable);
        }
    }

    #[test]
    fn a_folder_that_is_gone_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(
            JournalFile::new(&folder.path().join("gone"))
                .write(&journal())
                .is_err()
        );
    }

    #[test]
    fn the_bytes_are_the_pinned_ones() {
        for (journal, pinned) in [
            (journal(), include_str!("journal_file/v1.json")),
            (
                behind_a_barrier(),
                include_str!("journal_file/v1-barrier.json"),
            ),
        ] {
            let text = serde_json::to_string(&JournalOnDisk::from(&journal)).expect("JSON");
            assert_eq!(text, pinned.trim_end());
        }
    }
}
