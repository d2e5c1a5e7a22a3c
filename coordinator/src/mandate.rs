//! Until when this process may act as the leader: shared by whoever takes leadership and by everything that writes or commands.
//!
//! In: renewals of the leadership. Out: yes or no, right now.
//! Holds: it ends by itself on the boot clock, also while nobody looks; once revoked it never comes back.
//! Not here: the Lease (`inputs::kubernetes`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::clock;

/// Until when this process may act as leader; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Mandate(Arc<State>);

#[derive(Debug, Default)]
struct State {
    until_boot_ms: AtomicU64,
    revoked: AtomicBool,
    told: Notify,
}

impl Mandate {
    /// One that does not end: nobody else can lead where there is no Lease to lose.
    #[must_use]
    pub fn standing() -> Self {
        let mandate = Self::default();
        mandate.extend(u64::MAX);
        mandate
    }

    /// Whether it may act now. Read right before every write and every command.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.left().is_zero()
    }

    /// For how long it may still act if it is not extended; zero once it may not.
    #[must_use]
    pub fn left(&self) -> Duration {
        if self.0.revoked.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        clock::until(self.0.until_boot_ms.load(Ordering::Acquire))
    }

    /// It may act until then, milliseconds on the boot clock.
    pub fn extend(&self, until_boot_ms: u64) {
        self.0.until_boot_ms.store(until_boot_ms, Ordering::Release);
    }

    /// It may not act any more, until it is extended again.
    pub(crate) fn end(&self) {
        self.extend(0);
    }

    /// Something shows that another process leads: it ends at once and for good.
    pub(crate) fn revoke(&self) {
        self.0.revoked.store(true, Ordering::Release);
        self.0.told.notify_one();
    }

    /// Returns once it was revoked. For one waiter.
    pub(crate) async fn revoked(&self) {
        while !self.0.revoked.load(Ordering::Acquire) {
            self.0.told.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_by_itself_and_a_standing_one_does_not() {
        let mandate = Mandate::default();
        assert!(!mandate.holds(), "nobody leads at first");
        mandate.extend(clock::boot_ms() + 60_000);
        assert!(mandate.holds());
        assert!(mandate.left() <= Duration::from_secs(60));
        mandate.extend(clock::boot_ms());
        assert!(!mandate.holds());
        assert!(Mandate::standing().holds());
    }

    #[tokio::test]
    async fn a_revoked_one_is_not_extended_by_a_renewal_under_way() {
        let mandate = Mandate::standing();
        mandate.clone().revoke();
        mandate.revoked().await;
        mandate.extend(u64::MAX);
        assert!(!mandate.holds());
    }
}
