//! The journal of destructive orders: what the shell keeps on disk.
//! Holds: at most 64 entries, none under way is ever dropped; an order that a restart interrupted is never carried
//! out again, it is ended here by rule.
//! Not here: the file and its format (agent/journal_file).

use crate::marks::Mark;
use crate::step::Now;
use alloc::vec::Vec;
use proto_mqtt::report::{Code, ResultState};
use proto_mqtt::{AgentId, BootId, Text, Token, Ulid, Verb};

/// The most entries in a journal.
pub const MAX_ENTRIES: usize = 64;

const HOUR_MS: u64 = 3_600_000;
const HOUR_S: u64 = 3600;

/// What was found at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// A journal, empty at the first start.
    Readable(Journal),
    /// A journal that cannot be read: destructive orders are refused until somebody repairs it.
    Unreadable,
}

/// Destructive orders and high-water marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// Where the last barrier stands: lower tokens are refused for every target.
    pub floor: Token,
    /// The marks of targets that destructive orders were accepted for.
    pub marks: Vec<Mark>,
    /// The orders, oldest first.
    pub entries: Vec<Entry>,
}

/// A destructive order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The command.
    pub id: Ulid,
    /// Its token.
    pub token: Token,
    /// The machine.
    pub target: AgentId,
    /// The verb.
    pub verb: Verb,
    /// How far it came.
    pub progress: Progress,
    /// The kernel boot in which it was accepted.
    pub boot: BootId,
    /// When it was accepted, on the boot clock of that boot, in milliseconds.
    pub at_boot_ms: u64,
    /// When it was accepted, on the wall clock, in seconds.
    pub at_wall_s: u64,
}

/// How far an order came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It passed the checks; nothing has happened.
    Accepted,
    /// It may have been carried out.
    Executing,
    /// It ended.
    Ended(Ending),
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// A final state.
    pub state: ResultState,
    /// Why it came no further.
    pub code: Option<Code>,
    /// The same for people.
    pub msg: Text<256>,
}

impl Journal {
    /// Adds an entry and forgets the oldest that has ended.
    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.len() >= MAX_ENTRIES {
            let ended = self
                .entries
                .iter()
                .position(|entry| matches!(entry.progress, Progress::Ended(_)));
            if let Some(oldest) = ended {
                self.entries.remove(oldest);
            }
        }
        self.entries.push(entry);
    }

    pub(crate) fn remove(&mut self, id: Ulid) {
        self.entries.retain(|entry| entry.id != id);
    }

    pub(crate) fn progress(&mut self, id: Ulid, progress: Progress) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.progress = progress;
        }
    }

    /// Ends what the last process left open; returns the ids.
    pub(crate) fn settle(&mut self, boot: &BootId) -> Vec<Ulid> {
        let mut settled = Vec::new();
        for entry in &mut self.entries {
            let Some(ending) = entry.settled(boot) else {
                continue;
            };
            entry.progress = Progress::Ended(ending);
            settled.push(entry.id);
        }
        settled
    }

    /// How often the host was taken down in the last hour.
    pub(crate) fn acts_in_last_hour(&self, boot: &BootId, now: Now) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.is_act() && entry.is_recent(boot, now))
            .count()
    }
}

impl Entry {
    fn settled(&self, boot: &BootId) -> Option<Ending> {
        let own_host = matches!(self.verb, Verb::PowerOff | Verb::PowerReboot);
        let (state, msg) = match &self.progress {
            Progress::Ended(_) => return None,
            Progress::Accepted => (
                ResultState::Aborted,
                "the agent ended before the order began",
            ),
            Progress::Executing if own_host && self.boot != *boot => (ResultState::Done, ""),
            Progress::Executing => (
                ResultState::Interrupted,
                "the agent ended while the order was carried out",
            ),
        };
        Some(Ending {
            state,
            code: None,
            msg: Text::shortened(msg),
        })
    }

    /// Whether it took, or may have taken, the agent's own host down.
    fn is_act(&self) -> bool {
        let began = match &self.progress {
            Progress::Accepted | Progress::Executing => true,
            Progress::Ended(ending) => match ending.state {
                ResultState::Done | ResultState::Failed | ResultState::Interrupted => true,
                ResultState::Accepted
                | ResultState::Running
                | ResultState::Refused
                | ResultState::Aborted
                | ResultState::Cancelled
                | ResultState::Duplicate
                | ResultState::Unknown => false,
            },
        };
        began && matches!(self.verb, Verb::PowerOff | Verb::PowerReboot)
    }

    /// The boot clock decides within one boot. Across boots only the wall clock can tell; if it is wrong, the act
    /// counts until the host has been up for an hour.
    fn is_recent(&self, boot: &BootId, now: Now) -> bool {
        if self.boot == *boot {
            return now.boot_ms.saturating_sub(self.at_boot_ms) < HOUR_MS;
        }
        now.boot_ms < HOUR_MS && now.wall_s.saturating_sub(self.at_wall_s) < HOUR_S
    }
}
