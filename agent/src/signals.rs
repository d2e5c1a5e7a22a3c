//! The signals that end the agent: SIGTERM, and SIGINT from a terminal.
//! Holds: from the moment on that this exists, they wait to be taken and no longer end the process by themselves.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for a signal to end.
pub(crate) struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Must be called inside a tokio runtime.
    pub(crate) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when told to end.
    pub(crate) async fn recv(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
