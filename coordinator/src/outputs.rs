//! The ways out: what carries out the actions that the engine hands over.
//! In: one [`Action`] at a time. Out: nothing here; what became of it comes back as a fact.
//! Holds: `perform` never waits; it queues or spawns, and each output bounds what it holds.
//! Holds: every Event is a line in the log too, in both modes and whether or not it can be written elsewhere.

use coordinator_core::{Action, Event, Severity, Subject};

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
            Action::Event(event) => {
                log(&event);
                self.mode.perform(Action::Event(event));
            }
            Action::Commit { .. }
            | Action::Record { .. }
            | Action::RecordAgent { .. }
            | Action::Fence { .. }
            | Action::ListPods { .. }
            | Action::Evict { .. }
            | Action::PatchNode { .. }
            | Action::RetireNode { .. } => self.mode.perform(action),
            // The engine keeps answers for itself, see `engine`.
            Action::Answer { .. } => {}
        }
    }
}

/// An Event as a line in the log.
pub(crate) fn log(event: &Event) {
    let (kind, name) = match &event.about {
        Subject::Machine(machine) => ("Node", machine.as_str()),
        Subject::Group(group) => ("Group", group.as_str()),
    };
    let op = event.operation.as_deref();
    let (reason, detail) = (event.reason, event.message.as_str());
    match event.severity {
        Severity::Normal => tracing::info!(kind, name, reason, op, detail, "lab event"),
        Severity::Warning => tracing::warn!(kind, name, reason, op, detail, "lab event"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
