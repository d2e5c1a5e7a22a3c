//! How long a busy BMC asks us to wait.

use std::time::{Duration, SystemTime};

/// Where a BMC is busy and does not say for how long.
pub(super) const DEFAULT: Duration = Duration::from_secs(10);
/// Shorter waits would hammer it, longer ones would forget the machine.
const LIMITS_S: (u64, u64) = (1, 300);

/// Reads a Retry-After header: seconds, or a date seen from `now`.
pub(super) fn parse(header: Option<&str>, now: SystemTime) -> Duration {
    let Some(text) = header.map(str::trim) else {
        return DEFAULT;
    };
    let wait = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else if let Ok(date) = httpdate::parse_http_date(text) {
        date.duration_since(now).unwrap_or_default()
    } else {
        return DEFAULT;
    };
    Duration::from_secs(wait.as_secs().clamp(LIMITS_S.0, LIMITS_S.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_dates_and_nonsense_give_a_wait_within_limits() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        for (header, seconds) in [
            (None, 10),
            (Some("2"), 2),
            (Some(" 2 "), 2),
            (Some("0"), 1),
            (Some("99999"), 300),
            (Some("abc"), 10),
            (Some("-5"), 10),
            (Some("99999999999999999999999"), 10),
            (Some("Sun, 06 Nov 1994 08:50:07 GMT"), 30),
            (Some("Sun, 06 Nov 1994 08:49:07 GMT"), 1),
            (Some("Mon, 06 Nov 1995 08:49:37 GMT"), 300),
        ] {
            assert_eq!(
                parse(header, now),
                Duration::from_secs(seconds),
                "{header:?}"
            );
        }
    }
}
