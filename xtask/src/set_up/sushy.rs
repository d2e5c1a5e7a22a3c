//! sushy-tools, the Redfish emulator, in a virtual environment of its own in the cache folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::lock;
use crate::{shell, workspace::cache};

/// Where the tests look for the emulator; set by a person, it replaces the installation.
pub const VARIABLE: &str = "SUSHY_EMULATOR";
/// The release that the tests were written against.
const VERSION: &str = "2.2.0";
/// Written last: a virtual environment cannot be moved, so it is complete when it says so.
const COMPLETE: &str = "complete";

/// The emulator's program, installed if it is missing.
///
/// # Errors
/// When Python or the package index fails.
pub fn ensure() -> Result<PathBuf> {
    if let Some(emulator) = env::var_os(VARIABLE) {
        let emulator = PathBuf::from(emulator);
        if !emulator.is_file() {
            bail!("{VARIABLE}: there is no {}", emulator.display());
        }
        return Ok(emulator);
    }
    let folder = cache()?.join(format!("sushy-tools-{VERSION}"));
    let _lock = lock(&folder)?;
    if !folder.join(COMPLETE).is_file() {
        install(&folder)?;
    }
    Ok(folder.join("bin/sushy-emulator"))
}

fn install(folder: &Path) -> Result<()> {
    eprintln!("set-up: sushy-tools {VERSION}: installing with pip, once");
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let mut venv = Command::new("python3");
    shell::run_quietly(venv.args(["-m", "venv"]).arg(folder)).context("set-up: sushy-tools")?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(format!("sushy-tools=={VERSION}"));
    shell::run_quietly(&mut pip).context("set-up: sushy-tools")?;
    fs::write(folder.join(COMPLETE), "").context("mark sushy-tools as complete")
}
