//! From when to when a certificate is valid: the one field of X.509 that rustls does not show.
//! In: a certificate in DER form. Out: seconds since 1970.
//! Not here: whether it is valid (rustls).

use chrono::NaiveDateTime;

/// From so many days before the end on, people are told.
const SOON_DAYS: i64 = 14;
const DAY: i64 = 24 * 3_600;

const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`: the version, which old certificates lack.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// How close the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Not soon.
    Later,
    /// In so many whole days.
    Soon {
        /// Zero on the last day.
        days: i64,
    },
    /// It has passed.
    Over,
}

/// Judges an end, both in seconds since 1970.
pub(super) fn ending(end: i64, now: i64) -> Ending {
    let left = end.saturating_sub(now);
    if left < 0 {
        Ending::Over
    } else if left < SOON_DAYS * DAY {
        Ending::Soon { days: left / DAY }
    } else {
        Ending::Later
    }
}

/// The field notAfter; `None` if this is no certificate.
pub(crate) fn end(certificate: &[u8]) -> Option<i64> {
    term(certificate).map(|(_, end)| end)
}

/// The fields notBefore and notAfter; `None` if this is no certificate.
pub(crate) fn term(certificate: &[u8]) -> Option<(i64, i64)> {
    let (whole, _) = expect(certificate, SEQUENCE)?;
    let (mut fields, _) = expect(whole, SEQUENCE)?;
    if let Some((VERSION, _, rest)) = element(fields) {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        (_, _, fields) = element(fields)?;
    }
    let (validity, _) = expect(fields, SEQUENCE)?;
    let (tag, text, validity) = element(validity)?;
    let begin = moment(tag, text)?;
    let (tag, text, _) = element(validity)?;
    Some((begin, moment(tag, text)?))
}

fn moment(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        // Two digits of the year mean 1950 to 2049.
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?;
    Some(time.and_utc().timestamp())
}

/// An element of this tag: what it holds, and what follows it.
fn expect(input: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(input)?;
    (tag == wanted).then_some((content, rest))
}

/// The first element of an input: its tag, what it holds, and what follows it.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, input) = input.split_first()?;
    let (&short, mut input) = input.split_first()?;
    let mut length = usize::from(short);
    if short & 0x80 != 0 {
        let bytes;
        (bytes, input) = input.split_at_checked(usize::from(short & 0x7f))?;
        // A certificate is shorter than 16 MiB.
        if bytes.len() > 3 {
            return None;
        }
        length = bytes
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
    }
    let (content, rest) = input.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, month, day);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_forms_of_time() {
        for (year, month, day, seconds) in [
            (2030, 1, 2, 1_893_542_400),
            (1999, 12, 31, 946_598_400),
            // Beyond 2049 the year has four digits.
            (2060, 6, 1, 2_853_273_600),
        ] {
            assert_eq!(end(&certificate(year, month, day)), Some(seconds), "{year}");
        }
    }

    #[test]
    fn a_cut_or_foreign_text_has_no_end_and_does_no_harm() {
        let whole = certificate(2030, 1, 2);
        for length in 0..whole.len() {
            assert_eq!(end(&whole[..length]), None, "{length}");
        }
        assert_eq!(end(b"\x30\x84\xff\xff\xff\xff"), None);
        assert_eq!(end(b"\x30\xff"), None);
    }

    #[test]
    fn people_are_told_in_the_last_fourteen_days() {
        let now = 1_000_000_000;
        for (end, ending_is) in [
            (now + 14 * DAY, Ending::Later),
            (now + 14 * DAY - 1, Ending::Soon { days: 13 }),
            (now + DAY - 1, Ending::Soon { days: 0 }),
            (now, Ending::Soon { days: 0 }),
            (now - 1, Ending::Over),
            (i64::MAX, Ending::Later),
            (i64::MIN, Ending::Over),
        ] {
            assert_eq!(ending(end, now), ending_is, "{end}");
        }
    }
}
