//! Writes the generated files of the repository, or compares them with `--check`.
//! In: what the crates print about themselves. Out: files below the repository's top folder; exit code 1 if one is stale.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, bail};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [] => write(),
        [check] if check == "--check" => compare(),
        other => Err(anyhow!(
            "unknown arguments {other:?}; the only option is --check"
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a command line tool")]
            {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<()> {
    for (path, content) in generated() {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn compare() -> Result<()> {
    let stale: Vec<String> = generated()
        .filter(|(path, content)| fs::read_to_string(path).ok().as_ref() != Some(content))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if !stale.is_empty() {
        bail!(
            "not up to date: {}; run `cargo xtask codegen`",
            stale.join(", ")
        );
    }
    Ok(())
}

/// Every generated file with its full path.
fn generated() -> impl Iterator<Item = (PathBuf, String)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent().unwrap_or(here);
    coordinator_crds::generated_files()
        .into_iter()
        .map(|(path, content)| (root.join(path), content))
}
