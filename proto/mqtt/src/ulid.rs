//! Identifiers of operations and commands: ULIDs as 26 characters of Crockford's base 32.
//! In: text from the wire, or 128 bits minted by the coordinator. Out: the canonical upper-case text.
//! Holds: text and bits are exact inverses; text order is bit order.
//! Not here: minting (coordinator/core does it from its seed, epoch and counter).

use crate::wire_enum::serde_as_text;
use core::fmt;
use core::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TEXT_LENGTH: usize = 26;

/// A ULID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ulid(u128);

impl Ulid {
    /// No command: results with this id speak of a message whose sender was not proved.
    pub const NIL: Self = Self(0);

    /// The ULID with these bits: 48 of time, 80 of chance, highest first.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits: 48 of time, 80 of chance, highest first.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; TEXT_LENGTH];
        for (index, slot) in text.iter_mut().enumerate() {
            let shift = 5 * (TEXT_LENGTH - 1 - index);
            *slot = ALPHABET[((self.0 >> shift) & 31) as usize];
        }
        out.write_str(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Ulid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The text is not a ULID in its canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUlid;

impl fmt::Display for InvalidUlid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an id must be a ULID: 26 characters of 0-9 and A-Z without I, L, O, U, the first at most 7")
    }
}

impl core::error::Error for InvalidUlid {}

impl FromStr for Ulid {
    type Err = InvalidUlid;

    /// Lower case is refused too: two spellings of one id would defeat comparisons of text.
    fn from_str(text: &str) -> Result<Self, InvalidUlid> {
        let bytes = text.as_bytes();
        if bytes.len() != TEXT_LENGTH || bytes[0] > b'7' {
            return Err(InvalidUlid);
        }
        bytes
            .iter()
            .try_fold(0u128, |bits, byte| {
                let digit = ALPHABET.iter().position(|letter| letter == byte)?;
                Some((bits << 5) | digit as u128)
            })
            .map(Self)
            .ok_or(InvalidUlid)
    }
}

serde_as_text!(Ulid);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn only_canonical_text_is_an_id() {
        assert!("01JD0000000000000000000000".parse::<Ulid>().is_ok());
        assert!("7ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<Ulid>().is_ok());
        for bad in [
            "",
            "01JD000000000000000000000",
            "01JD00000000000000000000000",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "01jd0000000000000000000000",
            "01JD000000000000000000000I",
            "01JD00000000000000000000é",
        ] {
            assert_eq!(bad.parse::<Ulid>(), Err(InvalidUlid), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_and_bits_are_inverses(bits: u128) {
            let id = Ulid::from_bits(bits);
            prop_assert_eq!(id.to_string().parse::<Ulid>(), Ok(id));
        }

        #[test]
        fn text_order_is_bit_order(left: u128, right: u128) {
            let (a, b) = (Ulid::from_bits(left), Ulid::from_bits(right));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
