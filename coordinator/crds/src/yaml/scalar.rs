//! What a plain scalar means, after the rules that kubectl follows (YAML 1.1 as Go's yaml.v2 has it).
//!
//! Out: null, booleans, whole numbers and floats; everything else is text. Dates stay text.

use serde_json::{Number, Value};

/// The value of a plain (unquoted) scalar.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return Value::String(text.to_owned());
    }
    let digits = text.replace('_', "");
    whole(&digits)
        .or_else(|| float(&digits))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A key of a JSON object: text, or what JSON makes of a boolean or a number.
pub(super) fn key(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Decimal, `0x`, `0b`, `0o`, and octal with a leading zero.
fn whole(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some(start) if start.starts_with('0') => (8, &digits[1..]),
        Some(_) | None => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let number = format!("{}{digits}", if sign == "-" { "-" } else { "" });
    let signed = i64::from_str_radix(&number, radix).ok().map(Number::from);
    signed
        .or_else(|| u64::from_str_radix(&number, radix).ok().map(Number::from))
        .map(Value::Number)
}

/// Decimal fractions and exponents. A float without a fraction is a whole number, as in Go's JSON.
fn float(text: &str) -> Option<Value> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number: f64 = if plain {
        text.parse().ok()?
    } else {
        return None;
    };
    match whole_number(number) {
        Some(whole) => Some(whole.into()),
        None => Number::from_f64(number).map(Value::Number),
    }
}

/// `2.0` as 2. Up to 2^53 a float is exact.
pub(crate) fn whole_number(float: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    // The bounds make the cast lossless.
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
}
