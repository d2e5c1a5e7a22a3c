//! A token bucket that stands before the signature check.
//! Holds: a flood costs one comparison a message: no parsing, no signature, no disk, no answer.

use crate::step::Now;

/// How many messages may come at once: one whole rack woken in one go.
const BURST: u64 = 32;
/// How many milliseconds earn one more message: ten a second, far more than a coordinator sends.
const EARN_MS: u64 = 100;

#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: u64,
    earned_ms: u64,
}

impl Bucket {
    pub(crate) fn full(now: Now) -> Self {
        Self {
            tokens: BURST,
            earned_ms: now.boot_ms,
        }
    }

    pub(crate) fn take(&mut self, now: Now) -> bool {
        let earned = now.boot_ms.saturating_sub(self.earned_ms) / EARN_MS;
        self.earned_ms += earned * EARN_MS;
        self.tokens = (self.tokens + earned).min(BURST);
        let allowed = self.tokens > 0;
        self.tokens -= u64::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_ms: u64) -> Now {
        Now {
            boot_ms,
            ..Now::default()
        }
    }

    #[test]
    fn a_burst_passes_and_then_ten_in_a_second() {
        let mut bucket = Bucket::full(at(0));
        assert_eq!((0..1000).filter(|_| bucket.take(at(0))).count(), 32);
        assert_eq!((0..1000).filter(|ms| bucket.take(at(*ms))).count(), 9);
        assert_eq!((0..1000).filter(|_| bucket.take(at(1_000_000))).count(), 32);
    }
}
