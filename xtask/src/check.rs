//! Everything that can be said about the source without running it, one line for each step.
//! Holds: the first failure ends the run and names the command that repeats it alone.

pub mod arrows;
pub mod tidy;

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{
    codegen, shell, toolchain,
    workspace::{NO_STD, Workspace},
};

/// Target without operating system, where the standard library is out of reach.
const BARE: &str = "x86_64-unknown-none";

/// How a step ended well.
enum Outcome {
    Done,
    Skipped(&'static str),
}

/// One step: its name and what it does.
type Step = (&'static str, fn(&Workspace) -> Result<Outcome>);

/// The steps, quick ones first.
const STEPS: [Step; 8] = [
    ("format", format),
    ("tidy", tidy),
    ("arrows", arrows),
    ("deny", deny),
    ("clippy", clippy),
    ("docs", docs),
    ("alone", alone),
    ("generated", generated),
];

/// Runs the named steps, or all of them.
///
/// # Errors
/// When a step fails, or there is none of that name.
pub fn run(workspace: &Workspace, names: &[String]) -> Result<()> {
    let known = STEPS.map(|(name, _)| name);
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!(
            "there is no step {unknown}; the steps are {}",
            known.join(", ")
        );
    }
    for (name, step) in STEPS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let started = Instant::now();
        let outcome = step(workspace)
            .with_context(|| format!("check failed; repeat with `cargo xtask check {name}`"))?;
        let seconds = started.elapsed().as_secs_f32();
        match outcome {
            Outcome::Done => println!("check {name:<9} ok {seconds:>7.1} s"),
            Outcome::Skipped(why) => println!("check {name:<9} skipped: {why}"),
        }
    }
    Ok(())
}

fn format(workspace: &Workspace) -> Result<Outcome> {
    shell::run(&mut workspace.cargo(["fmt", "--all", "--check"]))?;
    Ok(Outcome::Done)
}

fn tidy(workspace: &Workspace) -> Result<Outcome> {
    tidy::check(workspace)?;
    Ok(Outcome::Done)
}

fn arrows(workspace: &Workspace) -> Result<Outcome> {
    arrows::check(workspace)?;
    Ok(Outcome::Done)
}

fn deny(workspace: &Workspace) -> Result<Outcome> {
    if !shell::succeeds(&mut workspace.cargo(["deny", "--version"])) {
        return Ok(Outcome::Skipped("cargo-deny is not installed"));
    }
    shell::run(&mut workspace.cargo([
        "deny",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))?;
    Ok(Outcome::Done)
}

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    shell::run(&mut workspace.cargo([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(Outcome::Done)
}

fn docs(workspace: &Workspace) -> Result<Outcome> {
    let mut cargo = workspace.cargo(["doc", "--quiet", "--no-deps", "--workspace"]);
    shell::run(cargo.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Done)
}

/// Compiles the crates without standard library one by one, so that no other crate lends them a feature, and for a bare machine
/// where that target is installed.
fn alone(workspace: &Workspace) -> Result<Outcome> {
    for name in NO_STD {
        shell::run(&mut workspace.cargo(["check", "--quiet", "--package", name]))?;
    }
    if !toolchain::has_target(workspace, BARE) {
        return Ok(Outcome::Skipped(
            "the crates compile by themselves, but for a bare machine only after `rustup target add x86_64-unknown-none`",
        ));
    }
    for name in NO_STD {
        shell::run(&mut workspace.cargo([
            "check",
            "--quiet",
            "--package",
            name,
            "--target",
            BARE,
        ]))?;
    }
    Ok(Outcome::Done)
}

fn generated(workspace: &Workspace) -> Result<Outcome> {
    codegen::compare(workspace)?;
    Ok(Outcome::Done)
}
