//! Signs of life that were expected: they change no decision, so deciding anew can wait for a moment.
//!
//! In: a fact, before it is taken in. Out: whether it is one of those.
//! Holds: only of machines that run and are heard, and of agents that nobody waits for; in doubt a fact is news.

use crate::facts::{Beat, Fact, NodeSeen};
use crate::lab::Lab;
use crate::machine::{Machine, Phase};

/// How long a decision may wait while only routine comes in, milliseconds. A thousand machines give two hundred signs of
/// life a second, and each decision looks at all machines. Whatever has a time of its own is looked at then.
const PATIENCE_MS: u64 = 5_000;
/// The same once a look at all machines has led to nothing, and with nothing but routine since the look before it.
const CALM_PATIENCE_MS: u64 = 30_000;

/// What the last decision came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// Something was done, or something may have changed before.
    ToSomething,
    /// Nothing had changed and nothing was done: the next one finds the same, until something has its time.
    ToNothing,
}

impl Came {
    /// How long the next decision may wait while only routine comes in, milliseconds.
    pub(crate) fn patience_ms(self) -> u64 {
        match self {
            Self::ToSomething => PATIENCE_MS,
            Self::ToNothing => CALM_PATIENCE_MS,
        }
    }
}

/// What has come in since the last decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// No fact.
    Nothing,
    /// Routine only.
    Routine,
    /// Something that may change a decision.
    News,
}

impl Since {
    /// With one more fact.
    pub(crate) fn and(self, routine: bool) -> Self {
        match (self, routine) {
            (Self::Nothing | Self::Routine, true) => Self::Routine,
            (Self::News, true) | (Self::Nothing | Self::Routine | Self::News, false) => Self::News,
        }
    }
}

pub(crate) fn is_routine(lab: &Lab, fact: &Fact, now_ms: u64) -> bool {
    if let Fact::Beat(beat) = fact {
        beat_is_routine(lab, beat, now_ms)
    } else if let Fact::LeaseRenewed { name } = fact {
        lease_is_routine(lab, name, now_ms)
    } else if let Fact::NodeSeen(seen) = fact {
        node_is_routine(lab, seen)
    } else {
        false
    }
}

fn beat_is_routine(lab: &Lab, beat: &Beat, now_ms: u64) -> bool {
    let expected = lab
        .agents
        .get(&beat.agent)
        .is_some_and(|agent| agent.expects(beat, now_ms, lab.policy.agent_silent_ms));
    let runs = |machine: &Machine| {
        matches!(machine.phase, Phase::Running)
            && machine.seen.off_ms.is_none_or(|off| {
                let agent = lab.agents.get(&beat.agent);
                agent.is_some_and(|agent| agent.beat_ms > off)
            })
    };
    expected && lab.machines_of_agent(&beat.agent).all(runs)
}

fn lease_is_routine(lab: &Lab, name: &str, now_ms: u64) -> bool {
    let silent_ms = lab.policy.lease_silent_ms;
    let was_live = |machine: &Machine| {
        machine.seen.lease_ms.is_some_and(|at| {
            now_ms < at.saturating_add(silent_ms) && machine.seen.off_ms.is_none_or(|off| at > off)
        })
    };
    lab.machines_of_node(name)
        .all(|machine| matches!(machine.phase, Phase::Running) && was_live(machine))
}

/// Kubelets write their Nodes anew every few minutes, mostly as they were: what is left of one then says nothing.
fn node_is_routine(lab: &Lab, seen: &NodeSeen) -> bool {
    lab.machines_of_node(&seen.name)
        .next()
        .is_some_and(|machine| {
            matches!(machine.phase, Phase::Running) && machine.seen.node.as_deref() == Some(seen)
        })
}
