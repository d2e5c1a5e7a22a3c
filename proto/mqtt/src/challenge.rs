//! The random challenge that an agent puts into each heartbeat and that a command must repeat.
//! Holds: 16 bytes, 22 characters of unpadded URL-safe base64 on the wire.
//! Not here: where the bytes come from (the agent's shell) and how long they count (agent/core).

use crate::wire_enum::serde_as_text;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::fmt;
use core::str::FromStr;

/// Sixteen random bytes that only live in an agent's memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Challenge(pub [u8; 16]);

impl fmt::Display for Challenge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The text is not a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidChallenge;

impl fmt::Display for InvalidChallenge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a challenge must be 16 bytes in unpadded URL-safe base64 (22 characters)")
    }
}

impl core::error::Error for InvalidChallenge {}

impl FromStr for Challenge {
    type Err = InvalidChallenge;

    fn from_str(text: &str) -> Result<Self, InvalidChallenge> {
        let mut bytes = [0u8; 16];
        // The decoder needs exactly 16 bytes of room; longer texts fail before they are decoded.
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(16) if text.len() == 22 => Ok(Self(bytes)),
            Ok(_) | Err(_) => Err(InvalidChallenge),
        }
    }
}

serde_as_text!(Challenge);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn known_bytes_have_known_text() {
        let bytes: [u8; 16] = core::array::from_fn(|index| u8::try_from(index).expect("16 fits"));
        assert_eq!(Challenge(bytes).to_string(), "AAECAwQFBgcICQoLDA0ODw");
        for bad in [
            "",
            "AAECAwQFBgcICQoLDA0OD",
            "AAECAwQFBgcICQoLDA0ODw==",
            "AAECAwQFBgcICQoLDA0ODx",
        ] {
            assert_eq!(bad.parse::<Challenge>(), Err(InvalidChallenge), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_are_inverses(bytes: [u8; 16]) {
            prop_assert_eq!(Challenge(bytes).to_string().parse::<Challenge>(), Ok(Challenge(bytes)));
        }
    }
}
