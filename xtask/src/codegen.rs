//! Generated files: the page of the autoscaler's contract, custom resources and whatever else the crates can print about themselves.
//! Not here: their content. That of the page is in `contract::page`; the rest the binary `codegen` of the crate `tests` knows, so that
//! this one builds quickly.

use std::process::Command;

use anyhow::Result;

use crate::{contract::page, shell, workspace::Workspace};

/// Writes every generated file.
///
/// # Errors
/// When the crates do not build, or a file cannot be written.
pub fn write(workspace: &Workspace) -> Result<()> {
    page::write(workspace)?;
    shell::run(&mut generator(workspace))
}

/// Compares every generated file with what would be written.
///
/// # Errors
/// When one differs.
pub fn compare(workspace: &Workspace) -> Result<()> {
    page::compare(workspace)?;
    shell::run(generator(workspace).arg("--check"))
}

fn generator(workspace: &Workspace) -> Command {
    // Without naming the package, so that dependencies get the same features as in the build of the whole workspace.
    workspace.cargo(["run", "--quiet", "--bin", "codegen", "--"])
}
