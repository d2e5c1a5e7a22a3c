//! What is installed, for the architecture of this machine: the agent as one static file, the coordinator without the broker for trials.
//! In: Rust's target with a C library of its own (musl), which rustup adds, and any C compiler. Out: programs in `target/dist`.
//! Holds: nothing is linked to the agent at run time, so it runs on every distribution, and no page of a shared library is counted as its
//! memory. The coordinator is for systems whose C library is no older than the one here.
//! Not here: homelabctl, which an ordinary release build gives.

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
/// The coordinator's.
const COORDINATOR: &str = "homelab-coordinator";
/// The C library whose loader reads relocations in packed form, as `getconf` tells it. They are read whole at each start, so their
/// size counts as resident memory: 1.7 MiB less of it for the coordinator.
const PACKS_RELOCATIONS: (u32, u32) = (2, 36);
/// Rust's targets for one static file, by architecture. Which 32-bit ARM it is, the architecture does not say: the oldest with a unit
/// for floating point runs on all that have one.
const STATIC: [(&str, &str); 5] = [
    ("x86_64", "x86_64-unknown-linux-musl"),
    ("aarch64", "aarch64-unknown-linux-musl"),
    ("arm", "arm-unknown-linux-musleabihf"),
    ("x86", "i686-unknown-linux-musl"),
    ("riscv64", "riscv64gc-unknown-linux-musl"),
];

/// What can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Program {
    /// The agent.
    Agent,
    /// The coordinator.
    Coordinator,
}

/// Builds one program or both, and says where they are.
///
/// # Errors
/// When a build fails.
pub fn run(workspace: &Workspace, program: Option<Program>) -> Result<Vec<PathBuf>> {
    let programs = program.map_or_else(
        || vec![Program::Agent, Program::Coordinator],
        |one| vec![one],
    );
    let built = programs.into_iter().map(|program| match program {
        Program::Agent => agent(workspace),
        Program::Coordinator => coordinator(workspace),
    });
    built.collect()
}

/// Builds the agent and says where it is.
///
/// # Errors
/// When there is no target for this machine, or it cannot be had, or the build fails.
pub fn agent(workspace: &Workspace) -> Result<PathBuf> {
    let target = static_target(env::consts::ARCH)?;
    ensure(workspace, target)?;
    let mut build = workspace.cargo(["build", "--package", "agent", "--profile", PROFILE]);
    build.args(["--locked", "--bin", PROGRAM, "--target", target]);
    for (name, value) in c_compiler(target) {
        // Whoever has chosen a compiler keeps it.
        if env::var_os(&name).is_none() {
            build.env(name, value);
        }
    }
    shell::run(&mut build)?;
    let built = Path::new(target).join(PROFILE).join(PROGRAM);
    let built = workspace
        .metadata
        .target_directory
        .as_std_path()
        .join(built);
    install(workspace, &built, PROGRAM)
}

/// The target for one static file on this architecture.
fn static_target(arch: &str) -> Result<&'static str> {
    let known = STATIC.iter().find(|(name, _)| *name == arch);
    let known = known.map(|(_, target)| *target);
    known.with_context(|| {
        let archs = STATIC.map(|(name, _)| name).join(", ");
        format!(
            "dist: there is no static agent for {arch}, only for {archs}; {}",
            linked_instead()
        )
    })
}

/// What else can be done.
fn linked_instead() -> String {
    format!(
        "for an agent that is linked to this system's C library: cargo build --package agent --profile {PROFILE}"
    )
}

/// Builds the coordinator and says where it is.
///
/// # Errors
/// When the build fails.
pub fn coordinator(workspace: &Workspace) -> Result<PathBuf> {
    let mut build = workspace.cargo(["rustc", "--package", "coordinator", "--release"]);
    build.args(["--locked", "--no-default-features", "--bin", COORDINATOR]);
    let version = shell::run_quietly(Command::new("getconf").arg("GNU_LIBC_VERSION"));
    if version.is_ok_and(|version| packs_relocations(&version)) {
        build.args(["--", "-C", "link-arg=-Wl,-z,pack-relative-relocs"]);
    }
    shell::run(&mut build)?;
    install(
        workspace,
        &workspace.binaries("release").join(COORDINATOR),
        COORDINATOR,
    )
}

/// Whether a C library, as in `glibc 2.41`, loads programs with packed relocations.
fn packs_relocations(version: &str) -> bool {
    let number = version.trim().strip_prefix("glibc ");
    let parsed = number.and_then(|number| {
        let (major, minor) = number.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    parsed.is_some_and(|version| version >= PACKS_RELOCATIONS)
}

fn install(workspace: &Workspace, built: &Path, name: &str) -> Result<PathBuf> {
    let folder = workspace.binaries("dist");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    // Beside it and then in its place: the old one may be running.
    let (beside, program) = (folder.join(format!("{name}.new")), folder.join(name));
    fs::copy(built, &beside).with_context(|| format!("copy {}", built.display()))?;
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
            "dist: Rust here has no standard library for {target}; {}",
            linked_instead()
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
    fn packed_relocations_are_for_loaders_that_read_them() {
        for (version, packs) in [
            ("glibc 2.41\n", true),
            ("glibc 2.36", true),
            ("glibc 2.35", false),
            ("glibc 3.0", true),
            ("musl", false),
            ("glibc", false),
            ("", false),
        ] {
            assert_eq!(packs_relocations(version), packs, "{version:?}");
        }
    }

    #[test]
    fn the_target_of_this_machine_is_known_and_an_unknown_architecture_is_told_those_that_are() {
        let target = static_target(env::consts::ARCH).expect("known");
        assert!(target.contains("-unknown-linux-musl"), "{target}");
        let refused = static_target("sparc64").expect_err("unknown").to_string();
        let told = "no static agent for sparc64, only for x86_64, aarch64, arm, x86, riscv64; for an agent that";
        assert!(refused.contains(told), "{refused}");
    }

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
