//! The coordinator: the shell around `coordinator-core`.
//! In: the command line, gRPC, MQTT, Kubernetes or a folder. Out: commands for agents, stored state, answers.
//! Holds: one ring, in which nothing calls backwards; what happened comes back as a fact.
//! Not here: any decision about a machine (`coordinator-core`).
//!
//! ```text
//! inputs ─Fact→ engine [ core ] ─Action→ outputs
//!                  └─View→ inputs/autoscaler, admin
//! ```

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

pub mod admin;
pub mod args;
#[cfg(feature = "embedded-broker")]
pub mod broker;
mod certificates;
pub mod clock;
pub mod documents;
pub mod engine;
pub mod inputs;
pub mod mandate;
pub mod metrics;
pub mod outputs;
mod serve;
mod supervise;

/// Exit code for a configuration that cannot be used (sysexits' EX_USAGE).
const EX_USAGE: u8 = 64;

/// Runs the program and tells how it went: 0 after a stop by signal, 64 for a configuration that cannot be used, 1 for
/// anything else.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let settings = match args::Cli::try_parse_from(arguments) {
        Ok(cli) => cli.settings().map_err(|fault| fault.to_string()),
        Err(fault) if !fault.use_stderr() => {
            // Help and version are no faults; if nobody can read them, nothing is lost.
            let _ = fault.print();
            return ExitCode::SUCCESS;
        }
        Err(fault) => Err(one_line(&fault)),
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(line) => return refuse(&line),
    };
    match serve::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) if fault.is_configuration() => refuse(&chain(&fault)),
        Err(fault) => {
            tracing::error!(fault = chain(&fault), "coordinator ended");
            ExitCode::FAILURE
        }
    }
}

/// One line on standard error, and the exit code that goes with it.
fn refuse(line: &str) -> ExitCode {
    // Standard error may be closed; the exit code tells the same.
    let _ = writeln!(std::io::stderr(), "homelab-coordinator: {line}");
    ExitCode::from(EX_USAGE)
}

/// An error with all its causes, in one line.
fn chain(fault: &dyn std::error::Error) -> String {
    let mut line = fault.to_string();
    let mut cause = fault.source();
    while let Some(fault) = cause {
        line.push_str(": ");
        line.push_str(&fault.to_string());
        cause = fault.source();
    }
    line
}

/// What clap has against the arguments, without its usage text.
fn one_line(fault: &clap::Error) -> String {
    let text = fault.to_string();
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let line = lines.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    if line.is_empty() {
        "see --help".to_owned()
    } else {
        line.to_owned()
    }
}
