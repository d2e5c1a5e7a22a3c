//! Whether the model trusts what it sees enough to do anything.
//! Holds: a few unready Nodes are always tolerated, and any number below a share of all.

use super::State;
use crate::ca_model::Options;

impl State {
    /// Whether so few Nodes are unready, in a group or not, that the model does anything at all.
    pub(in crate::ca_model) fn cluster_is_healthy(&self, options: &Options) -> bool {
        within(self.total.unready, self.total.registered, options)
    }

    /// Whether a group has about as many ready Nodes as it should.
    pub(in crate::ca_model) fn group_is_healthy(&self, group: &str, options: &Options) -> bool {
        let Some(target) = self.targets.get(group) else {
            return false;
        };
        let pending = self.pending(group);
        let Some(counts) = self.counts.get(group) else {
            // Nothing is there, so all of it must be on its way.
            return *target == 0 || *target == pending;
        };
        let expected = target - counts.long_unregistered - pending;
        let missing = expected - counts.ready - counts.suspended;
        let not_started = i32::try_from(counts.not_started.len()).unwrap_or(i32::MAX);
        let all = counts.ready + counts.unready + not_started + counts.suspended;
        within(missing, all, options)
    }
}

/// At most the tolerated number, or at most the tolerated share.
fn within(bad: i32, all: i32, options: &Options) -> bool {
    let count = |number: i32| usize::try_from(number).unwrap_or(0);
    let (bad, all) = (count(bad), count(all));
    bad <= options.ok_unready || bad * 100 <= all * options.max_unready_percent
}
