//! Text for people, of bounded length.
//! Holds: at most `MAX` bytes and no control characters, so that it is safe in a log line, an Event and a terminal.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Text of at most `MAX` bytes without control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Cuts at the last whole character that fits and replaces control characters by spaces.
    #[must_use]
    pub fn shortened(text: &str) -> Self {
        let mut kept = String::new();
        for letter in text.chars() {
            let letter = if letter.is_control() { ' ' } else { letter };
            if kept.len() + letter.len_utf8() > MAX {
                break;
            }
            kept.push(letter);
        }
        Self(kept)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<const MAX: usize> From<&str> for Text<MAX> {
    fn from(text: &str) -> Self {
        Self::shortened(text)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<const MAX: usize> Serialize for Text<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > MAX {
            return Err(de::Error::invalid_length(text.len(), &"a shorter text"));
        }
        Ok(Self::shortened(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn long_text_is_cut_between_characters_and_control_characters_vanish() {
        assert_eq!(Text::<5>::shortened("ab\ncd").as_str(), "ab cd");
        assert_eq!(Text::<5>::shortened("abcdé").as_str(), "abcd");
    }

    #[test]
    fn longer_text_is_refused_on_decode() {
        assert!(serde_json::from_str::<Text<3>>("\"abc\"").is_ok());
        assert!(serde_json::from_str::<Text<3>>("\"abcd\"").is_err());
    }
}
