//! Durations as people write them: `90s`, `10m`, `1h30m`.
//!
//! In: text. Out: [`Duration`], and the shortest text that gives it back.
//! Holds: the texts accepted here have the form that the CRDs ask for, which set closer bounds; all of them are Go durations. A
//! number has at most six digits, so that no sum overflows.
//! Use it on a field as `#[serde(with = "duration")]`, or `duration::optional` for an `Option`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Longest accepted text.
pub const MAX_LENGTH: usize = 16;
/// What is as long is refused: the shortest text of anything below has at most [`MAX_LENGTH`] characters.
const TOO_LONG: Duration = Duration::from_hours(10_000);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no duration: write whole numbers with units h, m, s or ms, like 10m, 90s or 1h30m"
)]
pub struct ParseDuration {
    text: String,
}

/// Reads `10m`, `90s`, `1h30m` or `500ms`.
///
/// # Errors
///
/// Text of any other form, longer than [`MAX_LENGTH`], or with a number of more than six digits; 10,000 hours and more.
pub fn parse(text: &str) -> Result<Duration, ParseDuration> {
    let refuse = || ParseDuration {
        text: text.chars().take(40).collect(),
    };
    if text.is_empty() || text.len() > MAX_LENGTH {
        return Err(refuse());
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=6).contains(&digits) {
            return Err(refuse());
        }
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let (unit, after) = split_unit(after).ok_or_else(refuse)?;
        total += Duration::from_millis(number * unit);
        rest = after;
    }
    if total >= TOO_LONG {
        return Err(refuse());
    }
    Ok(total)
}

/// Milliseconds of the unit that `text` starts with, and what follows it. `ms` is tried before `m`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    UNITS
        .iter()
        .find_map(|(unit, ms)| text.strip_prefix(unit).map(|after| (*ms, after)))
}

/// The shortest text for `duration`, cut to milliseconds: `1h30m`, `10m`, `1500ms` as `1s500ms`, `0s`.
#[must_use]
pub fn text(duration: Duration) -> String {
    let ms = duration.as_millis();
    let parts = [
        (ms / 3_600_000, "h"),
        (ms / 60_000 % 60, "m"),
        (ms / 1000 % 60, "s"),
        (ms % 1000, "ms"),
    ];
    let text: String = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// serde's way out.
///
/// # Errors
///
/// Only those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

/// serde's way in.
///
/// # Errors
///
/// [`ParseDuration`] in the deserializer's form.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// The same for fields that may be absent.
pub mod optional {
    use super::{Deserialize, Deserializer, Duration, Serializer, parse};
    use serde::de::Error as _;

    /// serde's way out.
    ///
    /// # Errors
    ///
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// serde's way in.
    ///
    /// # Errors
    ///
    /// [`super::ParseDuration`] in the deserializer's form.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| parse(&text))
            .transpose()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read_and_written_back() {
        for (written, ms, shortest) in [
            ("10m", 600_000, "10m"),
            ("60s", 60_000, "1m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90m", 5_400_000, "1h30m"),
            ("500ms", 500, "500ms"),
            ("0s", 0, "0s"),
            ("599999m59999ms", 35_999_999_999, "9999h59m59s999ms"),
        ] {
            let duration = parse(written).unwrap();
            assert_eq!(duration, Duration::from_millis(ms), "{written}");
            assert_eq!(text(duration), shortest);
            assert_eq!(parse(shortest), Ok(duration));
        }
    }

    #[test]
    fn other_texts_are_refused_with_an_example() {
        for bad in [
            "",
            "10",
            "m",
            "-5m",
            "1.5h",
            "10 m",
            "10d",
            "1234567s",
            "10M",
            "１０m",
            "1s1s1s1s1s1s1s1s1s",
            "10000h",
            "998077m99779ms",
        ] {
            let problem = parse(bad).unwrap_err().to_string();
            assert!(
                problem.contains("like 10m, 90s or 1h30m"),
                "{bad}: {problem}"
            );
        }
    }
}
