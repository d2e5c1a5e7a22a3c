//! Ed25519 keys: the coordinator's, which agents trust, and each agent's own for its results.
//! In: 32-byte seeds, public keys as text `ed25519:<base64>`. Out: signers and sets of trusted keys.
//! Holds: a key of small order is refused, so one signature never fits many messages.
//! Not here: where seeds are kept, and where their randomness comes from (both shells).

use crate::text::Text;
use crate::wire_enum::serde_as_text;
use alloc::vec::Vec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use core::fmt;
use core::str::FromStr;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

/// The name of a key inside a set.
pub type Kid = Text<16>;

/// The name of the coordinator's key as long as there is no rotation.
pub const COORDINATOR_KID: &str = "c1";

/// The name of an agent's result key as long as there is no rotation.
pub const RESULT_KID: &str = "r1";

const PREFIX: &str = "ed25519:";

/// A key that signs, with its name.
pub struct Signer {
    kid: Kid,
    key: SigningKey,
}

impl Signer {
    /// The signer of a 32-byte seed.
    #[must_use]
    pub fn from_seed(kid: &str, seed: &[u8; 32]) -> Self {
        Self {
            kid: Kid::shortened(kid),
            key: SigningKey::from_bytes(seed),
        }
    }

    /// The name of the key.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signer({}, {})", self.kid, self.public_key())
    }
}

/// A key that verifies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of 32 bytes.
    ///
    /// # Errors
    /// The bytes are no point of the curve, or one of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, InvalidPublicKey> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| InvalidPublicKey)?;
        if key.is_weak() {
            return Err(InvalidPublicKey);
        }
        Ok(Self(key))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{PREFIX}{}", STANDARD_NO_PAD.encode(self.to_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The text or the bytes are no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPublicKey;

impl fmt::Display for InvalidPublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key must be 'ed25519:' and 43 characters of base64")
    }
}

impl core::error::Error for InvalidPublicKey {}

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidPublicKey)?;
        let mut bytes = [0u8; 32];
        match STANDARD_NO_PAD.decode_slice(encoded, &mut bytes) {
            Ok(32) => Self::from_bytes(&bytes),
            Ok(_) | Err(_) => Err(InvalidPublicKey),
        }
    }
}

serde_as_text!(PublicKey);

/// The keys that a receiver accepts, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedKeys(Vec<(Kid, PublicKey)>);

impl TrustedKeys {
    /// A set of one key.
    #[must_use]
    pub fn only(kid: &str, key: PublicKey) -> Self {
        Self(Vec::from([(Kid::shortened(kid), key)]))
    }

    /// The key of a name.
    #[must_use]
    pub fn get(&self, kid: &Kid) -> Option<&PublicKey> {
        self.0
            .iter()
            .find(|(name, _)| name == kid)
            .map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn keys_survive_their_text() {
        let key = Signer::from_seed("c1", &[7; 32]).public_key();
        assert_eq!(key.to_string().parse::<PublicKey>(), Ok(key));
    }

    #[test]
    fn broken_and_weak_keys_are_refused() {
        let weak = alloc::format!("ed25519:{}", STANDARD_NO_PAD.encode([0u8; 32]));
        for bad in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", weak.as_str()] {
            assert_eq!(bad.parse::<PublicKey>(), Err(InvalidPublicKey), "{bad}");
        }
    }

    #[test]
    fn the_seed_never_shows_in_debug_output() {
        let shown = alloc::format!("{:?}", Signer::from_seed("c1", &[7; 32]));
        assert!(shown.starts_with("Signer(c1, ed25519:"), "{shown}");
        assert!(!shown.contains("7, 7"), "{shown}");
    }
}
