//! How the contract changes: the major version is in the topic root and in each payload's `v`; fields are only ever added.
//! Holds: a reader ignores fields it does not know, unless a signed body lists them in `crit`; then it must refuse.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The only major version that this build speaks.
pub const MAJOR: u8 = 1;

/// The major versions that this build speaks, as advertised in an agent's status.
pub const SPOKEN: &[u8] = &[MAJOR];

/// The major version 1 as a field: it is written as the number 1 and accepts no other number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct V1;

impl Serialize for V1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(MAJOR)
    }
}

impl<'de> Deserialize<'de> for V1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            1 => Ok(Self),
            other => Err(de::Error::invalid_value(
                de::Unexpected::Unsigned(other.into()),
                &"version 1",
            )),
        }
    }
}

/// The highest major version that both sides speak, if there is one.
#[must_use]
pub fn highest_common(theirs: &[u8]) -> Option<u8> {
    SPOKEN
        .iter()
        .copied()
        .filter(|major| theirs.contains(major))
        .max()
}

#[cfg(test)]
mod tests {
    use super::highest_common;

    #[test]
    fn both_sides_must_share_a_major_version() {
        assert_eq!(highest_common(&[1]), Some(1));
        assert_eq!(highest_common(&[2, 1]), Some(1));
        assert_eq!(highest_common(&[2]), None);
        assert_eq!(highest_common(&[]), None);
    }
}
