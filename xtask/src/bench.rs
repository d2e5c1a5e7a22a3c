//! Benchmarks: release builds of what is measured, then the program that measures.

use std::{env, ffi::OsString, process::Command};

use anyhow::{Context, Result};

use crate::{dist, set_up, shell, workspace::Workspace};

/// Builds, measures and prints JSON.
///
/// # Errors
/// When a build or a benchmark fails.
pub fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    let tools = set_up::tools(workspace, || {
        // Each package by itself: what is measured must not carry features that only the tests ask for. Agent and coordinator
        // are those of the image, the latter without the embedded broker. Cargo puts what profile bench gives beside what
        // release gives.
        dist::agent(workspace)?;
        dist::coordinator(workspace)?;
        let programs = "--package tests --profile bench --bin hollow-host --bin bench";
        shell::run(workspace.cargo(["build"]).args(programs.split(' ')))
    })?;
    let folders = ["dist", "release"].map(|profile| workspace.binaries(profile));
    let folders = env::join_paths(folders).context("join the folders of binaries")?;
    let mut bench = Command::new(workspace.binaries("release").join("bench"));
    bench.args(args).env("HOMELAB_BIN_DIR", folders).envs(tools);
    shell::run(&mut bench)
}
