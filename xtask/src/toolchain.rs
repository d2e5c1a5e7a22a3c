//! The Rust compiler that is in use: for what it compiles, and for what else it could.

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{shell, workspace::Workspace};

/// The target for which it compiles where none is named.
///
/// # Errors
/// When there is no compiler, or it does not say.
pub fn host(workspace: &Workspace) -> Result<String> {
    let told = shell::run_quietly(rustc(workspace).arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// Whether the standard library, or for a bare machine its core, is there for a target.
pub fn has_target(workspace: &Workspace, target: &str) -> bool {
    let mut rustc = rustc(workspace);
    rustc.args(["--print", "target-libdir", "--target", target]);
    shell::run_quietly(&mut rustc).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Asked in the repository's folder, because the version is pinned there.
fn rustc(workspace: &Workspace) -> Command {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.current_dir(workspace.root());
    rustc
}
