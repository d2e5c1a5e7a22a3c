//! Where the programs are that tests run: Kubernetes, sushy-tools and our own binaries.
//! In: the environment set by `cargo xtask test`; without it, the places where that command puts things.
//! Out: paths that exist, or one line that says what to do.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Folder with etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
const KUBERNETES: &str = "KUBEBUILDER_ASSETS";
/// The emulator's program inside its virtual environment.
const SUSHY: &str = "SUSHY_EMULATOR";
/// Folders with the binaries of this workspace, separated as in PATH.
const OURS: &str = "HOMELAB_BIN_DIR";
/// The module that pins the control plane; its version names the cache folder.
const ENVTEST_MODULE: &str = include_str!("../../envtest/go.mod");
/// The release of sushy-tools that the tests were written against; it names the cache folder.
const SUSHY_FOLDER: &str = "sushy-tools-2.2.0";

/// One of the four programs of the control plane.
///
/// # Errors
/// When it has not been built.
pub fn kubernetes(name: &str) -> Result<PathBuf> {
    let folder = match env::var_os(KUBERNETES) {
        Some(folder) => PathBuf::from(folder),
        None => cache()?.join("envtest").join(version()?).join("bin"),
    };
    existing(folder.join(name), "run `cargo xtask envtest`")
}

/// The Python interpreter that can import sushy-tools.
///
/// # Errors
/// When the virtual environment has not been made.
pub fn sushy_python() -> Result<PathBuf> {
    let emulator = match env::var_os(SUSHY) {
        Some(emulator) => PathBuf::from(emulator),
        None => cache()?.join(SUSHY_FOLDER).join("bin/sushy-emulator"),
    };
    let emulator = existing(emulator, "run `cargo xtask test`")?;
    existing(
        emulator.with_file_name("python3"),
        "SUSHY_EMULATOR must lie in a virtual environment",
    )
}

/// A binary of this workspace, such as `homelab-agent`.
///
/// # Errors
/// When it has not been built in the profile of the running program.
pub fn ours(name: &str) -> Result<PathBuf> {
    if let Some(folders) = env::var_os(OURS) {
        return env::split_paths(&folders)
            .map(|folder| folder.join(name))
            .find(|file| file.exists())
            .with_context(|| format!("there is no {name} in {OURS}={}", folders.display()));
    }
    let me = env::current_exe().context("find the running program")?;
    let folder = me.parent().context("a program lies in a folder")?;
    // Test programs lie in `deps`, one below the binaries.
    let folder = match folder.parent() {
        Some(above) if folder.ends_with("deps") => above,
        Some(_) | None => folder,
    };
    existing(folder.join(name), "run `cargo build --workspace --bins`")
}

fn existing(path: PathBuf, remedy: &str) -> Result<PathBuf> {
    if !path.exists() {
        bail!("there is no {}: {remedy}", path.display());
    }
    Ok(path)
}

/// The folder where `cargo xtask` keeps what it has built or fetched.
fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("homelab-autoscaler"))
}

/// The control plane's version, as in `v1.36.3`.
fn version() -> Result<&'static str> {
    ENVTEST_MODULE
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .context("envtest/go.mod names no version of k8s.io/kubernetes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_one_of_the_go_module() {
        assert!(version().unwrap().starts_with("v1."));
    }

    #[test]
    fn missing_binary_is_named_with_the_command_that_builds_it() {
        let error = ours("homelab-nothing").unwrap_err().to_string();
        assert!(
            error.contains("homelab-nothing: run `cargo build"),
            "{error}"
        );
    }
}
