//! The whole ring in virtual time: the real coordinator core and a real agent core for each host, in a world that fails.
//!
//! In: a seed. Out: what was reached on the way, or the first promise that was broken, with what led to it.
//! Holds: no clock, no socket, no thread; the same seed gives the same history, step by step.
//! Holds: the world is judged by what its hosts did, never by what the coordinator says of itself.
//! Not here: the shells around both cores; `stage` and `cluster_stage` run those as processes.

use std::collections::BTreeMap;
use std::fmt;

mod agents;
mod broker;
mod cluster;
mod coordinators;
mod declared;
mod deeds;
mod dice;
mod effects;
mod hosts;
mod model;
mod store;
mod verdict;
mod world;

use world::World;

/// How long things go wrong, milliseconds.
const TROUBLE_MS: u64 = 400_000;
/// How long the world is then left in peace: a boot timeout, a quarantine, a second wake and a stop fit into it.
const PEACE_MS: u64 = 480_000;
/// At the end of the peace nothing is written for so long.
const REST_MS: u64 = 60_000;

/// How often each thing worth reaching was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u32>);

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// How often this was reached.
    #[must_use]
    pub fn of(&self, what: &str) -> u32 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds another history's.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:8} {what}")?;
        }
        Ok(())
    }
}

/// A history that kept every promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What was reached.
    pub tally: Tally,
    /// Every notable thing that happened, in order.
    pub trace: Vec<String>,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The seed that leads here again.
    pub seed: u64,
    /// What was broken.
    pub promise: String,
    /// What happened before, the latest last.
    pub trace: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "{}", self.promise)?;
        write!(f, "again: SEED={}", self.seed)
    }
}

/// Plays one history: trouble, then peace, then the verdict.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64) -> Result<History, Broken> {
    let mut world = World::new(seed);
    world.plan_deeds(TROUBLE_MS);
    world.run_for(TROUBLE_MS);
    world.make_peace();
    world.run_for(PEACE_MS - REST_MS);
    world.note_rest();
    world.run_for(REST_MS);
    world.judge_the_end();
    let (tally, trace, broken) = world.into_parts();
    match broken {
        None => Ok(History { tally, trace }),
        Some(promise) => Err(Broken {
            seed,
            promise,
            trace,
        }),
    }
}
