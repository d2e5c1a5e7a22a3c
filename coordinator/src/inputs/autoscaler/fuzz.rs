//! Decoders of this module for the fuzzer.

use super::deadline;
use super::tls::validity;

/// The header `grpc-timeout`, in milliseconds.
#[must_use]
pub fn grpc_timeout(text: &str) -> Option<u64> {
    deadline::milliseconds(text)
}

/// When a certificate in DER form ends, in seconds since 1970.
#[must_use]
pub fn certificate(der: &[u8]) -> Option<i64> {
    validity::end(der)
}
