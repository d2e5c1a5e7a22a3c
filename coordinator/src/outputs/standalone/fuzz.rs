//! Decoders of this module for the fuzzer.

use coordinator_core::{GroupRecord, MachineRecord};

use super::stored;

/// A stored group.
#[must_use]
pub fn group(json: &str) -> Option<GroupRecord> {
    stored::group(json).ok()
}

/// A group as it is stored.
#[must_use]
pub fn group_text(record: &GroupRecord) -> String {
    stored::group_text(record)
}

/// A stored machine.
#[must_use]
pub fn machine(json: &str) -> Option<MachineRecord> {
    stored::machine(json).ok()
}

/// A machine as it is stored.
#[must_use]
pub fn machine_text(record: &MachineRecord) -> String {
    stored::machine_text(record)
}
