//! The wake modes of a network card, as bits of the kernel and as letters of ethtool.

use std::io;

/// Letter of each bit, from the lowest.
const LETTERS: &str = "pumbagsf";
/// The letter for "none".
const NONE: char = 'd';
/// Wake on a magic packet, the letter `g`.
pub(super) const MAGIC: u32 = 1 << 5;

/// Modes that a card knows, and those that are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WakeModes {
    pub(super) supported: u32,
    pub(super) enabled: u32,
}

impl WakeModes {
    pub(super) fn knows_magic(self) -> bool {
        self.supported & MAGIC != 0
    }

    pub(super) fn wakes_by_magic(self) -> bool {
        self.enabled & MAGIC != 0
    }

    pub(super) fn from_letters(letters: &str) -> io::Result<u32> {
        let bit = |letter| match LETTERS.find(letter) {
            Some(at) => Ok(1 << at),
            None if letter == NONE => Ok(0),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{letter}` is no wake mode"),
            )),
        };
        letters
            .chars()
            .try_fold(0, |bits, letter| Ok(bits | bit(letter)?))
    }

    pub(super) fn letters(bits: u32) -> String {
        let set = LETTERS
            .char_indices()
            .filter(|(at, _)| bits & (1 << at) != 0);
        let letters: String = set.map(|(_, letter)| letter).collect();
        if letters.is_empty() {
            NONE.to_string()
        } else {
            letters
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_bits_are_inverses() {
        for bits in 0..256 {
            assert_eq!(
                WakeModes::from_letters(&WakeModes::letters(bits)).expect("letters"),
                bits
            );
        }
        assert_eq!(WakeModes::from_letters("g").expect("magic"), MAGIC);
        assert!(WakeModes::from_letters("x").is_err());
    }
}
