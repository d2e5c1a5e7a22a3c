//! Decoders of this module for the fuzzer.

use std::time::SystemTime;

use super::message::Complaint;
use super::{json, retry_after};

/// A body as a BMC sends it, also one that tells an error.
pub fn reply(body: &[u8]) {
    let _ = json::object(body);
    Complaint::read(body);
}

/// The header `Retry-After`.
pub fn retry_after(text: &str) {
    retry_after::parse(Some(text), SystemTime::UNIX_EPOCH);
}
