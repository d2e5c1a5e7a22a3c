//! The address of one network card.
//! Holds: never all zero, broadcast or multicast; one way to write it, `aa:bb:cc:dd:ee:ff`. A typo is an error, never the
//! address of another machine.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A unicast EUI-48 address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// Takes six octets.
    ///
    /// # Errors
    /// [`MacAddressFault`] if they are no address of one card.
    pub fn new(octets: [u8; 6]) -> Result<Self, MacAddressFault> {
        if octets == [0; 6] {
            return Err(MacAddressFault::Zero);
        }
        if octets == [0xff; 6] {
            return Err(MacAddressFault::Broadcast);
        }
        // The lowest bit of the first octet marks a group.
        if octets[0] & 1 == 1 {
            return Err(MacAddressFault::Multicast);
        }
        Ok(Self(octets))
    }

    /// The octets in the order of the wire.
    #[must_use]
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

/// Why something is no address of one network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MacAddressFault {
    /// Not six pairs of hex digits with one kind of separator.
    #[error(
        "a MAC address is six pairs of hex digits, as in 1c:69:7a:0b:11:02 or 1c-69-7a-0b-11-02"
    )]
    Form,
    /// 00:00:00:00:00:00.
    #[error("00:00:00:00:00:00 is not the MAC address of a card")]
    Zero,
    /// ff:ff:ff:ff:ff:ff.
    #[error("ff:ff:ff:ff:ff:ff is the broadcast address, not that of one card")]
    Broadcast,
    /// A group address.
    #[error("this is a multicast address (odd first octet), not that of one card")]
    Multicast,
}

impl FromStr for MacAddress {
    type Err = MacAddressFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(hex_octets(text).ok_or(MacAddressFault::Form)?)
    }
}

/// Two or more pairs of hex digits, all separated by `:` or all by `-`.
pub(crate) fn hex_octets<const PAIRS: usize>(text: &str) -> Option<[u8; PAIRS]> {
    let bytes = text.as_bytes();
    if bytes.len() != 3 * PAIRS - 1 {
        return None;
    }
    let separator = bytes[2];
    if separator != b':' && separator != b'-' {
        return None;
    }
    let mut octets = [0; PAIRS];
    for (index, group) in bytes.chunks(3).enumerate() {
        let high = hex_digit(group[0])?;
        let low = hex_digit(group[1])?;
        if group.get(2).is_some_and(|byte| *byte != separator) {
            return None;
        }
        octets[index] = high << 4 | low;
    }
    Some(octets)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_separators_and_both_cases_parse_and_display_in_one_form() {
        for text in [
            "1c:69:7a:0b:11:02",
            "1C-69-7A-0B-11-02",
            "1c:69:7A:0b:11:02",
        ] {
            let address: MacAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), "1c:69:7a:0b:11:02");
            assert_eq!(address.octets(), [0x1c, 0x69, 0x7a, 0x0b, 0x11, 0x02]);
        }
    }

    #[test]
    fn whatever_could_wake_another_machine_is_refused() {
        use MacAddressFault as F;
        for (text, fault) in [
            ("", F::Form),
            ("G0:01:11:34:88:99", F::Form),
            ("52:54:00:00:00:0g", F::Form),
            ("zz:52540000:0001", F::Form),
            ("52 54 00 00 00 01", F::Form),
            ("525400000001", F::Form),
            ("5254.0000.0001", F::Form),
            ("0x525400000001", F::Form),
            ("52:54:00-00:00:01", F::Form),
            ("52-54-00:00-00-01", F::Form),
            ("52:54:0:0:0:1", F::Form),
            ("52:54:00:00:00:01 ", F::Form),
            (" 52:54:00:00:00:01", F::Form),
            ("52:54:00:00:00:01:", F::Form),
            ("52:54:00:00:00:01:02:03", F::Form),
            ("52:54:00:ff:fe:00:00:01", F::Form),
            ("+2:54:00:00:00:01", F::Form),
            ("５２:54:00:00:00", F::Form),
            ("00:00:00:00:00:00", F::Zero),
            ("ff:ff:ff:ff:ff:ff", F::Broadcast),
            ("01:00:5e:00:00:01", F::Multicast),
            ("33:33:00:00:00:01", F::Multicast),
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(fault), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_to_the_same(octets in any::<[u8; 6]>()) {
            if let Ok(address) = MacAddress::new(octets) {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
                prop_assert_eq!(address.to_string().to_uppercase().replace(':', "-").parse(), Ok(address));
            }
        }

        #[test]
        fn no_text_panics_and_only_the_two_forms_are_accepted(text in "\\PC{0,20}") {
            if let Ok(address) = text.parse::<MacAddress>() {
                prop_assert_eq!(address.to_string(), text.to_lowercase().replace('-', ":"));
            }
        }
    }
}
