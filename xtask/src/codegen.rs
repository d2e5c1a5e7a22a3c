//! Generated files: custom resources and whatever else the crates can print about themselves.
//! Not here: their content; the binary `codegen` of the crate `tests` knows it, so that this one builds quickly.

use std::process::Command;

use anyhow::Result;

use crate::{shell, workspace::Workspace};

/// Writes every generated file.
///
/// # Errors
/// When the crates do not build, or a file cannot be written.
pub fn write(workspace: &Workspace) -> Result<()> {
    shell::run(&mut generator(workspace))
}

/// Compares every generated file with what would be written.
///
/// # Errors
/// When one differs.
pub fn compare(workspace: &Workspace) -> Result<()> {
    shell::run(generator(workspace).arg("--check"))
}

fn generator(workspace: &Workspace) -> Command {
    // Without naming the package, so that dependencies get the same features as in the build of the whole workspace.
    workspace.cargo(["run", "--quiet", "--bin", "codegen", "--"])
}
