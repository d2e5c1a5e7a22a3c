//! The demo: build, then become it, so that Ctrl-C and the exit code are its own.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{shell, workspace::Workspace};

/// Builds what the demo starts and replaces this process by it.
///
/// # Errors
/// When the build fails or the demo cannot be started; otherwise it does not return.
pub fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    // Without naming packages, so that dependencies get the same features as in the build of the whole workspace.
    shell::run(&mut workspace.cargo([
        "build",
        "--bin",
        "homelab-coordinator",
        "--bin",
        "homelab-agent",
        "--bin",
        "demo",
    ]))?;
    let demo = workspace.binaries("debug").join("demo");
    let error = Command::new(&demo).args(args).exec();
    Err(error).with_context(|| format!("start {}", demo.display()))
}
