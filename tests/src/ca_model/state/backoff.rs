//! Groups that are left alone for a while after a failure.
//! Holds: each failure after the pause doubles the next one, up to a limit; one during the pause begins it again at the same length;
//! a quiet time makes all of it forgotten.

use std::{collections::BTreeMap, time::Duration};

use super::{State, millis, passed};
use crate::ca_model::Options;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Backoff {
    until_ms: u64,
    length: Duration,
    failed_ms: u64,
    reset: Duration,
}

/// Pauses by group.
#[derive(Debug, Default)]
pub(super) struct Backoffs(BTreeMap<String, Backoff>);

impl Backoffs {
    pub(super) fn forget_old(&mut self, now_ms: u64) {
        self.0
            .retain(|_, backoff| !passed(backoff.failed_ms, backoff.reset, now_ms));
    }
}

impl State {
    /// Leaves a group alone for a while.
    pub(in crate::ca_model) fn back_off(&mut self, group: &str, options: &Options, now_ms: u64) {
        let length = match self.backoffs.0.get(group) {
            Some(last) if last.until_ms < now_ms => (last.length * 2).min(options.backoff_max),
            Some(last) => last.length,
            None => options.backoff_initial,
        };
        let backoff = Backoff {
            until_ms: now_ms + millis(length),
            length,
            failed_ms: now_ms,
            reset: options.backoff_reset,
        };
        self.backoffs.0.insert(group.to_owned(), backoff);
    }

    /// Whether a group is being left alone.
    pub(in crate::ca_model) fn backs_off(&self, group: &str, now_ms: u64) -> bool {
        let backoff = self.backoffs.0.get(group);
        backoff.is_some_and(|backoff| now_ms <= backoff.until_ms)
    }
}
