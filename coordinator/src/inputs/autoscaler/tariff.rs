//! What electricity costs in a span of time: a draw times a tariff that changes over the day.
//! In: what a group declares, a [`Span`]. Out: money, in the currency of the tariff.
//! Holds: pure and exact until the last division; the clock on the wall decides, so an hour that a zone skips costs nothing and
//! one that it repeats counts twice.

use chrono::{DateTime, Utc};
use coordinator_core::{Energy, PriceWindow};
use jiff::tz::TimeZone;
use prost_types::Timestamp;

const MINUTE_MS: i64 = 60_000;
/// The autoscaler asks for an hour. A week holds every kind of day, and walking through it costs less than a millisecond.
const MAX_DAYS: i64 = 7;
/// A price is summed up in watts × milliseconds × millionths for a kilowatt-hour: thousand watts, milliseconds of an hour, millionths.
const UNITS_IN_ONE: f64 = 1_000.0 * 3_600_000.0 * 1_000_000.0;

/// A span of time; it may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    from_ms: i64,
    to_ms: i64,
}

/// Why there is no such span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoSpan {
    #[error("begin and end of the priced time are needed")]
    Open,
    #[error("the priced time begins or ends at no time of the calendar")]
    NoTime,
    #[error("the priced time ends before it begins")]
    Backwards,
    #[error("the priced time is longer than {MAX_DAYS} days")]
    TooLong,
}

impl Span {
    /// From one moment to another.
    pub(super) fn of(ends: Option<(Timestamp, Timestamp)>) -> Result<Self, NoSpan> {
        let (from, to) = ends.ok_or(NoSpan::Open)?;
        let span = Self {
            from_ms: unix_ms(from).ok_or(NoSpan::NoTime)?,
            to_ms: unix_ms(to).ok_or(NoSpan::NoTime)?,
        };
        match span.to_ms - span.from_ms {
            ..0 => Err(NoSpan::Backwards),
            length if length > MAX_DAYS * 24 * 60 * MINUTE_MS => Err(NoSpan::TooLong),
            _ => Ok(span),
        }
    }
}

/// Milliseconds of a moment that the calendar knows; what is finer is cut off.
fn unix_ms(time: Timestamp) -> Option<i64> {
    let nanos = u32::try_from(time.nanos).ok()?;
    let moment = DateTime::<Utc>::from_timestamp(time.seconds, nanos)?;
    Some(moment.timestamp_millis())
}

/// What one machine costs in this time.
pub(super) fn price(energy: &Energy, span: Span) -> f64 {
    // A zone that does not exist is not taken over from the declaration.
    let zone = TimeZone::get(&energy.time_zone).unwrap_or(TimeZone::UTC);
    let mut sum = 0_u128;
    let mut at_ms = span.from_ms;
    while at_ms < span.to_ms {
        let until_ms = if energy.windows.is_empty() {
            span.to_ms
        } else {
            span.to_ms.min(next_minute(at_ms))
        };
        let price = u128::from(micros_per_kwh(energy, &zone, at_ms));
        sum += price * u128::from(until_ms.abs_diff(at_ms));
        at_ms = until_ms;
    }
    (sum * u128::from(energy.watts)) as f64 / UNITS_IN_ONE
}

/// Windows begin and end, and zones change their clocks, at whole minutes.
fn next_minute(at_ms: i64) -> i64 {
    (at_ms.div_euclid(MINUTE_MS) + 1) * MINUTE_MS
}

fn micros_per_kwh(energy: &Energy, zone: &TimeZone, at_ms: i64) -> u64 {
    let Ok(moment) = jiff::Timestamp::from_millisecond(at_ms) else {
        return energy.per_kwh_micros;
    };
    let clock = zone.to_datetime(moment);
    let today = usize::from(clock.weekday().to_monday_zero_offset().unsigned_abs());
    let minute =
        u32::from(clock.hour().unsigned_abs()) * 60 + u32::from(clock.minute().unsigned_abs());
    let mut windows = energy.windows.iter();
    windows
        .find(|window| holds(window, today, minute))
        .map_or(energy.per_kwh_micros, |window| window.per_kwh_micros)
}

/// Whether a window holds at this minute of this day, counted from Monday.
fn holds(window: &PriceWindow, today: usize, minute: u32) -> bool {
    let (from, to) = (u32::from(window.from_minute), u32::from(window.to_minute));
    let begins = |day: usize| window.days[day % 7];
    if from < to {
        return begins(today) && (from..to).contains(&minute);
    }
    (begins(today) && minute >= from) || (begins(today + 6) && minute < to)
}

#[cfg(test)]
mod tests;
