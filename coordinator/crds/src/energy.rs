//! What a machine's electricity costs, as people write it: its draw, and a tariff that may change over the day.
//!
//! Holds: texts accepted here have exactly the form that the rules of the CRD ask for.
//! Not here: what a time costs (the coordinator's `tariff`), and whether a time zone exists (its `documents`).

#![allow(
    unreachable_pub,
    reason = "KubeSchema derives a public copy of each struct inside a function"
)]

use std::{borrow::Cow, fmt};

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::rules;

/// What running one machine costs; the autoscaler's price expander asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::WINDOWS_NEED_ZONE)]
pub struct Energy {
    /// What one machine of this group draws while it works, in watts.
    #[schemars(range(min = 1, max = 100_000))]
    pub watts: u32,
    /// Price of a kilowatt-hour outside all windows, as quoted text like "0.32", in one currency for all groups.
    #[serde(rename = "perKWh")]
    #[x_kube(validation = rules::PRICE)]
    pub per_kwh: PerKwh,
    /// Zone of the IANA database that the windows' times are read in, like Europe/Berlin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::TIME_ZONE)]
    pub time_zone: Option<String>,
    /// Times with a price of their own. Where several hold, the first of them counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 24))]
    pub windows: Vec<Window>,
}

/// A time of the day with a price of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::WINDOW_HAS_LENGTH)]
pub struct Window {
    /// Days on which it begins. Unset: every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 7))]
    #[x_kube(validation = rules::DAYS_ONCE)]
    pub days: Vec<Day>,
    /// When it begins, by the clock on the wall, like "22:00".
    #[x_kube(validation = rules::WINDOW_FROM)]
    pub from: TimeOfDay,
    /// When it ends, like "06:00"; "24:00" is the end of the day. Earlier than from: on the next day.
    #[x_kube(validation = rules::WINDOW_TO)]
    pub to: TimeOfDay,
    /// Price of a kilowatt-hour in it, as quoted text like "0.19".
    #[serde(rename = "perKWh")]
    #[x_kube(validation = rules::PRICE)]
    pub per_kwh: PerKwh,
}

/// A day of the week.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// Why a text is no price or no time of the day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {wanted}")]
pub struct ParseEnergy {
    text: String,
    wanted: &'static str,
}

impl ParseEnergy {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self {
            text: text.chars().take(40).collect(),
            wanted,
        }
    }
}

/// A price of a kilowatt-hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerKwh(u64);

/// Millionths in one.
const MICROS: u64 = 1_000_000;

impl PerKwh {
    /// Reads `0.32`: up to six digits, and up to six more behind a point.
    ///
    /// # Errors
    ///
    /// Any other form.
    pub fn parse(text: &str) -> Result<Self, ParseEnergy> {
        let refuse = || {
            ParseEnergy::new(
                text,
                "price: write a decimal number from 0 like \"0.32\", with up to six digits before and behind the point",
            )
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let micros = digits(whole, 6).zip(digits(fraction, 6)).and_then(|_| {
            let whole: u64 = whole.parse().ok()?;
            let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
            Some(whole * MICROS + fraction)
        });
        micros.map(Self).ok_or_else(refuse)
    }

    /// In millionths of the currency.
    #[must_use]
    pub fn micros(self) -> u64 {
        self.0
    }
}

impl fmt::Display for PerKwh {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / MICROS, format!("{:06}", self.0 % MICROS));
        match fraction.trim_end_matches('0') {
            "" => write!(out, "{whole}"),
            fraction => write!(out, "{whole}.{fraction}"),
        }
    }
}

/// A time of the day, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// Reads `06:30`, from `00:00` to `24:00`.
    ///
    /// # Errors
    ///
    /// Any other form.
    pub fn parse(text: &str) -> Result<Self, ParseEnergy> {
        let minutes = || {
            let (hours, minutes) = text.split_once(':')?;
            if hours.len() != 2 || minutes.len() != 2 {
                return None;
            }
            let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
            let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
            let total = hours * 60 + minutes;
            (minutes < 60 && total <= 24 * 60).then_some(total)
        };
        minutes().map(Self).ok_or_else(|| {
            ParseEnergy::new(
                text,
                "time of the day: write hours and minutes like \"06:30\", from \"00:00\" to \"24:00\"",
            )
        })
    }

    /// Minutes since the day began, up to 1440.
    #[must_use]
    pub fn minutes(self) -> u16 {
        self.0
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// The text, if it is one to `most` digits and nothing else.
fn digits(text: &str, most: usize) -> Option<&str> {
    let whole = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    whole.then_some(text)
}

/// Text in YAML and JSON, of a bounded length.
macro_rules! as_text {
    ($type:ident, $name:literal, $longest:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "maxLength": $longest })
            }
        }
    };
}

as_text!(PerKwh, "PerKwh", 13);
as_text!(TimeOfDay, "TimeOfDay", 5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_to_the_millionth_and_written_back() {
        for (text, micros, shortest) in [
            ("0.32", 320_000, "0.32"),
            ("0", 0, "0"),
            ("00.10", 100_000, "0.1"),
            ("12", 12_000_000, "12"),
            ("0.000001", 1, "0.000001"),
            ("999999.999999", 999_999_999_999, "999999.999999"),
        ] {
            let price = PerKwh::parse(text).unwrap();
            assert_eq!(price.micros(), micros, "{text}");
            assert_eq!(price.to_string(), shortest);
        }
    }

    #[test]
    fn other_texts_are_no_prices() {
        for bad in [
            "",
            ".",
            ".3",
            "3.",
            "-0.1",
            "+1",
            "1e3",
            "0,32",
            "0.32 EUR",
            "1234567",
            "0.1234567",
            "1.2.3",
            "٣",
        ] {
            let problem = PerKwh::parse(bad).unwrap_err().to_string();
            assert!(problem.contains("like \"0.32\""), "{bad}: {problem}");
        }
    }

    #[test]
    fn times_of_the_day_are_minutes() {
        for (text, minutes) in [
            ("00:00", 0),
            ("06:30", 390),
            ("23:59", 1_439),
            ("24:00", 1_440),
        ] {
            let time = TimeOfDay::parse(text).unwrap();
            assert_eq!((time.minutes(), time.to_string().as_str()), (minutes, text));
        }
        for bad in [
            "",
            "6:30",
            "06:60",
            "24:01",
            "25:00",
            "0630",
            "06:3",
            "06:30:00",
            "6am",
            "-1:00",
            "٠٦:٣٠",
        ] {
            let problem = TimeOfDay::parse(bad).unwrap_err().to_string();
            assert!(problem.contains("like \"06:30\""), "{bad}: {problem}");
        }
    }
}
