//! Fuzzing: every decoder of what comes from outside, guided by coverage, on the pinned stable toolchain.
//! In: the crate `tests/fuzz` with its seeds. Out: inputs that make a decoder fail, in its folder `found`, where a test runs them again.
//! Not here: the decoders and what they promise.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{shell, toolchain, workspace::Workspace};

/// What instruments the code for libFuzzer. Sanitizers would need a nightly compiler, and the workspace has no unsafe code.
const INSTRUMENTED: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cforce-frame-pointers=yes",
];
/// Longest input, in bytes: a little more than the largest payload over MQTT.
const LONGEST: u32 = 10_000;
/// Seconds for one input; slower is a fault.
const SLOWEST: u32 = 5;
/// Memory that a decoder may take, in MiB.
const MOST_MEMORY: u32 = 1_024;

/// Fuzzes the named decoders, or all of them, for so many seconds each.
///
/// # Errors
/// When it does not build, there is no such decoder, or one fails.
pub fn run(workspace: &Workspace, names: &[String], seconds: u32) -> Result<()> {
    let crate_folder = workspace.root().join("tests/fuzz");
    let targets = targets(&crate_folder)?;
    if let Some(unknown) = names.iter().find(|name| !targets.contains(name)) {
        bail!(
            "there is no target {unknown}; there are {}",
            targets.join(", ")
        );
    }
    let program = build(workspace)?;
    let mut failed = Vec::new();
    for name in targets {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        let log = program.with_file_name(format!("{name}.log"));
        let told = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut fuzzer = fuzzer(&program, &crate_folder, &name, seconds)?;
        match shell::run(fuzzer.stderr(told)) {
            Ok(()) => println!("fuzz {name:<20} ok {:>10} inputs", executed(&log)?),
            Err(_) => {
                println!("fuzz {name:<20} FAILED, see {}", log.display());
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!(
            "failed: {}; the inputs are in tests/fuzz/found, and `cargo test -p fuzz` runs them again",
            failed.join(", ")
        );
    }
    Ok(())
}

/// Each target has a folder of seeds; a test of the crate sees to that.
fn targets(crate_folder: &Path) -> Result<Vec<String>> {
    let seeds = crate_folder.join("seeds");
    let folders = fs::read_dir(&seeds).with_context(|| format!("read {}", seeds.display()))?;
    let mut names = Vec::new();
    for folder in folders {
        names.push(folder?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Builds into a folder of its own, so that other builds keep what they have.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let host = toolchain::host(workspace)?;
    let folder = workspace.metadata.target_directory.join("fuzz");
    let mut build = workspace.cargo(["build", "--package", "fuzz", "--features", "libfuzzer"]);
    // With a target named, build scripts and macros stay as they are.
    build.args(["--profile", "fuzz", "--target", &host]);
    build.arg("--target-dir").arg(&folder);
    build.env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTED.join("\u{1f}"));
    shell::run(&mut build)?;
    Ok(folder.join(&host).join("fuzz/fuzz").into())
}

/// How many inputs the fuzzer has tried, as it says at its end.
fn executed(log: &Path) -> Result<String> {
    const STAT: &str = "stat::number_of_executed_units:";
    let told = fs::read(log).with_context(|| format!("read {}", log.display()))?;
    let told = String::from_utf8_lossy(&told).into_owned();
    let number = told.lines().find_map(|line| line.strip_prefix(STAT));
    Ok(number
        .context("the fuzzer counts nothing")?
        .trim()
        .to_owned())
}

fn fuzzer(program: &Path, crate_folder: &Path, name: &str, seconds: u32) -> Result<Command> {
    let beside = |kind: &str| crate_folder.join(kind).join(name);
    // What is learned stays out of the repository; what fails goes into it.
    let program_folder = program.parent().unwrap_or(program);
    let learned = program_folder.join("corpus").join(name);
    for folder in [&learned, &beside("found")] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let mut fuzzer = Command::new(program);
    fuzzer
        .env("FUZZ_TARGET", name)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-timeout={SLOWEST}"))
        .arg(format!("-rss_limit_mb={MOST_MEMORY}"))
        .arg(format!("-artifact_prefix={}/", beside("found").display()))
        .args(["-print_final_stats=1", "-use_value_profile=1"])
        .args([learned, beside("seeds")]);
    Ok(fuzzer)
}
