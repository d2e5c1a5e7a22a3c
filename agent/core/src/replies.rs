//! What was answered to which command.
//! Holds: the last answer to each of the last 64 commands that came in time. The refusal of one that came too late is not
//! kept, so that it may be signed again with a fresh challenge.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use proto_mqtt::report::{MAX_LAST_RESULTS, ResultBody, ResultState};
use proto_mqtt::{AgentId, CommandBody, Ulid, Verb};

const KEPT: usize = 64;

/// What makes two commands with one id the same command; the challenge differs when it is signed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) verb: Verb,
    pub(crate) target: AgentId,
    pub(crate) token: proto_mqtt::Token,
}

impl From<&CommandBody> for Identity {
    fn from(body: &CommandBody) -> Self {
        Self {
            verb: body.order.verb(),
            target: body.target.clone(),
            token: body.token,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Replies(VecDeque<(Identity, ResultBody)>);

impl Replies {
    pub(crate) fn find(&self, id: Ulid) -> Option<(&Identity, &ResultBody)> {
        self.0
            .iter()
            .find(|(_, result)| result.id == id)
            .map(|(identity, result)| (identity, result))
    }

    /// Keeps the newest answer to a command; it moves to the end.
    pub(crate) fn record(&mut self, identity: Identity, result: ResultBody) {
        self.0.retain(|(_, kept)| kept.id != result.id);
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((identity, result));
    }

    /// The newest ends, oldest first. An order that takes this host down has none before the next boot, so that it runs counts.
    pub(crate) fn last(&self) -> Vec<ResultBody> {
        let told = |(identity, result): &&(Identity, ResultBody)| {
            let goes_down = matches!(identity.verb, Verb::PowerOff | Verb::PowerReboot);
            result.state.is_final() || (goes_down && result.state == ResultState::Running)
        };
        let ends = self.0.iter().filter(told).map(|(_, result)| result);
        let mut last: Vec<ResultBody> = ends.rev().take(MAX_LAST_RESULTS).cloned().collect();
        last.reverse();
        last
    }
}
