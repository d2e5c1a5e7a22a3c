//! Why a driver could not do or read something, in kinds that a caller can act on.
//! Holds: the text never contains a credential; `Effect::Possible` wherever the device may have acted all the same.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// Why a driver failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct Fault {
    /// What a caller can do about it.
    pub kind: FaultKind,
    /// Whether the device may have acted.
    pub effect: Effect,
    /// How long the device asks us to wait.
    pub retry_after: Option<Duration>,
    /// One line for people: what failed, where, and what would be right.
    pub detail: String,
}

impl Fault {
    /// A fault without any effect on the machine.
    pub fn new(kind: FaultKind, detail: impl fmt::Display) -> Self {
        Self {
            kind,
            effect: Effect::None,
            retry_after: None,
            detail: detail.to_string(),
        }
    }

    /// The same fault, of an attempt that may have changed the machine.
    #[must_use]
    pub fn with_possible_effect(mut self) -> Self {
        self.effect = Effect::Possible;
        self
    }

    /// One stable word for conditions, events and metric labels.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }
}

/// Kinds of faults by what a caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A person must change the configuration.
    InvalidConfig,
    /// This device or driver cannot do it.
    NotSupported,
    /// The device refuses the credentials; trying again may lock the account.
    Auth,
    /// The device's certificate is not trusted.
    TlsTrust,
    /// The device is not the one that is meant.
    IdentityMismatch,
    /// A policy forbids it, here or on the device.
    Denied,
    /// No connection.
    Unreachable,
    /// The device is occupied; later it may work.
    Busy,
    /// A failure of the device that may pass.
    Transient,
    /// The device said something that makes no sense.
    Protocol,
    /// No answer in time.
    Timeout,
    /// The caller gave up.
    Cancelled,
}

impl FaultKind {
    /// One stable word for conditions, events and metric labels.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::InvalidConfig => "InvalidConfig",
            Self::NotSupported => "NotSupported",
            Self::Auth => "Auth",
            Self::TlsTrust => "TlsTrust",
            Self::IdentityMismatch => "IdentityMismatch",
            Self::Denied => "Denied",
            Self::Unreachable => "Unreachable",
            Self::Busy => "Busy",
            Self::Transient => "Transient",
            Self::Protocol => "Protocol",
            Self::Timeout => "Timeout",
            Self::Cancelled => "Cancelled",
        }
    }

    /// Whether trying again is useless until a person has changed something.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        match self {
            Self::InvalidConfig
            | Self::NotSupported
            | Self::Auth
            | Self::TlsTrust
            | Self::IdentityMismatch
            | Self::Denied => true,
            Self::Unreachable
            | Self::Busy
            | Self::Transient
            | Self::Protocol
            | Self::Timeout
            | Self::Cancelled => false,
        }
    }
}

/// Whether a failed attempt may have changed the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Certainly not.
    None,
    /// It may have: look before doing anything else.
    Possible,
}
