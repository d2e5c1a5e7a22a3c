//! Times as people read them.
//!
//! In: milliseconds since 1970, or their differences. Out: a few characters. Days and hours are UTC.

use coordinator_crds::time::from_unix_ms;

const DAY_MS: i64 = 86_400_000;

/// How long something has lasted. Two digits of precision are enough to see whether it lasts too long.
pub(crate) fn age(ms: i64) -> String {
    let seconds = (ms / 1000).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{minutes}m"),
        7_200..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// `14:02:11 UTC` within a day of `now_ms`, `2026-11-18 14:02 UTC` farther away.
pub(crate) fn moment(ms: i64, now_ms: i64) -> String {
    let near = now_ms.saturating_sub(ms).saturating_abs() < DAY_MS;
    let form = if near {
        "%H:%M:%S UTC"
    } else {
        "%Y-%m-%d %H:%M UTC"
    };
    from_unix_ms(ms).0.strftime(form).to_string()
}

/// `2026-11-18`.
pub(crate) fn day(ms: i64) -> String {
    from_unix_ms(ms).0.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        for (ms, shown) in [
            (-5_000, "0s"),
            (90_000, "90s"),
            (240_000, "4m"),
            (7_200_000, "2h"),
            (200_000_000, "2d"),
        ] {
            assert_eq!(age(ms), shown);
        }
    }

    #[test]
    fn moments_name_the_day_only_where_it_is_another_one() {
        // 2026-11-21T14:02:10Z
        let now_ms = 1_795_269_730_000;
        assert_eq!(moment(now_ms, now_ms), "14:02:10 UTC");
        assert_eq!(moment(now_ms + 60_000, now_ms), "14:03:10 UTC");
        assert_eq!(moment(now_ms - DAY_MS, now_ms), "2026-11-20 14:02 UTC");
        assert_eq!(day(now_ms), "2026-11-21");
        assert!(moment(i64::MIN, i64::MAX).ends_with(" UTC"));
    }
}
