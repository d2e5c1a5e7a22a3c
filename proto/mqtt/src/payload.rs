//! Encoding and decoding of every payload.
//! In: at most 8192 bytes of JSON. Out: a payload, or what is wrong with the bytes.
//! Holds: decoding never panics, never recurses without bound and never reads past the limit.

use crate::version::MAJOR;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest payload that either side accepts, in bytes: also the packet limit that agents announce to the broker.
pub const MAX_PAYLOAD_BYTES: usize = 8192;

/// A message body that travels as one JSON object with its version in `v`.
pub trait Payload: Serialize + DeserializeOwned {
    /// The bytes of this payload.
    #[must_use]
    fn encode(&self) -> Vec<u8> {
        self.encode_text().into_bytes()
    }

    /// The bytes of this payload as text, to be signed.
    #[must_use]
    fn encode_text(&self) -> String {
        serde_json::to_string(self)
            .expect("payloads have text keys only, so they always become JSON")
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// The bytes are too many, not JSON, of another version, or lack a field or bound of this payload.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_PAYLOAD_BYTES {
            return Err(DecodeError::TooLarge { bytes: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(|error| match version_of(bytes) {
            Some(version) if version != u64::from(MAJOR) => DecodeError::Version { version },
            Some(_) | None => DecodeError::Malformed {
                detail: error.to_string(),
            },
        })
    }
}

fn version_of(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u64,
    }
    serde_json::from_slice::<Versioned>(bytes)
        .ok()
        .map(|payload| payload.v)
}

/// Why bytes are no payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// More bytes than [`MAX_PAYLOAD_BYTES`].
    TooLarge {
        /// How many there were.
        bytes: usize,
    },
    /// The sender speaks another major version.
    Version {
        /// The version in the payload.
        version: u64,
    },
    /// Not JSON, or a field is missing, out of bounds or of the wrong kind.
    Malformed {
        /// Which one and where.
        detail: String,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                write!(out, "{bytes} bytes; at most {MAX_PAYLOAD_BYTES} are read")
            }
            Self::Version { version } => write!(out, "version {version}; this side speaks {MAJOR}"),
            Self::Malformed { detail } => out.write_str(detail),
        }
    }
}

impl core::error::Error for DecodeError {}
