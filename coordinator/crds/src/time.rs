//! Points in time as status fields carry them: RFC 3339 text in UTC, whole seconds.
//!
//! In: milliseconds of the wall clock. Out: [`Time`], and back.
//! Not here: deadlines. They run on the boot clock and are never written into an object.

use k8s_openapi::jiff::Timestamp;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The point `wall_ms` milliseconds after 1970-01-01T00:00:00Z; a value no calendar knows (beyond the year 9999) becomes the nearest one that it knows.
#[must_use]
pub fn from_unix_ms(wall_ms: i64) -> Time {
    let nearest = if wall_ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Time(Timestamp::from_millisecond(wall_ms).unwrap_or(nearest))
}

/// Milliseconds from 1970-01-01T00:00:00Z to `time`.
#[must_use]
pub fn unix_ms(time: &Time) -> i64 {
    time.0.as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_survives_the_way_through_json_to_the_second() {
        let text = serde_json::to_string(&from_unix_ms(1_700_000_000_123)).unwrap();
        assert_eq!(text, r#""2023-11-14T22:13:20Z""#);
        let back: Time = serde_json::from_str(&text).unwrap();
        assert_eq!(unix_ms(&back), 1_700_000_000_000);
    }

    #[test]
    fn impossible_clock_values_are_clamped() {
        assert!(unix_ms(&from_unix_ms(i64::MAX)) > 0);
        assert!(unix_ms(&from_unix_ms(i64::MIN)) < 0);
    }
}
