//! A strict MAC address.
//! In: six pairs of hex digits, separated by colons. Out: the same in lower case.
//! Holds: no other spelling is accepted, so a typing error never wakes another machine.

use crate::wire_enum::serde_as_text;
use core::fmt;
use core::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The text is not a MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidMac;

impl fmt::Display for InvalidMac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a MAC address must be six pairs of hex digits separated by colons, as 1c:69:7a:0b:11:02")
    }
}

impl core::error::Error for InvalidMac {}

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let mut bytes = [0u8; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().ok_or(InvalidMac)?;
            // from_str_radix alone would take a sign.
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(InvalidMac);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidMac)?;
        }
        if pairs.next().is_some() {
            return Err(InvalidMac);
        }
        Ok(Self(bytes))
    }
}

serde_as_text!(Mac);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn only_six_colon_separated_pairs_are_an_address() {
        assert_eq!(
            "1C:69:7A:0B:11:02".parse(),
            Ok(Mac([0x1c, 0x69, 0x7a, 0x0b, 0x11, 0x02]))
        );
        for bad in [
            "",
            "52:54:00:00:00:0g",
            "52:54:00:00:00",
            "52:54:00:00:00:00:00",
            "52-54-00-00-00-00",
            "525400000000",
            "+2:54:00:00:00:00",
            " 52:54:00:00:00:00",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(InvalidMac), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_are_inverses(bytes: [u8; 6]) {
            prop_assert_eq!(Mac(bytes).to_string().parse::<Mac>(), Ok(Mac(bytes)));
        }
    }
}
