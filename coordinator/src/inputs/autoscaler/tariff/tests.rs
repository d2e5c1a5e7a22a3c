use super::*;

/// A window on these days, counted from Monday; no days are all of them.
fn window(
    days: &[usize],
    (from_minute, to_minute): (u16, u16),
    per_kwh_micros: u64,
) -> PriceWindow {
    let holds = |day: usize| days.is_empty() || days.contains(&day);
    PriceWindow {
        days: [0, 1, 2, 3, 4, 5, 6].map(holds),
        from_minute,
        to_minute,
        per_kwh_micros,
    }
}

/// A machine of 1,000 W, so that an hour at 0.30 costs 0.30.
fn kilowatt(time_zone: &str, windows: Vec<PriceWindow>) -> Energy {
    Energy {
        watts: 1_000,
        per_kwh_micros: 300_000,
        time_zone: time_zone.into(),
        windows,
    }
}

/// 22:00 to 06:00.
const NIGHT: (u16, u16) = (22 * 60, 6 * 60);
/// 02:00 to 03:00, the hour that clocks skip and repeat.
const THIRD_HOUR: (u16, u16) = (2 * 60, 3 * 60);
const WHOLE_DAY: (u16, u16) = (0, 24 * 60);
const FRIDAY: usize = 4;
const SATURDAY: usize = 5;
const SUNDAY: usize = 6;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn moment(text: &str) -> Timestamp {
    let moment = DateTime::parse_from_rfc3339(&format!("{text}Z")).unwrap();
    Timestamp {
        seconds: moment.timestamp(),
        nanos: 0,
    }
}

/// So many seconds from a moment in UTC.
fn span(from: &str, seconds: i64) -> Span {
    let from = moment(from);
    let to = Timestamp {
        seconds: from.seconds + seconds,
        ..from
    };
    Span::of(Some((from, to))).unwrap()
}

#[track_caller]
fn costs(energy: &Energy, cases: &[(&str, &str, i64, f64)]) {
    for (what, from, seconds, expected) in cases {
        let found = price(energy, span(from, *seconds));
        assert!(
            (found - expected).abs() < 1e-9,
            "{what}: {found}, not {expected}"
        );
    }
}

#[test]
fn one_price_all_day_needs_no_clock() {
    let energy = kilowatt("UTC", Vec::new());
    costs(
        &energy,
        &[
            ("an hour", "2026-01-15T12:00:00", HOUR, 0.3),
            ("a week", "2026-01-15T12:00:00", 7 * DAY, 50.4),
            ("a second", "2026-01-15T12:00:00", 1, 0.3 / 3_600.0),
            ("no time", "2026-01-15T12:00:00", 0, 0.0),
        ],
    );
    let noon = moment("2026-01-15T12:00:00");
    let after = Timestamp {
        nanos: 1_999_999,
        ..noon
    };
    let millisecond = Span::of(Some((noon, after))).unwrap();
    assert!((price(&energy, millisecond) - 0.3 / 3_600_000.0).abs() < 1e-15);
}

#[test]
fn a_night_begins_before_midnight_and_ends_behind_it() {
    costs(
        &kilowatt("Europe/Berlin", vec![window(&[], NIGHT, 200_000)]),
        &[
            ("an hour before", "2026-01-15T20:00:00", HOUR, 0.3),
            ("over its begin", "2026-01-15T20:30:00", HOUR, 0.25),
            ("its first hour", "2026-01-15T21:00:00", HOUR, 0.2),
            ("over midnight", "2026-01-15T22:30:00", HOUR, 0.2),
            ("over its end", "2026-01-16T04:30:00", HOUR, 0.25),
            ("a day", "2026-01-15T00:00:00", DAY, 6.4),
            ("a minute", "2026-01-15T20:59:30", 60, 15.0 / 3_600.0),
            ("in summer", "2026-07-15T20:00:00", HOUR, 0.2),
            (
                "over its begin in summer",
                "2026-07-15T19:30:00",
                HOUR,
                0.25,
            ),
        ],
    );
}

#[test]
fn the_clock_on_the_wall_decides_when_it_is_put_forward_or_back() {
    // From midnight to midnight in Berlin: a day of 23 hours, and one of 25.
    let (spring, autumn) = ("2026-03-28T23:00:00", "2026-10-24T22:00:00");
    costs(
        &kilowatt("Europe/Berlin", vec![window(&[], NIGHT, 200_000)]),
        &[
            (
                "7 hours of night",
                spring,
                23 * HOUR,
                7.0 * 0.2 + 16.0 * 0.3,
            ),
            (
                "9 hours of night",
                autumn,
                25 * HOUR,
                9.0 * 0.2 + 16.0 * 0.3,
            ),
        ],
    );
    let third = window(&[], THIRD_HOUR, 1_000_000);
    costs(
        &kilowatt("Europe/Berlin", vec![third]),
        &[
            ("skipped", spring, 23 * HOUR, 23.0 * 0.3),
            ("twice", autumn, 25 * HOUR, 2.0 + 23.0 * 0.3),
            ("first of both", "2026-10-25T00:00:00", HOUR, 1.0),
            ("second of both", "2026-10-25T01:00:00", HOUR, 1.0),
        ],
    );
}

#[test]
fn zones_may_be_off_by_parts_of_an_hour() {
    costs(
        &kilowatt("Asia/Kathmandu", vec![window(&[], NIGHT, 200_000)]),
        &[("over 22:00", "2026-01-15T16:00:00", HOUR / 2, 0.125)],
    );
}

#[test]
fn a_window_belongs_to_the_day_on_which_it_begins() {
    let on = |days: &[usize], times| kilowatt("Europe/Berlin", vec![window(days, times, 100_000)]);
    let week = 120.0 * 0.3 + 48.0 * 0.1;
    costs(
        &on(&[SATURDAY, SUNDAY], WHOLE_DAY),
        &[
            ("into Saturday", "2026-01-16T22:00:00", 2 * HOUR, 0.4),
            ("into Sunday", "2026-01-17T22:00:00", 2 * HOUR, 0.2),
            ("into Monday", "2026-01-18T22:00:00", 2 * HOUR, 0.4),
            ("a week", "2026-01-14T00:00:00", 7 * DAY, week),
        ],
    );
    costs(
        &on(&[FRIDAY], NIGHT),
        &[
            ("on Friday morning", "2026-01-16T03:00:00", HOUR, 0.3),
            ("on Friday night", "2026-01-16T21:00:00", HOUR, 0.1),
            ("on Saturday morning", "2026-01-17T03:00:00", HOUR, 0.1),
            ("on Saturday night", "2026-01-17T21:00:00", HOUR, 0.3),
        ],
    );
    costs(
        &on(&[SUNDAY], NIGHT),
        &[
            ("on Sunday morning", "2026-01-18T03:00:00", HOUR, 0.3),
            ("on Monday morning", "2026-01-19T03:00:00", HOUR, 0.1),
        ],
    );
}

#[test]
fn of_several_windows_the_first_counts_and_a_price_may_be_zero() {
    let windows = vec![
        window(&[SATURDAY], WHOLE_DAY, 0),
        window(&[], NIGHT, 100_000),
        window(&[], WHOLE_DAY, 900_000),
        window(&[], (12 * 60, 13 * 60), 1_000_000),
    ];
    costs(
        &kilowatt("UTC", windows),
        &[
            ("free", "2026-01-17T12:00:00", HOUR, 0.0),
            ("out of what is free", "2026-01-17T23:30:00", HOUR, 0.05),
            ("never the last", "2026-01-15T12:00:00", HOUR, 0.9),
        ],
    );
    costs(
        &kilowatt("UTC", vec![window(&[], (23 * 60, 0), 100_000)]),
        &[("until midnight", "2026-01-15T22:30:00", 2 * HOUR, 0.4)],
    );
}

#[test]
fn the_greatest_price_is_a_number() {
    let dearest = Energy {
        watts: 100_000,
        per_kwh_micros: 999_999_999_999,
        ..kilowatt("UTC", vec![window(&[], NIGHT, 999_999_999_999)])
    };
    let found = price(&dearest, span("2026-01-15T00:00:00", 7 * DAY));
    assert!(
        (found / (100.0 * 168.0 * 999_999.999_999) - 1.0).abs() < 1e-12,
        "{found}"
    );
    let boundless = Energy {
        watts: u32::MAX,
        per_kwh_micros: u64::MAX,
        ..kilowatt("UTC", Vec::new())
    };
    let found = price(&boundless, span("2026-01-15T00:00:00", 7 * DAY));
    assert!(found.is_finite() && found > 0.0, "{found}");
}

#[test]
fn times_long_gone_have_a_price_too() {
    let energy = kilowatt("Europe/Berlin", vec![window(&[], NIGHT, 300_000)]);
    for day in ["0001-01-01", "1893-04-01", "1969-12-31", "9999-12-30"] {
        let span = span(&format!("{day}T00:00:00"), HOUR);
        assert!((price(&energy, span) - 0.3).abs() < 1e-9, "{day}");
    }
}

#[test]
fn what_is_no_span_says_why() {
    let noon = || moment("2026-01-15T12:00:00");
    let stamp = |seconds, nanos| Timestamp { seconds, nanos };
    let later = |seconds| stamp(noon().seconds + seconds, 0);
    let week = 7 * DAY;
    for (ends, expected) in [
        (None, Err(NoSpan::Open)),
        (Some((noon(), later(-1))), Err(NoSpan::Backwards)),
        (Some((noon(), later(week + 1))), Err(NoSpan::TooLong)),
        (Some((stamp(i64::MIN, 0), noon())), Err(NoSpan::NoTime)),
        (Some((noon(), stamp(i64::MAX, 0))), Err(NoSpan::NoTime)),
        (Some((stamp(0, -1), noon())), Err(NoSpan::NoTime)),
        (Some((stamp(0, i32::MAX), noon())), Err(NoSpan::NoTime)),
        (Some((noon(), noon())), Ok(())),
        (Some((noon(), later(week))), Ok(())),
    ] {
        assert_eq!(Span::of(ends).map(drop), expected, "{ends:?}");
    }
}
