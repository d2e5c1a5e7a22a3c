//! Magic packets as a network card sees them.
//! In: the payload of a datagram or frame. Out: the MAC address it wakes.
//! Holds: like a card, finds six bytes FF and sixteen times the MAC anywhere in the payload.

use std::{fmt, str::FromStr};

use anyhow::{Error, anyhow};
use serde::{Deserialize, Serialize};

/// Six bytes FF, then sixteen times six bytes.
const MAGIC_BYTES: usize = 6 + 16 * 6;

/// A MAC address; written `52:54:00:00:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            *octet = parts
                .next()
                .filter(|part| part.len() == 2)
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| anyhow!("{text:?} is not six pairs of hex digits"))?;
        }
        match parts.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(anyhow!("{text:?} has more than six pairs")),
        }
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// The first MAC address that this payload wakes.
#[must_use]
pub fn find(payload: &[u8]) -> Option<Mac> {
    payload.windows(MAGIC_BYTES).find_map(|window| {
        let (start, repeats) = window.split_at(6);
        let mac: [u8; 6] = repeats[..6].try_into().ok()?;
        let is_magic = start == [0xff; 6] && repeats.chunks(6).all(|chunk| chunk == mac);
        // A longer run of FF in front matches one byte too early with a "MAC" that is shifted; it cannot repeat then.
        is_magic.then_some(Mac(mac))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUC: Mac = Mac([0x1c, 0x69, 0x7a, 0x0b, 0x11, 0x02]);

    fn packet(mac: Mac) -> Vec<u8> {
        [vec![0xff; 6], mac.0.repeat(16)].concat()
    }

    #[test]
    fn packet_is_found_anywhere_in_the_payload() {
        let plain = packet(NUC);
        let with_password = [plain.clone(), vec![1, 2, 3, 4]].concat();
        let after_noise = [vec![0xff, 0x00], plain.clone()].concat();
        let after_more_ff = [vec![0xff; 3], plain.clone()].concat();
        for payload in [plain, with_password, after_noise, after_more_ff] {
            assert_eq!(find(&payload), Some(NUC), "{payload:02x?}");
        }
    }

    #[test]
    fn anything_less_wakes_nobody() {
        let mut one_octet_off = packet(NUC);
        one_octet_off[101] ^= 1;
        let mut five_ff = packet(NUC);
        five_ff[0] = 0;
        let short = packet(NUC)[..101].to_vec();
        for payload in [one_octet_off, five_ff, short, Vec::new()] {
            assert_eq!(find(&payload), None, "{payload:02x?}");
        }
    }

    #[test]
    fn text_and_octets_are_inverses() {
        assert_eq!(NUC.to_string(), "1c:69:7a:0b:11:02");
        assert_eq!("1c:69:7a:0b:11:02".parse::<Mac>().unwrap(), NUC);
        for wrong in [
            "",
            "1c:69:7a:0b:11",
            "1c:69:7a:0b:11:0g",
            "1c:69:7a:0b:11:02:03",
            "1c697a0b1102",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }
}
