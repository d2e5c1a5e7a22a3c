//! The two ends of the core: what the shell tells it, and what it asks the shell to do.

use crate::journal::Journal;
use alloc::string::String;
use alloc::vec::Vec;
use proto_mqtt::report::{
    Code, Heartbeat, HostOutcome, LastResults, Outcome, Policy, ResultBody, Status,
};
use proto_mqtt::{AgentId, Challenge, Order, Power, Text, Ulid};

/// The time of an observation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the kernel booted, suspend included: every deadline and age.
    pub boot_ms: u64,
    /// The same without suspend: the difference grows when the host sleeps.
    pub awake_ms: u64,
    /// Seconds of the wall clock: only to forget power acts of earlier boots.
    pub wall_s: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The link is up for the n-th time, from 1.
    Connected {
        /// Which connection of this process it is.
        conn: u32,
    },
    /// The link is down.
    Disconnected,
    /// The broker delivered a message.
    Message {
        /// Its topic, as delivered.
        topic: String,
        /// Its bytes.
        payload: Vec<u8>,
        /// Whether the broker had retained it.
        retain: bool,
    },
    /// Random bytes, after [`Step::Beat`].
    Challenge(Challenge),
    /// The broker confirmed a tracked report to have reached a subscriber, or did not.
    Delivered {
        /// The ticket of the report.
        ticket: Ticket,
        /// Whether somebody got it.
        reached: bool,
    },
    /// The oldest unanswered [`Step::WriteJournal`] is on disk, or failed.
    Journaled {
        /// Whether it is safe on disk.
        written: bool,
    },
    /// The wake flags were set again as well as possible, after [`Step::Arm`].
    Armed {
        /// The command.
        id: Ulid,
        /// How the interfaces stand now, if they could be read.
        outcome: Option<HostOutcome>,
    },
    /// A driver ended, after [`Step::Carry`].
    Ended {
        /// The command.
        id: Ulid,
        /// What happened.
        result: Result<Option<Outcome>, DriverFault>,
    },
    /// What stands against switching the host off.
    Policy(Policy),
    /// The agent is to end.
    Terminating {
        /// Whether the whole host goes down.
        host: bool,
    },
    /// Nothing but time passed.
    Tick,
}

/// Why a driver did not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverFault {
    /// The stable word.
    pub code: Code,
    /// The same for people.
    pub msg: Text<256>,
}

/// Ties a tracked report to its confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the shell is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make 16 random bytes and answer with [`Input::Challenge`].
    Beat,
    /// Publish a report; with a ticket, answer with [`Input::Delivered`].
    Publish {
        /// What to publish.
        report: Report,
        /// Present if the core waits for the confirmation.
        ticket: Option<Ticket>,
    },
    /// Publish inventory and health now.
    Announce,
    /// Write the journal, safe against power loss, and answer with [`Input::Journaled`].
    WriteJournal(Journal),
    /// Make sure that the host can be woken again, and answer with [`Input::Armed`].
    Arm {
        /// The command that is about to take the host down.
        id: Ulid,
    },
    /// Hand an order to its driver and answer with [`Input::Ended`].
    Carry(Job),
    /// Log a refusal.
    Log(Refusal),
    /// End the process.
    Exit,
}

/// What a driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The command.
    pub id: Ulid,
    /// The machine.
    pub target: AgentId,
    /// The order.
    pub order: Order,
    /// The power state that the target must have, where the driver can read it.
    pub expect: Option<Power>,
}

/// A message to the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Presence.
    Status(Status),
    /// A sign of life with a challenge.
    Heartbeat(Heartbeat),
    /// What became of a command; to be signed.
    Result(ResultBody),
    /// The last outcomes; to be signed.
    Last(LastResults),
}

/// Why a message was not obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable word.
    pub code: Code,
    /// The same for people.
    pub detail: Text<256>,
    /// The command, as far as the message said; unproved for codes before and of the signature check.
    pub id: Option<Ulid>,
}

/// A message from the broker.
pub(crate) struct Arrival<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) retain: bool,
}

/// One observation: its time, and the steps that follow from it so far.
pub(crate) struct Turn {
    pub(crate) now: Now,
    pub(crate) steps: Vec<Step>,
}

impl Turn {
    pub(crate) fn at(now: Now) -> Self {
        Self {
            now,
            steps: Vec::new(),
        }
    }
}

impl Refusal {
    pub(crate) fn new(code: Code, detail: &str) -> Self {
        Self {
            code,
            detail: Text::shortened(detail),
            id: None,
        }
    }
}
