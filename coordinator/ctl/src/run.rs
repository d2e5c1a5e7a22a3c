//! What each command does.
//!
//! In: arguments. Out: text on standard output, one line on standard error if it fails, an exit code.

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use clap::{Parser as _, error::ErrorKind};
use coordinator_crds::node_status::{Ask, AskVerb};

use crate::{
    agent_config,
    args::{Agent, Autoscaler, Cli, Command, Form, Node},
    ask, check,
    explain::{self, Picture},
    fault::CtlFault,
    node_init,
    source::Source,
    table,
};

/// Runs the program: 0 done, 1 refused, 64 wrong arguments, 69 nobody there, 75 left but not taken yet.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(fault) if !fault.use_stderr() => {
            // Help and version; if nobody can read them, nothing is lost.
            let _ = fault.print();
            return ExitCode::SUCCESS;
        }
        Err(fault) if fault.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let what = "say what to do, as in `homelabctl status`; --help lists everything";
            return fail(&CtlFault::Usage(what.to_owned()));
        }
        Err(fault) => return fail(&CtlFault::Usage(one_line(&fault))),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(fault) => {
            return fail(&CtlFault::Refused(format!(
                "the system gives no event loop: {fault}"
            )));
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fail(&fault),
    }
}

async fn run(cli: Cli) -> Result<(), CtlFault> {
    let source = Source::find(cli.place).await?;
    match cli.command {
        Command::Status { output } => status(&source, output).await,
        Command::Explain { node } => explain(&source, &node).await,
        Command::Check => check(&source).await,
        Command::Power(power) => {
            let (node, ask) = ask::power(power)?;
            leave(&source, &node, &ask).await
        }
        Command::Prove { node } => leave(&source, &node, &ask::new(AskVerb::Prove, None)?).await,
        Command::Agent(Agent::Config { name, into }) => {
            let access = source.access(&name).await?;
            match into {
                Some(folder) => agent_config::write(&access, &name, &folder).map_err(|fault| {
                    CtlFault::Refused(format!(
                        "--into {}: cannot be written: {fault}",
                        folder.display()
                    ))
                }),
                None => print(&agent_config::text(&access, &name)),
            }
        }
        Command::Autoscaler(Autoscaler::Config) => print(&source.cloud_config().await?),
        Command::Node(Node::Init { name, group }) => {
            let lab = source.lab().await?;
            print(&node_init::yaml(&lab, &name, &group)?)
        }
    }
}

async fn status(source: &Source, form: Form) -> Result<(), CtlFault> {
    let lab = source.lab().await?;
    match form {
        Form::Json => {
            let text = serde_json::to_string_pretty(&lab).map_err(|fault| {
                CtlFault::Refused(format!("the lab cannot be written as JSON: {fault}"))
            })?;
            print(&format!("{text}\n"))
        }
        Form::Table => {
            print(&table::render(&lab.nodes, lab.now_ms))?;
            if !lab.waiting_for.is_empty() {
                let line = format!(
                    "\nNothing is decided now: the coordinator waits for {}.\n",
                    lab.waiting_for
                );
                print(&line)?;
            }
            Ok(())
        }
    }
}

async fn explain(source: &Source, name: &str) -> Result<(), CtlFault> {
    let lab = source.lab().await?;
    let node = lab.machine(name)?;
    let told = source
        .told(&lab, node)
        .await
        .map_err(|fault| fault.to_string());
    let picture = Picture {
        now_ms: lab.now_ms,
        place: source.place(),
        node,
        group: lab.group_of(node),
        agent: lab.agent_of(node),
        told: told.as_deref().map_err(String::as_str),
        waiting_for: &lab.waiting_for,
        broker_up: lab.broker_up,
    };
    print(&explain::screen(&picture))
}

async fn check(source: &Source) -> Result<(), CtlFault> {
    let findings = check::judge(&source.facts().await?);
    print(&check::render(&findings))?;
    match check::failed(&findings) {
        0 => Ok(()),
        failed => Err(CtlFault::Failed {
            failed,
            of: findings.len(),
        }),
    }
}

async fn leave(source: &Source, node: &str, ask: &Ask) -> Result<(), CtlFault> {
    source.ask(node, ask).await?;
    print(&format!("asked: {}\n", ask::words(ask, node)))
}

fn print(text: &str) -> Result<(), CtlFault> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CtlFault::Output)
}

fn fail(fault: &CtlFault) -> ExitCode {
    // Standard error may be closed; the exit code tells the same.
    let _ = writeln!(std::io::stderr(), "homelabctl: {fault}");
    ExitCode::from(fault.code())
}

/// What clap has against the arguments, without its usage text.
fn one_line(fault: &clap::Error) -> String {
    let text = fault.to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let line = lines.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}
