//! A share of a machine: a fraction (`0.5`) or per cent (`50%`), written as text.
//!
//! Holds: 0 ≤ fraction ≤ 1. A bare `70` is refused, because nobody can tell 70 % from a mistake.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A share between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold(f64);

/// Why a text is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no share of a machine: write a fraction from 0 to 1 like \"0.5\", or per cent like 50%"
)]
pub struct ParseThreshold {
    text: String,
}

impl Threshold {
    /// Reads `0.5` or `50%`.
    ///
    /// # Errors
    ///
    /// Any other form, and shares outside 0 to 1.
    pub fn parse(text: &str) -> Result<Self, ParseThreshold> {
        let refuse = || ParseThreshold {
            text: text.chars().take(40).collect(),
        };
        let digits = |text: &str, max: usize| {
            (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let (number, divisor) = match text.strip_suffix('%') {
            Some("100") => return Ok(Self(1.0)),
            Some(number) if digits(number, 2) => (number, 100.0),
            Some(_) => return Err(refuse()),
            None => (text, 1.0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if divisor == 1.0 && !(digits(whole, 1) && digits(fraction, 6)) {
            return Err(refuse());
        }
        let share = number.parse::<f64>().map_err(|_| refuse())? / divisor;
        if share > 1.0 {
            Err(refuse())
        } else {
            Ok(Self(share))
        }
    }

    /// The share as a fraction from 0 to 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        self.0
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Threshold {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Threshold".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 8 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_and_per_cent_are_read() {
        for (text, share) in [
            ("0", 0.0),
            ("0.5", 0.5),
            ("1", 1.0),
            ("1.0", 1.0),
            ("50%", 0.5),
            ("100%", 1.0),
            ("7%", 0.07),
        ] {
            assert_eq!(Threshold::parse(text).unwrap().fraction(), share, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_an_example() {
        for bad in [
            "",
            "70",
            "1.5",
            "101%",
            "-0.5",
            "0.5%",
            ".5",
            "5.",
            "00.5",
            "1e-1",
            "50 %",
            "%",
            "0.1234567",
        ] {
            let problem = Threshold::parse(bad).unwrap_err().to_string();
            assert!(
                problem.contains("like \"0.5\", or per cent like 50%"),
                "{bad}: {problem}"
            );
        }
    }
}
