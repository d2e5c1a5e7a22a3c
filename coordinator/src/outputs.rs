//! The ways out: what carries out the actions that the engine hands over.
//! In: one [`Action`] at a time. Out: nothing here; what became of it comes back as a fact.
//! Holds: `perform` never waits; it queues or spawns, and each output bounds what it holds.

use coordinator_core::Action;

pub mod commands;
pub mod kubernetes;
pub mod standalone;

/// Carries out actions.
pub trait Outputs: Send {
    /// Takes one action over. Called in order, from the engine's task, so it must not block.
    fn perform(&mut self, action: Action);
}

/// The two outputs of a running coordinator.
pub struct Routes {
    /// Takes `Send` and `Ping`.
    pub commands: Box<dyn Outputs>,
    /// Takes everything else that is not an answer: the store, core Nodes, events.
    pub mode: Box<dyn Outputs>,
}

impl Outputs for Routes {
    fn perform(&mut self, action: Action) {
        match action {
            Action::Send(_) | Action::Ping { .. } => self.commands.perform(action),
            Action::Commit { .. }
            | Action::Record { .. }
            | Action::RecordAgent { .. }
            | Action::Fence { .. }
            | Action::ListPods { .. }
            | Action::PatchNode { .. }
            | Action::RetireNode { .. }
            | Action::Event(_) => self.mode.perform(action),
            // The engine keeps answers for itself, see `engine`.
            Action::Answer { .. } => {}
        }
    }
}
