//! Pods that would be lost with their Node, and what became of asking them to leave.
//!
//! In: one list of a Node's pods, and the answers to evictions. Out: names for people.
//! Not here: what follows from them (`stopping`), and which pods belong to their Node (the shell).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::machine::list;

/// One pod: its name may go to another one, its uid does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod that stands in the way of a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSeen {
    /// Which.
    pub pod: PodRef,
    /// What becomes of it if it is evicted.
    pub standing: PodStanding,
}

/// What becomes of a pod that is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodStanding {
    /// Its controller brings it back on another Node.
    Controlled,
    /// It has no controller: nobody brings it back.
    Bare,
    /// Somebody has marked it as one that must not be evicted.
    NotSafe,
    /// It is being deleted already.
    Ending,
}

/// What became of asking one pod to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Which pod.
    pub pod: PodRef,
    /// What became of it.
    pub outcome: EvictionOutcome,
}

/// What became of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvictionOutcome {
    /// It leaves.
    Accepted,
    /// It is gone, or another pod goes by its name: there is nothing to evict.
    Gone,
    /// A disruption budget does not spare it now.
    Withheld {
        /// What the API server says about the budget, which it names.
        budget: String,
        /// Not to be asked for again before this has passed, milliseconds; `None` where it does not say.
        retry_after_ms: Option<u64>,
    },
    /// The coordinator may not evict it, or nobody may; in the API server's words.
    Forbidden(String),
    /// As things are declared it cannot be evicted: several budgets match it, say; in the API server's words.
    Misconfigured(String),
    /// Nobody knows whether it leaves: no answer, or the API server is busy.
    Unanswered {
        /// Why.
        fault: String,
        /// As above.
        retry_after_ms: Option<u64>,
    },
}

/// The names of pods, for a sentence.
pub(crate) fn names<'a>(pods: impl IntoIterator<Item = &'a PodSeen>) -> String {
    let names: Vec<String> = pods.into_iter().map(|seen| seen.pod.to_string()).collect();
    list(&names)
}
