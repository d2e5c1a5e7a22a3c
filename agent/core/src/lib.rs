//! What an agent does with a command, as a machine without clock, disk, network or randomness.
//! In: [`Input`] (messages, confirmations, outcomes) with the time. Out: [`Step`]s for the shell to carry out in order.
//! Holds: nothing destructive happens without a fresh challenge, a rising token, a written journal and a confirmed
//! acceptance; no id is carried out twice; every refusal has a code.
//! Not here: the MQTT link, files, drivers (all in the crate agent).
#![no_std]

extern crate alloc;

mod admission;
mod agent;
mod barrier;
mod challenges;
mod config;
mod flow;
mod journal;
mod marks;
mod presence;
mod rate;
mod replies;
mod step;
mod task;

pub use agent::Agent;
pub use config::Config;
pub use journal::{Ending, Entry, Journal, MAX_ENTRIES, Progress, Stored};
pub use marks::Mark;
pub use step::{DriverFault, Input, Job, Now, Refusal, Report, Step, Ticket};

#[cfg(test)]
mod tests;
