//! Decoders of the agent for the fuzzer.

use std::path::Path;

use agent_core::Journal;

use crate::config::Settings;
use crate::journal_file;

/// The text of `agent.toml`.
///
/// # Errors
/// What is wrong with it, for people.
pub fn configuration(text: &str) -> Result<(), String> {
    match Settings::parse(text, Path::new("/etc/homelab-agent/agent.toml")) {
        Ok(_) => Ok(()),
        Err(fault) => Err(fault.to_string()),
    }
}

/// The journal in the bytes of its file; `None` where they are unreadable.
#[must_use]
pub fn journal(bytes: &[u8]) -> Option<Journal> {
    journal_file::decoded(bytes).ok()
}

/// A journal as its file holds it.
///
/// # Errors
/// It cannot be written as JSON.
pub fn journal_bytes(journal: &Journal) -> Result<Vec<u8>, String> {
    journal_file::encoded(journal).map_err(|fault| fault.to_string())
}
