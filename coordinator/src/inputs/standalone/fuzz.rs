//! Decoders of this module for the fuzzer.

use coordinator_core::{MachineId, Request as Wish};

use super::socket::{Request, wish};

/// A line that came over the local socket: the machine that it asks something of, and what is told to the core.
///
/// `None` where it is no such request.
#[must_use]
pub fn ask(line: &[u8]) -> Option<(String, Option<Wish>)> {
    match serde_json::from_slice(line).ok()? {
        Request::Ask { node, ask } => {
            let wish = wish(&MachineId::new(&node), ask);
            Some((node, wish))
        }
        Request::Status | Request::AgentConfig => None,
    }
}
