//! The Kubernetes control plane, built once from the Go module `tests/envtest` and kept in the cache folder.
//! Holds: a folder that exists is complete, as it is built elsewhere and renamed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use super::lock;
use crate::{
    shell,
    workspace::{Workspace, cache},
};

/// Where the tests look for the control plane; set by a person, it replaces the build.
pub const VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// The four programs as the tests call them.
const PROGRAMS: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// The packages they are built from; the binary of the first comes out as `server`.
const PACKAGES: [&str; 4] = [
    "go.etcd.io/etcd/server/v3",
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-scheduler",
];

/// The folder with the four programs, built if it is missing.
///
/// # Errors
/// When Go is missing or the build fails.
pub fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(folder) = env::var_os(VARIABLE) {
        let folder = PathBuf::from(folder);
        if let Some(missing) = missing(&folder) {
            bail!("{VARIABLE}: there is no {missing} in {}", folder.display());
        }
        return Ok(folder);
    }
    let module = workspace.root().join("tests/envtest");
    let version = version(&module)?;
    let all = cache()?.join("envtest");
    fs::create_dir_all(&all).with_context(|| format!("create {}", all.display()))?;
    let folder = all.join(&version).join("bin");
    let _lock = lock(&all)?;
    if missing(&folder).is_some() {
        build(&module, &version, &all)?;
    }
    Ok(folder)
}

/// The first program that is not in the folder.
fn missing(folder: &Path) -> Option<&'static str> {
    PROGRAMS
        .into_iter()
        .find(|program| !folder.join(program).is_file())
}

/// The version of Kubernetes in the module file, as in `v1.36.3`.
fn version(module: &Path) -> Result<String> {
    let file = module.join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .map(str::to_owned)
        .with_context(|| format!("{} names no version of k8s.io/kubernetes", file.display()))
}

fn build(module: &Path, version: &str, all: &Path) -> Result<()> {
    if shell::find("go").is_none() {
        bail!(
            "set-up: Kubernetes: Go is not installed; install Go 1.21 or newer, or set {VARIABLE} to a folder with {}",
            PROGRAMS.join(", ")
        );
    }
    eprintln!(
        "set-up: Kubernetes {version} and etcd: building from source, once (about 10 minutes on 2 cores)"
    );
    let started = Instant::now();
    let unfinished = all.join(format!("{version}.unfinished"));
    let target = all.join(version);
    remove(&unfinished)?;
    let bin = unfinished.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    let mut go = Command::new("go");
    go.current_dir(module)
        .arg("build")
        .arg("-ldflags")
        .arg(format!(
            "-s -w -X k8s.io/component-base/version.gitVersion={version}"
        ))
        // The slash tells Go that this is a folder.
        .arg("-o")
        .arg(format!("{}/", bin.display()))
        .args(PACKAGES);
    shell::run_quietly(&mut go).context("set-up: Kubernetes: it does not build")?;
    fs::rename(bin.join("server"), bin.join("etcd")).context("name the binary of etcd")?;
    remove(&target)?;
    fs::rename(&unfinished, &target)
        .with_context(|| format!("move the build to {}", target.display()))?;
    eprintln!(
        "set-up: Kubernetes {version} and etcd: built in {} s",
        started.elapsed().as_secs()
    );
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}
