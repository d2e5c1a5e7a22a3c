//! The caller's deadline, from the header `grpc-timeout`.
//! Holds: a part of the time is kept in reserve, so that the answer reaches a caller that is still there.
//! Holds: no call lasts longer than [`LONGEST`], whatever its caller says: until it ends it keeps one of few places, also while its
//! body does not come or its wish cannot be stored.

use std::time::Duration;

use http::HeaderMap;

/// What the autoscaler waits when its configuration says nothing; used where a caller names no limit.
const DEFAULT_MS: u64 = 5_000;
/// Twelve times what the autoscaler waits by default, and more than any store needs that will still answer.
pub(super) const LONGEST: Duration = Duration::from_secs(60);
/// The reserve is this fraction of the caller's time…
const RESERVE_FRACTION: u64 = 8;
/// …but no more than this.
const RESERVE_MAX_MS: u64 = 400;

/// How long the caller waits from its call on.
pub(super) fn limit(headers: &HeaderMap) -> Duration {
    let told = headers
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(milliseconds);
    Duration::from_millis(told.unwrap_or(DEFAULT_MS)).min(LONGEST)
}

/// The last moment for a commit on the boot clock, for a call that arrived at `arrived_ms`.
pub(super) fn of(headers: &HeaderMap, arrived_ms: u64) -> u64 {
    let limit_ms = u64::try_from(limit(headers).as_millis()).unwrap_or(DEFAULT_MS);
    let reserve = (limit_ms / RESERVE_FRACTION).min(RESERVE_MAX_MS);
    arrived_ms.saturating_add(limit_ms - reserve)
}

/// At most eight digits and a unit, rounded down; `None` for any other text.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(number * 3_600_000),
        'M' => Some(number * 60_000),
        'S' => Some(number * 1_000),
        'm' => Some(number),
        'u' => Some(number / 1_000),
        'n' => Some(number / 1_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_the_header_is_read_and_other_texts_are_not() {
        for (text, ms) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("99999999H", Some(359_999_996_400_000)),
            ("5S", Some(5_000)),
            ("4999m", Some(4_999)),
            ("4999843u", Some(4_999)),
            ("99999999n", Some(99)),
            ("0n", Some(0)),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("+5S", None),
            ("123456789m", None),
            ("5é", None),
        ] {
            assert_eq!(milliseconds(text), ms, "{text}");
        }
    }

    #[test]
    fn a_reserve_is_kept_and_no_header_means_the_usual_limit() {
        let with = |timeout: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", timeout.parse().unwrap());
            of(&headers, 1_000)
        };
        assert_eq!(with("800m"), 1_700);
        assert_eq!(with("1M"), 60_600);
        assert_eq!(with("99999999H"), 60_600, "nobody waits for longer");
        assert_eq!(with("0m"), 1_000);
        assert_eq!(with("nonsense"), 5_600);
        assert_eq!(of(&HeaderMap::new(), 1_000), 5_600);
    }
}
