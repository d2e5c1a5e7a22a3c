//! A log of RPCs: arguments, result, moment.
//! Out: [`Call`]s for assertions, counts, and the wishes in them for the recorder.
//! Holds: a call is written down when it is sent, so one that gets no answer is in the log as well.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tonic::Code;

use crate::recorder::{Ask, Wish, clock_ms};

/// An error of these kinds leaves open whether the provider has done it.
const UNDECIDED: [Code; 4] = [
    Code::DeadlineExceeded,
    Code::Unknown,
    Code::Cancelled,
    Code::Unavailable,
];

/// The RPCs of the service; the model asks for no prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named as in the service")]
pub enum Rpc {
    NodeGroups,
    NodeGroupForNode,
    GpuLabel,
    GetAvailableGpuTypes,
    Cleanup,
    Refresh,
    NodeGroupTargetSize,
    NodeGroupIncreaseSize,
    NodeGroupDeleteNodes,
    NodeGroupDecreaseTargetSize,
    NodeGroupNodes,
    NodeGroupTemplateNodeInfo,
    NodeGroupGetOptions,
    PricingNodePrice,
    PricingPodPrice,
}

impl Rpc {
    const ALL: [Self; 15] = [
        Self::NodeGroups,
        Self::NodeGroupForNode,
        Self::GpuLabel,
        Self::GetAvailableGpuTypes,
        Self::Cleanup,
        Self::Refresh,
        Self::NodeGroupTargetSize,
        Self::NodeGroupIncreaseSize,
        Self::NodeGroupDeleteNodes,
        Self::NodeGroupDecreaseTargetSize,
        Self::NodeGroupNodes,
        Self::NodeGroupTemplateNodeInfo,
        Self::NodeGroupGetOptions,
        Self::PricingNodePrice,
        Self::PricingPodPrice,
    ];

    /// The RPC with this name on the wire.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let named = |rpc: &Self| format!("{rpc:?}").eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(named)
    }

    /// Whether it changes the size of a group.
    #[must_use]
    pub const fn changes_size(self) -> bool {
        matches!(
            self,
            Self::NodeGroupIncreaseSize
                | Self::NodeGroupDeleteNodes
                | Self::NodeGroupDecreaseTargetSize
        )
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Without an answer so far: it is under way, or whoever sent it has given it up.
    Open,
    /// With this answer, as text.
    Ok(String),
    /// With this status.
    Failed(Code, String),
}

/// One RPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Boot clock in milliseconds, before it was sent.
    pub at_ms: u64,
    /// Which.
    pub rpc: Rpc,
    /// The group, where the request names one.
    pub group: String,
    /// The delta of a size change.
    pub delta: i32,
    /// Provider ids in the request.
    pub nodes: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Call {
    /// Whether it was answered without error.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok(_))
    }

    /// Whether nobody can tell if the provider has done it.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        match &self.outcome {
            Outcome::Open => true,
            Outcome::Ok(_) => false,
            Outcome::Failed(code, _) => UNDECIDED.contains(code),
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// The group, where the request names one.
    pub(crate) group: String,
    /// The delta of a size change.
    pub(crate) delta: i32,
    /// Provider ids in the request.
    pub(crate) nodes: Vec<String>,
}

/// The place of a call in its log; the call stays open if this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Sent {
    log: CallLog,
    index: usize,
}

impl Sent {
    /// Writes down how the call ended.
    pub(crate) fn answered(self, outcome: Outcome) {
        let mut calls = self.log.lock();
        let call = &mut calls[self.index];
        tracing::debug!(rpc = ?call.rpc, group = %call.group, delta = call.delta, ?outcome, "call");
        call.outcome = outcome;
    }
}

/// Calls in the order in which they were sent; clones share one log.
#[derive(Debug, Clone, Default)]
pub struct CallLog {
    calls: Arc<Mutex<Vec<Call>>>,
}

impl CallLog {
    /// Every call so far.
    #[must_use]
    pub fn all(&self) -> Vec<Call> {
        self.lock().clone()
    }

    /// The calls of one kind.
    #[must_use]
    pub fn of(&self, rpc: Rpc) -> Vec<Call> {
        let calls = self.lock();
        calls
            .iter()
            .filter(|call| call.rpc == rpc)
            .cloned()
            .collect()
    }

    /// How often each RPC was sent.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Rpc, usize> {
        let mut counts = BTreeMap::new();
        for call in self.lock().iter() {
            *counts.entry(call.rpc).or_default() += 1;
        }
        counts
    }

    /// The size changes that may have had an effect, as wishes for the recorder. `machine_of` tells the machine of a provider
    /// id, `members` the machines of a group.
    #[must_use]
    pub fn asks(
        &self,
        machine_of: impl Fn(&str) -> Option<String>,
        members: impl Fn(&str) -> Vec<String>,
    ) -> Vec<Ask> {
        let calls = self.lock();
        let changes = calls.iter().filter(|call| call.rpc.changes_size());
        let mut asks = Vec::new();
        for call in changes.filter(|call| call.is_ok() || call.is_undecided()) {
            if call.rpc == Rpc::NodeGroupDeleteNodes {
                let machines = call.nodes.iter().filter_map(|id| machine_of(id));
                asks.extend(machines.map(|name| Ask::one(call.at_ms, &name, Wish::Off)));
                continue;
            }
            let wish = if call.delta > 0 { Wish::On } else { Wish::Off };
            asks.push(Ask {
                at_ms: call.at_ms,
                machines: members(&call.group),
                count: usize::try_from(call.delta.unsigned_abs()).unwrap_or(usize::MAX),
                wish,
            });
        }
        asks
    }

    /// Writes down a call that is sent now.
    pub(crate) fn sent(&self, rpc: Rpc, about: About) -> Sent {
        let call = Call {
            at_ms: clock_ms(),
            rpc,
            group: about.group,
            delta: about.delta,
            nodes: about.nodes,
            outcome: Outcome::Open,
        };
        let index = {
            let mut calls = self.lock();
            calls.push(call);
            calls.len() - 1
        };
        let log = self.clone();
        Sent { log, index }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(rpc: Rpc, delta: i32, nodes: &[&str], outcome: Outcome) -> Call {
        Call {
            at_ms: 7,
            rpc,
            group: "g".into(),
            delta,
            nodes: nodes.iter().map(|&id| id.to_owned()).collect(),
            outcome,
        }
    }

    #[test]
    fn rpcs_are_known_by_their_names_on_the_wire() {
        assert_eq!(Rpc::of_name("GPULabel"), Some(Rpc::GpuLabel));
        assert_eq!(Rpc::of_name("NodeGroups"), Some(Rpc::NodeGroups));
        assert_eq!(Rpc::of_name("Nodes"), None);
    }

    #[test]
    fn size_changes_become_wishes_unless_they_were_refused() {
        let ok = || Outcome::Ok(String::new());
        let failed = |code| Outcome::Failed(code, String::new());
        let log = CallLog::default();
        let push = |call| log.lock().push(call);
        push(call(Rpc::Refresh, 0, &[], ok()));
        push(call(Rpc::NodeGroupIncreaseSize, 2, &[], ok()));
        push(call(
            Rpc::NodeGroupIncreaseSize,
            9,
            &[],
            failed(Code::FailedPrecondition),
        ));
        push(call(
            Rpc::NodeGroupIncreaseSize,
            1,
            &[],
            failed(Code::DeadlineExceeded),
        ));
        push(call(Rpc::NodeGroupDeleteNodes, 0, &["p/a", "p/x"], ok()));
        push(call(Rpc::NodeGroupDecreaseTargetSize, -1, &[], ok()));
        push(call(Rpc::NodeGroupIncreaseSize, 1, &[], Outcome::Open));
        let machine_of = |id: &str| (id == "p/a").then(|| "a".to_owned());
        let members = |_: &str| vec!["a".to_owned(), "b".to_owned()];
        let expected = [
            Ask::any(7, &["a", "b"], 2, Wish::On),
            Ask::any(7, &["a", "b"], 1, Wish::On),
            Ask::one(7, "a", Wish::Off),
            Ask::any(7, &["a", "b"], 1, Wish::Off),
            Ask::any(7, &["a", "b"], 1, Wish::On),
        ];
        assert_eq!(log.asks(machine_of, members), expected);
        assert_eq!(log.counts()[&Rpc::NodeGroupIncreaseSize], 4);
    }
}
