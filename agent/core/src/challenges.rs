//! The challenges of the last heartbeats.
//! Holds: at most three, only in memory, aged on the boot clock; all are forgotten when the host was suspended.

use crate::step::{Now, Refusal};
use alloc::collections::VecDeque;
use proto_mqtt::Challenge;
use proto_mqtt::report::Code;

/// Enough for a command that was signed while the next heartbeat was on its way.
const KEPT: usize = 3;

/// No command lives longer, whatever its `ttl_ms`: the longest ttl and one late heartbeat.
const MAX_AGE_MS: u64 = 35_000;

/// A larger jump of boot clock against awake clock is a suspend; a smaller one is two clocks read one after the other.
const SUSPEND_MS: u64 = 20_000;

#[derive(Debug, Default)]
pub(crate) struct Challenges {
    kept: VecDeque<(Challenge, u64)>,
    slept_ms: Option<u64>,
}

impl Challenges {
    /// Notes the clocks; true if the host was suspended since the last time.
    pub(crate) fn watch(&mut self, now: Now) -> bool {
        let slept_ms = now.boot_ms.saturating_sub(now.awake_ms);
        let suspended = self
            .slept_ms
            .is_some_and(|before| slept_ms > before + SUSPEND_MS);
        self.slept_ms = Some(slept_ms);
        if suspended {
            self.kept.clear();
        }
        suspended
    }

    pub(crate) fn add(&mut self, challenge: Challenge, now: Now) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((challenge, now.boot_ms));
    }

    pub(crate) fn check(&self, challenge: Challenge, ttl_ms: u32, now: Now) -> Result<(), Refusal> {
        let Some((_, made_ms)) = self.kept.iter().find(|(known, _)| *known == challenge) else {
            return Err(Refusal::new(
                Code::StaleChal,
                "the challenge is not in one of the last three heartbeats",
            ));
        };
        if now.boot_ms.saturating_sub(*made_ms) > u64::from(ttl_ms).min(MAX_AGE_MS) {
            return Err(Refusal::new(
                Code::Expired,
                "the challenge is older than the command allows",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_ms: u64) -> Now {
        Now {
            boot_ms,
            awake_ms: boot_ms,
            wall_s: 0,
        }
    }

    fn challenge(byte: u8) -> Challenge {
        Challenge([byte; 16])
    }

    #[test]
    fn only_the_last_three_are_known() {
        let mut challenges = Challenges::default();
        for byte in 0..4 {
            challenges.add(challenge(byte), at(0));
        }
        let code = |byte| {
            challenges
                .check(challenge(byte), 30_000, at(1))
                .map_err(|refusal| refusal.code)
        };
        assert_eq!(code(0), Err(Code::StaleChal));
        assert_eq!([code(1), code(2), code(3)], [Ok(()), Ok(()), Ok(())]);
    }

    #[test]
    fn age_is_bound_by_the_command_and_by_35_seconds() {
        let mut challenges = Challenges::default();
        challenges.add(challenge(1), at(1000));
        let code = |ttl, now| {
            challenges
                .check(challenge(1), ttl, at(now))
                .map_err(|refusal| refusal.code)
        };
        assert_eq!(code(5000, 6000), Ok(()));
        assert_eq!(code(5000, 6001), Err(Code::Expired));
        assert_eq!(code(u32::MAX, 36_000), Ok(()));
        assert_eq!(code(u32::MAX, 36_001), Err(Code::Expired));
    }

    #[test]
    fn a_suspend_forgets_them_all() {
        let mut challenges = Challenges::default();
        assert!(!challenges.watch(Now {
            boot_ms: 500_000,
            awake_ms: 100_000,
            wall_s: 0
        }));
        challenges.add(challenge(1), at(500_000));
        assert!(!challenges.watch(Now {
            boot_ms: 520_000,
            awake_ms: 100_000,
            wall_s: 0
        }));
        assert!(challenges.check(challenge(1), 30_000, at(520_000)).is_ok());
        assert!(challenges.watch(Now {
            boot_ms: 541_000,
            awake_ms: 100_999,
            wall_s: 0
        }));
        assert!(challenges.check(challenge(1), 30_000, at(500_000)).is_err());
    }
}
