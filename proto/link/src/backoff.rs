//! Waiting times between connection attempts.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A connection that lived this long was a good one: the next fault starts again with the shortest wait. A shorter
/// life may be a fight of two clients with one id, which must slow down.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Shortest and longest wait between attempts; each wait is twice the one before, within 25 % of chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// First wait.
    pub min: Duration,
    /// Longest wait.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_secs(30),
        }
    }
}

/// Where a link stands in its row of waits.
#[derive(Debug)]
pub(crate) struct Waits {
    limits: Backoff,
    next: Duration,
}

impl Waits {
    pub(crate) fn new(limits: Backoff) -> Self {
        Self {
            limits,
            next: limits.min,
        }
    }

    /// The wait after a connection that was online for `online` (zero if it never was); `chance` is any number.
    pub(crate) fn after(&mut self, online: Duration, chance: u64) -> Duration {
        if online >= STABLE_AFTER {
            self.next = self.limits.min;
        }
        let base = self.next;
        self.next = (base * 2).min(self.limits.max);
        let percent = u32::try_from(75 + chance % 51).unwrap_or(100);
        base * percent / 100
    }
}

/// A number that differs from call to call and from process to process; not secret.
pub(crate) fn chance() -> u64 {
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_only_after_a_stable_minute() {
        let mut waits = Waits::new(Backoff::default());
        let mut wait = |online_s| waits.after(Duration::from_secs(online_s), 25).as_secs();
        assert_eq!([(); 7].map(|()| wait(0)), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(wait(59), 30);
        assert_eq!(wait(60), 1);
        assert_eq!(wait(1), 2);
    }

    #[test]
    fn two_clients_of_one_id_throw_each_other_out_less_than_ten_times_a_minute() {
        // As fast as chance allows, with connections that end at once.
        let mut waits = Waits::new(Backoff::default());
        let mut at = Duration::ZERO;
        let mut connections = 0;
        while at < Duration::from_secs(60) {
            connections += 1;
            at += waits.after(Duration::ZERO, 0);
        }
        assert!(connections < 10, "{connections}");
    }

    #[test]
    fn chance_moves_a_wait_by_a_quarter_at_most() {
        for chance in 0..200 {
            let wait = Waits::new(Backoff::default()).after(Duration::ZERO, chance);
            assert!(
                (750..=1250).contains(&wait.as_millis()),
                "{chance}: {wait:?}"
            );
        }
    }
}
