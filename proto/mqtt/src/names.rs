//! Who speaks: agent, kernel boot and process.
//! Holds: an agent id is one MQTT topic level without wildcards; boot id and instance are opaque and short.

use crate::wire_enum::serde_as_text;
use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// The name of an agent or of a machine: lower-case letters, digits, `-` and `.`, at most 63 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(String);

impl AgentId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not the name of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidAgentId;

impl fmt::Display for InvalidAgentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "a name must be 1 to 63 characters of a-z, 0-9, '-' and '.', and begin and end with a letter or a digit",
        )
    }
}

impl core::error::Error for InvalidAgentId {}

impl FromStr for AgentId {
    type Err = InvalidAgentId;

    fn from_str(text: &str) -> Result<Self, InvalidAgentId> {
        let inside = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
            return Err(InvalidAgentId);
        };
        let letters = bytes
            .iter()
            .all(|byte| inside(byte) || matches!(byte, b'-' | b'.'));
        if bytes.len() > 63 || !letters || !inside(first) || !inside(last) {
            return Err(InvalidAgentId);
        }
        Ok(Self(text.to_owned()))
    }
}

/// The kernel's boot id: new with each boot, the same across suspend.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(String);

impl BootId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a boot id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidBootId;

impl fmt::Display for InvalidBootId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a boot id must be 1 to 64 letters, digits and '-', as the kernel's boot_id file has it")
    }
}

impl core::error::Error for InvalidBootId {}

impl FromStr for BootId {
    type Err = InvalidBootId;

    fn from_str(text: &str) -> Result<Self, InvalidBootId> {
        let letters = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if text.is_empty() || text.len() > 64 || !letters {
            return Err(InvalidBootId);
        }
        Ok(Self(text.to_owned()))
    }
}

/// One process of an agent: 32 random bits, 8 hex digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance(pub u32);

/// The text is not an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidInstance;

impl fmt::Display for InvalidInstance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an instance must be 8 lower-case hex digits")
    }
}

impl core::error::Error for InvalidInstance {}

impl FromStr for Instance {
    type Err = InvalidInstance;

    fn from_str(text: &str) -> Result<Self, InvalidInstance> {
        let digits = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 8 || !digits {
            return Err(InvalidInstance);
        }
        u32::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| InvalidInstance)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08x}", self.0)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

serde_as_text!(AgentId);
serde_as_text!(BootId);
serde_as_text!(Instance);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_are_one_topic_level_without_wildcards() {
        let longest = "a".repeat(63);
        for good in ["nas-01", "a", "0", "node.lab.example", longest.as_str()] {
            assert_eq!(
                good.parse::<AgentId>().map(|id| id.to_string()),
                Ok(good.to_owned())
            );
        }
        let too_long = "a".repeat(64);
        for bad in [
            "",
            "-a",
            "a-",
            ".a",
            "a.",
            "A",
            "a/b",
            "a+b",
            "#",
            "a b",
            "é",
            too_long.as_str(),
        ] {
            assert_eq!(bad.parse::<AgentId>(), Err(InvalidAgentId), "{bad}");
        }
    }

    #[test]
    fn boot_ids_are_short_and_plain() {
        assert!(
            "7bbd3f2e-6f0e-4a1a-8d3e-3a1f7f6f4a11"
                .parse::<BootId>()
                .is_ok()
        );
        let too_long = "a".repeat(65);
        for bad in ["", "a b", "a\n", too_long.as_str()] {
            assert_eq!(bad.parse::<BootId>(), Err(InvalidBootId), "{bad}");
        }
    }

    #[test]
    fn instances_are_eight_hex_digits() {
        assert_eq!("00c0ffee".parse(), Ok(Instance(0x00c0_ffee)));
        assert_eq!(Instance(0x00c0_ffee).to_string(), "00c0ffee");
        for bad in ["", "c0ffee", "00C0FFEE", "+0c0ffee", "00c0ffee0"] {
            assert_eq!(bad.parse::<Instance>(), Err(InvalidInstance), "{bad}");
        }
    }
}
