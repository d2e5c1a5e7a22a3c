//! What is installed on hosts: the agent as one static file, for the architecture of this machine.
//! In: Rust's target with a C library of its own (musl), which rustup adds, and any C compiler. Out: `target/dist/homelab-agent`.
//! Holds: nothing is linked at run time, so it runs on every distribution, and no page of a shared library is counted as its memory.
//! Not here: coordinator and homelabctl, which an ordinary release build gives.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{shell, toolchain, workspace::Workspace};

/// The profile of the agent's own.
const PROFILE: &str = "release-agent";
/// The agent's program.
const PROGRAM: &str = "homelab-agent";

/// Builds the agent and says where it is.
///
/// # Errors
/// When the target cannot be had, or the build fails.
pub fn agent(workspace: &Workspace) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    ensure(workspace, &target)?;
    let mut build = workspace.cargo(["build", "--package", "agent", "--profile", PROFILE]);
    build.args(["--locked", "--bin", PROGRAM, "--target", &target]);
    for (name, value) in c_compiler(&target) {
        // Whoever has chosen a compiler keeps it.
        if env::var_os(&name).is_none() {
            build.env(name, value);
        }
    }
    shell::run(&mut build)?;
    let built = Path::new(&target).join(PROFILE).join(PROGRAM);
    let built = workspace
        .metadata
        .target_directory
        .as_std_path()
        .join(built);
    let folder = workspace.binaries("dist");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    // Beside it and then in its place: the old one may be running.
    let (beside, program) = (folder.join("homelab-agent.new"), folder.join(PROGRAM));
    fs::copy(&built, &beside).with_context(|| format!("copy {}", built.display()))?;
    fs::rename(&beside, &program).with_context(|| format!("replace {}", program.display()))?;
    Ok(program)
}

fn ensure(workspace: &Workspace, target: &str) -> Result<()> {
    if toolchain::has_target(workspace, target) {
        return Ok(());
    }
    eprintln!("dist: adding Rust's target {target} with rustup");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", target]);
    shell::run_quietly(rustup.current_dir(workspace.root())).with_context(|| {
        format!(
            "dist: Rust here has no standard library for {target}; for an agent that is linked to this system's C library: \
             cargo build --package agent --profile {PROFILE}"
        )
    })?;
    Ok(())
}

/// The C and assembler of the TLS library call nothing but `memcpy` and its like, which every C library has: so the system's
/// compiler will do, if it does not put calls to checks of its own C library in their place.
fn c_compiler(target: &str) -> [(String, &'static str); 2] {
    let suffix = target.replace('-', "_");
    [
        (format!("CC_{suffix}"), "cc"),
        (format!("CFLAGS_{suffix}"), "-U_FORTIFY_SOURCE"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_named_for_its_target_alone() {
        let names = c_compiler("x86_64-unknown-linux-musl").map(|(name, _)| name);
        assert_eq!(
            names,
            [
                "CC_x86_64_unknown_linux_musl",
                "CFLAGS_x86_64_unknown_linux_musl"
            ]
        );
    }
}
