//! What is logged and where: lines for people on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Quiet unless asked for: the embedded broker reports each closed connection as an error.
const BASE: &str = "rumqttd=off";

/// Starts logging with directives that were checked before. A second start in one process changes nothing.
pub(super) fn start(directives: &str) {
    let filter = EnvFilter::new(format!("{BASE},{directives}"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
    // Only tests run several coordinators in one process.
    drop(started);
}
