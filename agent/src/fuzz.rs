//! Decoders of the agent for the fuzzer.

use std::path::Path;

use crate::config::Settings;

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
