//! The signed envelope around commands and results.
//! In: a body as text, the topic it is for, a purpose. Out: `{"v":1,"kid":…,"body":"…","sig":"…"}`; and back.
//! Holds: the exact bytes of the body are signed together with purpose and topic, so a body fits one topic only.
//! Not here: freshness and order (challenge, token); the envelope alone does not stop a replay.

use crate::key::{Kid, Signer, TrustedKeys};
use crate::payload::Payload;
use crate::version::V1;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What a signature is for; part of the signed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A command of the coordinator.
    Command,
    /// A result of an agent.
    Result,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "cmd",
            Self::Result => "res",
        }
    }
}

/// A body with a signature that has not been looked at yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    v: V1,
    kid: Kid,
    body: String,
    sig: String,
}

impl Payload for Envelope {}

impl Envelope {
    /// Signs a body for one topic.
    #[must_use]
    pub fn seal(signer: &Signer, purpose: Purpose, topic: &str, body: String) -> Self {
        let signature = signer.sign(&signed_bytes(purpose, topic, &body));
        Self {
            v: V1,
            kid: signer.kid().clone(),
            body,
            sig: STANDARD.encode(signature),
        }
    }

    /// The name of the key that is said to have signed.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The body without any proof: only to say whose command was refused.
    #[must_use]
    pub fn unverified_body(&self) -> &str {
        &self.body
    }

    /// The body, proved to come from a trusted key for this purpose and topic.
    ///
    /// # Errors
    /// The key is not in the set, or the signature does not fit.
    pub fn open(
        &self,
        purpose: Purpose,
        topic: &str,
        keys: &TrustedKeys,
    ) -> Result<&str, OpenError> {
        let key = keys.get(&self.kid).ok_or_else(|| OpenError::UnknownKid {
            kid: self.kid.to_string(),
        })?;
        let signature = STANDARD
            .decode(&self.sig)
            .ok()
            .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
            .ok_or(OpenError::BadSignature)?;
        if !key.verifies(&signed_bytes(purpose, topic, &self.body), &signature) {
            return Err(OpenError::BadSignature);
        }
        Ok(&self.body)
    }
}

/// `HLA1`, then a space, the decimal length, a space and the bytes of each of purpose, topic and body.
fn signed_bytes(purpose: Purpose, topic: &str, body: &str) -> Vec<u8> {
    let purpose = purpose.as_str();
    format!(
        "HLA1 {} {purpose} {} {topic} {} {body}",
        purpose.len(),
        topic.len(),
        body.len()
    )
    .into_bytes()
}

/// Why an envelope does not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// No trusted key has this name.
    UnknownKid {
        /// The name in the envelope.
        kid: String,
    },
    /// The signature is not of this key over this purpose, topic and body.
    BadSignature,
}

impl fmt::Display for OpenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKid { kid } => write!(out, "no trusted key is named {kid}"),
            Self::BadSignature => out.write_str("the signature does not fit key, topic and body"),
        }
    }
}

impl core::error::Error for OpenError {}

#[cfg(test)]
mod tests;
