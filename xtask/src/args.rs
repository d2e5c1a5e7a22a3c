//! The command line: which command, with which arguments.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::Parser;

use crate::{bench, check, codegen, demo, dist, fuzz, set_up::envtest, test, workspace::Workspace};

/// Developer commands of homelab-autoscaler.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
enum Command {
    /// Everything that needs no running program: format, lints, docs, arrows, generated files.
    Check {
        /// Only these steps, by name; all of them by default.
        steps: Vec<String>,
    },
    /// Install or build what the tests need, then run every test; after `contract`, those of the autoscaler's contract with a table.
    #[command(trailing_var_arg = true)]
    Test {
        /// Parts of test names, or options of the test programs; everything by default.
        #[arg(allow_hyphen_values = true)]
        filters: Vec<OsString>,
    },
    /// Build the Kubernetes control plane that the tests use, once, and print where it is.
    Envtest,
    /// Build and run the lab in a terminal.
    #[command(trailing_var_arg = true, disable_help_flag = true)]
    Demo {
        /// Arguments of the demo; `--for 30s` ends it by itself.
        #[arg(allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build what is installed, for this architecture, and print where it is: the agent is one static file.
    Dist {
        /// Only this program; both by default.
        program: Option<dist::Program>,
    },
    /// Write the generated files.
    Codegen,
    /// Feed every decoder with made-up input, guided by coverage; needs a C++ compiler.
    Fuzz {
        /// Only these decoders, by name; all of them by default.
        targets: Vec<String>,
        /// For how long each.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Measure a release build and print the numbers as JSON.
    #[command(trailing_var_arg = true)]
    Bench {
        /// One benchmark, all of them by default; after `autoscaler` perhaps `--nodes 1000,5000`, `--loops 5`, `--many-loops 100`.
        #[arg(allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Runs the command of this process' command line.
pub fn run() -> ExitCode {
    match dispatch(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    let workspace = Workspace::load()?;
    match command {
        Command::Check { steps } => check::run(&workspace, &steps),
        Command::Test { filters } => test::run(&workspace, &filters),
        Command::Envtest => {
            println!("{}", envtest::ensure(&workspace)?.display());
            Ok(())
        }
        Command::Demo { args } => demo::run(&workspace, &args),
        Command::Dist { program } => {
            for built in dist::run(&workspace, program)? {
                println!("{}", built.display());
            }
            Ok(())
        }
        Command::Codegen => codegen::write(&workspace),
        Command::Fuzz { targets, seconds } => fuzz::run(&workspace, &targets, seconds),
        Command::Bench { args } => bench::run(&workspace, &args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_takes_its_own_options_as_they_are() {
        let line = ["cargo xtask", "demo", "--for", "30s", "--help"];
        let Command::Demo { args } = Command::try_parse_from(line).unwrap() else {
            panic!("not the demo");
        };
        assert_eq!(args, ["--for", "30s", "--help"]);
    }

    #[test]
    fn test_filters_may_be_options() {
        let line = ["cargo xtask", "test", "wakes", "--ignored"];
        let Command::Test { filters } = Command::try_parse_from(line).unwrap() else {
            panic!("not the tests");
        };
        assert_eq!(filters, ["wakes", "--ignored"]);
    }
}
