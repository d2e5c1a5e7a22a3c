//! The clocks that the core is told.

use std::path::Path;
use std::time::Duration;

use agent_core::Now;
use rustix::time::{ClockId, clock_gettime};

/// The clocks of the host that the agent speaks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// What the boot clock showed when that host was booted: 0 unless it shares a kernel with others.
    booted_ms: u64,
}

impl Clock {
    /// Reads from `uptime_file` (in the form of `/proc/uptime`) for how long the host has been up. A kernel of its own has
    /// its own boot clock, so a file that cannot be read changes nothing.
    pub(crate) fn of_host(uptime_file: &Path) -> Self {
        let text = std::fs::read_to_string(uptime_file).unwrap_or_default();
        let up_s = text
            .split_whitespace()
            .next()
            .and_then(|up| up.parse::<f64>().ok());
        let booted_ms = up_s.filter(|up| *up >= 0.0).map_or(0, |up| {
            let up_ms =
                u64::try_from(Duration::from_secs_f64(up.min(1e10)).as_millis()).unwrap_or(0);
            (read(ClockId::Boottime) / 1_000_000).saturating_sub(up_ms)
        });
        // `/proc/uptime` has hundredths of a second only: such a small difference is none.
        Self {
            booted_ms: if booted_ms < 1_000 { 0 } else { booted_ms },
        }
    }

    /// The time now on all clocks; `boot_ms` counts from the host's boot.
    pub(crate) fn now(self) -> Now {
        Now {
            boot_ms: (read(ClockId::Boottime) / 1_000_000).saturating_sub(self.booted_ms),
            awake_ms: (read(ClockId::Monotonic) / 1_000_000).saturating_sub(self.booted_ms),
            wall_s: read(ClockId::Realtime) / 1_000_000_000,
        }
    }
}

/// Nanoseconds; a clock before its epoch counts as zero.
fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanos).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_includes_the_awake_clock() {
        let clock = Clock::default();
        let awake_before = clock.now().awake_ms;
        let now = clock.now();
        assert!(now.boot_ms >= awake_before);
        assert!(now.wall_s > 1_700_000_000);
    }

    #[test]
    fn a_host_that_shares_a_kernel_counts_from_its_own_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("uptime");
        std::fs::write(&file, "0.00 0.00\n").expect("the file");
        assert!(Clock::of_host(&file).now().boot_ms < 60_000);
        let real = Clock::of_host(Path::new("/proc/uptime"));
        assert_eq!(real.booted_ms, 0);
        assert_eq!(Clock::of_host(Path::new("/nonexistent")).booted_ms, 0);
    }
}
