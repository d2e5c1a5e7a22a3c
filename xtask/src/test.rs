//! All tests: set up what they need, build, run.

use std::ffi::OsString;

use anyhow::Result;

use crate::{contract, set_up, shell, workspace::Workspace};

/// As the first filter: only the checks of the autoscaler's contract, with a table.
const CONTRACT: &str = "contract";

/// Sets up, builds all binaries and tests, and runs the tests whose names contain one of `filters`.
///
/// # Errors
/// When something cannot be set up, does not build, or a test fails.
pub fn run(workspace: &Workspace, filters: &[OsString]) -> Result<()> {
    if let [first, of_contract @ ..] = filters
        && first == CONTRACT
    {
        return contract::run::run(workspace, of_contract);
    }
    let tools = set_up::tools(workspace, || {
        shell::run(&mut workspace.cargo(["build", "--workspace", "--bins"]))?;
        shell::run(&mut workspace.cargo(["test", "--workspace", "--no-run", "--quiet"]))
    })?;
    let mut tests = workspace.cargo(["test", "--workspace", "--no-fail-fast", "--"]);
    shell::run(tests.args(filters).envs(tools))
}
