//! A command under way: where it is, what may happen to it, how it may end.
//! Not here: what each event does in each stage (`flow`).

use crate::marks::Mark;
use crate::step::{DriverFault, Ticket};
use proto_mqtt::report::{Code, HostOutcome, Outcome, ResultState};
use proto_mqtt::{CommandBody, Text};

/// A command under way.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) body: CommandBody,
    pub(crate) stage: Stage,
}

/// Where a command is on its way; times are on the boot clock, in milliseconds.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// The journal is being told of a barrier.
    Barring,
    /// The journal is being told that it is accepted.
    Accepting { mark_before: Option<Mark> },
    /// The broker is to confirm that somebody knows.
    Confirming { ticket: Ticket, until_ms: u64 },
    /// It may still be cancelled.
    Grace { until_ms: u64 },
    /// The journal is being told that it begins.
    Starting,
    /// The wake flags are being set.
    Arming { until_ms: u64 },
    /// Everybody is being told that the host goes down.
    Stopping { ticket: Ticket, until_ms: u64 },
    /// A driver is at work.
    Running { until_ms: u64 },
    /// The host was told to go down.
    Falling { until_ms: u64 },
}

impl Stage {
    pub(crate) fn deadline(&self) -> Option<u64> {
        match self {
            Self::Confirming { until_ms, .. }
            | Self::Grace { until_ms }
            | Self::Arming { until_ms }
            | Self::Stopping { until_ms, .. }
            | Self::Running { until_ms }
            | Self::Falling { until_ms } => Some(*until_ms),
            Self::Barring | Self::Accepting { .. } | Self::Starting => None,
        }
    }

    pub(crate) fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Confirming { ticket, .. } | Self::Stopping { ticket, .. } => Some(*ticket),
            Self::Barring
            | Self::Accepting { .. }
            | Self::Grace { .. }
            | Self::Starting
            | Self::Arming { .. }
            | Self::Running { .. }
            | Self::Falling { .. } => None,
        }
    }
}

impl Stage {
    /// Whether the order can no longer be given up.
    pub(crate) fn has_begun(&self) -> bool {
        match self {
            Self::Accepting { .. } | Self::Confirming { .. } | Self::Grace { .. } => false,
            Self::Barring
            | Self::Starting
            | Self::Arming { .. }
            | Self::Stopping { .. }
            | Self::Running { .. }
            | Self::Falling { .. } => true,
        }
    }

    /// Whether a driver has been told: from then on an effect is possible.
    pub(crate) fn is_handed_over(&self) -> bool {
        match self {
            Self::Running { .. } | Self::Falling { .. } => true,
            Self::Barring
            | Self::Accepting { .. }
            | Self::Confirming { .. }
            | Self::Grace { .. }
            | Self::Starting
            | Self::Arming { .. }
            | Self::Stopping { .. } => false,
        }
    }

    /// Whether everybody has been told that the order is being carried out.
    pub(crate) fn is_taking_down(&self) -> bool {
        match self {
            Self::Stopping { .. } | Self::Running { .. } | Self::Falling { .. } => true,
            Self::Barring
            | Self::Accepting { .. }
            | Self::Confirming { .. }
            | Self::Grace { .. }
            | Self::Starting
            | Self::Arming { .. } => false,
        }
    }
}

/// What may happen to a task.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Journaled { written: bool },
    Delivered { reached: bool },
    Armed(Option<HostOutcome>),
    Ended(Result<Option<Outcome>, DriverFault>),
    Cancelled,
    LinkLost,
    Suspended,
    Terminating,
    TimeUp,
}

/// An end of a command.
pub(crate) struct End {
    pub(crate) state: ResultState,
    pub(crate) code: Option<Code>,
    pub(crate) msg: Text<256>,
    pub(crate) out: Option<Outcome>,
}

impl End {
    pub(crate) fn new(state: ResultState, code: Code, msg: &str) -> Self {
        Self {
            state,
            code: Some(code),
            msg: Text::shortened(msg),
            out: None,
        }
    }

    pub(crate) fn aborted(code: Code, msg: &str) -> Self {
        Self::new(ResultState::Aborted, code, msg)
    }

    pub(crate) fn of_driver(result: Result<Option<Outcome>, DriverFault>) -> Self {
        match result {
            Ok(out) => Self {
                state: ResultState::Done,
                code: None,
                msg: Text::default(),
                out,
            },
            Err(fault) => Self {
                state: ResultState::Failed,
                code: Some(fault.code),
                msg: fault.msg,
                out: None,
            },
        }
    }

    pub(crate) fn done() -> Self {
        Self::of_driver(Ok(None))
    }

    pub(crate) fn no_ack_path() -> Self {
        Self::aborted(Code::NoAckPath, "nobody confirmed the acceptance in time")
    }
}
