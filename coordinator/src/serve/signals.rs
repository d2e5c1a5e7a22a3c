//! The signals that end the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::RunFault;

/// The signals that end the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, RunFault> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(RunFault::Runtime)?,
            interrupt: signal(SignalKind::interrupt()).map_err(RunFault::Runtime)?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
