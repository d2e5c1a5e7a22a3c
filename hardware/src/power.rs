//! What every driver offers: do one step, read one state.
//! Holds: a step names a target, never a toggle, so a repeated step is safe; `On` and `Off` are only ever read, and
//! whatever else a device says is `Transitioning` or `Unknown`.

use std::fmt;
use std::pin::Pin;
use std::time::Instant;

use crate::fault::Fault;

/// The future of a driver's answer; dropping it stops the waiting, not what was already sent.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Something that can change the power of one machine.
pub trait PowerSwitch: Send + Sync {
    /// Does one step now and does not wait for the machine to get there. A driver that can read the state reads it
    /// first and answers [`Applied::NoChange`] where nothing is to be done.
    fn apply(&self, step: Step) -> Answer<'_, Applied>;
}

/// Something that can tell the power of one machine.
pub trait Sensor: Send + Sync {
    /// Reads once, changes nothing.
    fn observe(&self) -> Answer<'_, Reading>;
}

/// What a machine is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Switch on.
    On,
    /// Ask the operating system to shut down and power off.
    ShutdownGraceful,
    /// Cut the power without asking the operating system.
    OffHard,
    /// Ask the operating system to restart.
    Reboot,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::ShutdownGraceful => "graceful shutdown",
            Self::OffHard => "hard off",
            Self::Reboot => "reboot",
        })
    }
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The machine is there already, or on its way; nothing was sent.
    NoChange,
    /// Something was sent and accepted. It proves nothing about the machine.
    Sent {
        /// One line for people: what went out, to where.
        detail: String,
    },
}

/// Power of a machine as a device tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Power {
    /// On.
    On,
    /// Off.
    Off,
    /// Between the two.
    Transitioning,
    /// Neither can be said; counts as neither.
    Unknown(String),
}

/// How a reading knows what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// A management controller said so.
    Asserted,
    /// A measurement, such as the power drawn.
    Measured,
    /// A conclusion, such as from silence.
    Inferred,
}

/// One look at a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What was seen.
    pub power: Power,
    /// How it is known.
    pub basis: Basis,
    /// When the answer arrived, on this process's monotonic clock.
    pub at: Instant,
}
