//! The two clocks of [`Now`]: the boot clock, which runs on while the host is suspended, and the wall clock.
//! Holds: this is the only place that reads a clock for decisions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use coordinator_core::Now;
use rustix::time::{ClockId, clock_gettime};

/// Both clocks, now.
#[must_use]
pub fn now() -> Now {
    Now {
        boot_ms: boot_ms(),
        wall_ms: wall_ms(),
    }
}

/// Milliseconds since the host booted, suspend included.
#[must_use]
pub fn boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000)
        .saturating_add(nanos / 1_000_000)
}

/// How long until a moment on the boot clock; zero if it has passed.
#[must_use]
pub fn until(boot_deadline_ms: u64) -> Duration {
    Duration::from_millis(boot_deadline_ms.saturating_sub(boot_ms()))
}

fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // A clock before 1970 has no battery; it is only shown to people.
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_never_runs_backwards_and_past_moments_need_no_wait() {
        let first = boot_ms();
        assert!(boot_ms() >= first);
        assert_eq!(until(0), Duration::ZERO);
        assert!(until(first + 3_600_000) > Duration::from_secs(3_000));
    }
}
