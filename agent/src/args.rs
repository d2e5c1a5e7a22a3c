//! The command line.
//! Out: exit code 0, 1 if something failed or is not right at this moment, 64 if the command line or the configuration is
//! wrong.

use crate::{check, run, wake};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use hardware::MacAddress;
use std::io::{IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing::Level;

/// What the BSD convention calls a usage error; also for a wrong configuration.
pub(crate) const EXIT_USAGE: u8 = 64;

/// Carries out power commands on this host, and as a relay on the machines around it.
#[derive(Debug, Parser)]
#[command(name = "homelab-agent", version)]
struct Args {
    /// The configuration.
    #[arg(
        long,
        global = true,
        env = "HOMELAB_AGENT_CONFIG",
        default_value = "/etc/homelab-agent/agent.toml"
    )]
    config: PathBuf,
    /// Log at most error, warn, info, debug or trace; by default info for `run`, and only errors otherwise.
    #[arg(long, global = true, env = "HOMELAB_AGENT_LOG")]
    log: Option<Level>,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Connect to the broker and obey the coordinator.
    Run,
    /// Send one train of magic packets from this host and tell what left where; fails if nothing could leave.
    Wake {
        /// The MAC address of the sleeping machine's network card.
        mac: MacAddress,
        /// The network card to send by; by default every one that is up.
        #[arg(long)]
        interface: Option<String>,
        /// The only destination address.
        #[arg(long)]
        broadcast: Option<Ipv4Addr>,
    },
    /// Look at configuration, files, broker, network cards and permissions; one line each. Ends with 64 if the
    /// configuration is wrong, with 1 if something else is not right at this moment.
    Check,
}

/// Runs the process.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let quiet = !matches!(args.task, Task::Run);
    let level = args
        .log
        .unwrap_or(if quiet { Level::ERROR } else { Level::INFO });
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, ExitCode::FAILURE),
    };
    let code = runtime.block_on(async {
        match args.task {
            Task::Run => run::run(&args.config).await,
            Task::Wake {
                mac,
                interface,
                broadcast,
            } => wake::wake(mac, interface, broadcast).await,
            Task::Check => check::check(&args.config).await,
        }
    });
    // A name that is still being looked up must not hold the end.
    runtime.shutdown_background();
    code
}

fn usage(error: &clap::Error) -> ExitCode {
    // A closed terminal is no reason to fail differently.
    let _ = error.print();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(EXIT_USAGE)
}

/// One line on standard error.
pub(crate) fn complain(error: &dyn std::error::Error, code: ExitCode) -> ExitCode {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    let _ = writeln!(std::io::stderr(), "{}", line.replace('\n', " "));
    code
}
