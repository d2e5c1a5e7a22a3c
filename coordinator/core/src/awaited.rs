//! Versions of machines' records that somebody waits for: until a wish is durable, nobody is told that it is taken.

use crate::ids::MachineId;
use crate::lab::Lab;

/// A version of a machine's record that somebody waits for.
#[derive(Clone, Debug)]
pub(crate) struct AwaitedRecord {
    pub(crate) machine: MachineId,
    pub(crate) version: u64,
}

impl AwaitedRecord {
    pub(crate) fn state(&self, lab: &Lab) -> AwaitedState {
        match lab.machines.get(&self.machine) {
            Some(machine) if self.version < machine.first_version => AwaitedState::Gone,
            Some(machine) if machine.is_recorded(self.version) => AwaitedState::Stored,
            Some(_) => AwaitedState::Open,
            None => AwaitedState::Gone,
        }
    }
}

/// What became of a version that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AwaitedState {
    Stored,
    Open,
    /// Its machine is not declared any more, or is another declaration by now.
    Gone,
}
