//! Benchmarks: release builds of what is measured, then the program that measures.

use std::{env, ffi::OsStr, process::Command};

use anyhow::{Context, Result};

use crate::{set_up, shell, workspace::Workspace};

/// Builds, measures and prints JSON.
///
/// # Errors
/// When a build or a benchmark fails.
pub fn run(workspace: &Workspace, name: Option<&OsStr>) -> Result<()> {
    let tools = set_up::tools(workspace, || {
        // Each package by itself: what is measured must not carry features that only the tests ask for. The agent has a
        // profile of its own, made for size.
        for (package, profile, binaries) in [
            ("agent", "release-agent", ["homelab-agent"].as_slice()),
            ("coordinator", "release", &["homelab-coordinator"]),
            ("tests", "release", &["hollow-host", "bench"]),
        ] {
            let mut build = workspace.cargo(["build", "--package", package, "--profile", profile]);
            build.args(binaries.iter().flat_map(|binary| ["--bin", binary]));
            shell::run(&mut build)?;
        }
        Ok(())
    })?;
    let folders = ["release-agent", "release"].map(|profile| workspace.binaries(profile));
    let folders = env::join_paths(folders).context("join the folders of binaries")?;
    let mut bench = Command::new(workspace.binaries("release").join("bench"));
    bench.args(name).env("HOMELAB_BIN_DIR", folders).envs(tools);
    shell::run(&mut bench)
}
