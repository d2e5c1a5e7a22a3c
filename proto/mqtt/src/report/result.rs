//! Results: what became of a command.
//! Holds: each travels inside an envelope of purpose `res`, signed with the agent's result key.

use crate::mac::Mac;
use crate::names::{BootId, Instance};
use crate::payload::Payload;
use crate::power::Power;
use crate::report::inventory::WakeFlag;
use crate::text::Text;
use crate::token::Token;
use crate::ulid::Ulid;
use crate::version::V1;
use crate::wire_enum::wire_enum;
use alloc::vec::Vec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

/// The most outcomes in one [`LastResults`].
pub const MAX_LAST_RESULTS: usize = 8;

/// One step of a command's way to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultBody {
    /// The version of this payload.
    pub v: V1,
    /// The command.
    pub id: Ulid,
    /// Its token.
    pub token: Token,
    /// How far it came.
    pub state: ResultState,
    /// Why it came no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub msg: Text<256>,
    /// The kernel boot that speaks.
    pub boot: BootId,
    /// The process that speaks.
    pub inst: Instance,
    /// The host's uptime, in seconds.
    pub at_up_s: u64,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<Outcome>,
}

impl Payload for ResultBody {}

wire_enum! {
    /// How far a command came.
    pub enum ResultState {
        /// It passed every check and is journaled; nothing has happened yet.
        Accepted = "accepted",
        /// It is being carried out.
        Running = "running",
        /// It was carried out.
        Done = "done",
        /// It was begun and went wrong; an effect is possible.
        Failed = "failed",
        /// It did not pass the checks; nothing happened.
        Refused = "refused",
        /// It was accepted and given up before anything happened.
        Aborted = "aborted",
        /// It was given up because the coordinator asked for it.
        Cancelled = "cancelled",
        /// The agent ended while it was carried out; the effect is not known.
        Interrupted = "interrupted",
        /// The id was used for another command.
        Duplicate = "duplicate",
    }
}

impl ResultState {
    /// Whether no further result will come for the command.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Accepted | Self::Running | Self::Unknown => false,
            Self::Done
            | Self::Failed
            | Self::Refused
            | Self::Aborted
            | Self::Cancelled
            | Self::Interrupted
            | Self::Duplicate => true,
        }
    }
}

wire_enum! {
    /// Why a command came no further.
    pub enum Code {
        /// The message is no envelope.
        BadEnvelope = "bad_envelope",
        /// The key is not trusted.
        UnknownKid = "unknown_kid",
        /// The signature does not fit.
        BadSig = "bad_sig",
        /// The signed body cannot be read.
        BadBody = "bad_body",
        /// It is for another agent, or for a target that the verb does not fit.
        WrongAud = "wrong_aud",
        /// The broker had retained it.
        Retained = "retained",
        /// The challenge is not one of this process.
        StaleChal = "stale_chal",
        /// The challenge is too old.
        Expired = "expired",
        /// A higher token was accepted for the target.
        SeqStale = "seq_stale",
        /// It is for another boot of the kernel.
        BootMismatch = "boot_mismatch",
        /// The agent's configuration does not allow the verb.
        VerbDenied = "verb_denied",
        /// The verb, a mode or a critical field is not known here.
        Unsupported = "unsupported",
        /// Too many commands.
        RateLimited = "rate_limited",
        /// The host has not been up long enough.
        MinUptime = "min_uptime",
        /// Somebody works on the host.
        Maintenance = "maintenance",
        /// A block inhibitor is held on the host.
        Inhibited = "inhibited",
        /// Another order is under way.
        Busy = "busy",
        /// The target is not in the expected state.
        Precondition = "precondition",
        /// The journal cannot be read or written.
        JournalUnwritable = "journal_unwritable",
        /// The broker did not confirm the acceptance in time.
        NoAckPath = "no_ack_path",
        /// The driver reported a fault.
        ExecFailed = "exec_failed",
        /// The driver reported a fault that stays until a person has changed something: no attempt more will help.
        ExecRefused = "exec_refused",
        /// The driver did not answer in time.
        ExecTimeout = "exec_timeout",
        /// The host was told to go down and is still here.
        Stalled = "stalled",
    }
}

/// What happened, by the kind of order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Outcome {
    /// Magic packets left.
    Wol(WakeOutcome),
    /// A BMC was asked.
    Redfish(BmcOutcome),
    /// The agent's own host was prepared to go down.
    Host(HostOutcome),
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

/// Which magic packets left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeOutcome {
    /// Where they went, one entry for each interface.
    pub sent: Vec<Sent>,
    /// UDP ports.
    pub ports: Vec<u16>,
    /// How many left in all.
    pub packets: u32,
}

/// Magic packets that left one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The interface.
    pub iface: Text<15>,
    /// Destination addresses.
    pub to: Vec<IpAddr>,
}

/// What a BMC said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcOutcome {
    /// The power state that it reports.
    pub power: Power,
    /// Its own word for it, as `PoweringOn`.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub word: Text<32>,
    /// Whether it was asked to change anything; false where the state was reached already.
    pub changed: bool,
}

/// How the host was left before it went down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostOutcome {
    /// The interfaces and whether they can wake it.
    pub nics: Vec<HostNic>,
}

/// An interface of the host right before it went down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostNic {
    /// Its permanent address.
    pub mac: Mac,
    /// Whether a magic packet wakes the host through it.
    pub wol: WakeFlag,
}

/// The last outcomes of an agent, newest last: retained, for a new leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastResults {
    /// The version of this payload.
    pub v: V1,
    /// At most [`MAX_LAST_RESULTS`].
    pub results: Vec<ResultBody>,
}

impl Payload for LastResults {}
