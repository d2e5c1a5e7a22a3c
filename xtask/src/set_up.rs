//! What the tests need beyond cargo: Kubernetes, mosquitto, sushy-tools.
//! Out: environment variables that tell the tests where things are.
//! Holds: nothing is fetched or built twice; what cannot be had is said in one line with the way to get it by hand.

pub mod envtest;
pub mod packages;
pub mod sushy;

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// A variable for the tests, and its value.
type Variable = (&'static str, OsString);

/// The last line when a part is missing; its own line stands above.
const FAILED: &str = "the set-up failed; see the error above";

/// Sets everything up, with `build` running beside it.
///
/// # Errors
/// When a part cannot be set up, which has been said in a line of its own by then; or the build's.
pub fn tools(workspace: &Workspace, build: impl FnOnce() -> Result<()>) -> Result<Vec<Variable>> {
    thread::scope(|scope| {
        let kubernetes = scope.spawn(|| told(envtest::ensure(workspace)));
        let sushy = scope.spawn(|| told(packages::ensure().and_then(|()| sushy::ensure())));
        let built = build();
        let kubernetes = kubernetes.join().ok().flatten();
        let sushy = sushy.join().ok().flatten();
        built?;
        Ok(vec![
            (envtest::VARIABLE, kubernetes.context(FAILED)?.into()),
            (sushy::VARIABLE, sushy.context(FAILED)?.into()),
        ])
    })
}

/// Says at once what failed: the build that runs beside it may take minutes more.
fn told(outcome: Result<PathBuf>) -> Option<PathBuf> {
    outcome
        .inspect_err(|error| eprintln!("error: {error:#}"))
        .ok()
}

/// Lets one process at a time work on `target`; released when the value is dropped or the process ends.
fn lock(target: &Path) -> Result<File> {
    let mut path = target.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}
