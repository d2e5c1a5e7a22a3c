//! The workspace as cargo sees it, and the folder where built tools are kept.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// Crates that must compile without the standard library.
pub const NO_STD: [&str; 3] = ["agent-core", "coordinator-core", "proto-mqtt"];

/// What cargo knows about this repository.
pub struct Workspace {
    /// Packages and who depends on whom.
    pub metadata: Metadata,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub fn load() -> Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
            .exec()
            .context("read the workspace with cargo metadata")?;
        Ok(Self { metadata })
    }

    /// The repository's top folder.
    pub fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    /// Where the binaries of a profile are built.
    pub fn binaries(&self, profile: &str) -> PathBuf {
        self.metadata.target_directory.join(profile).into()
    }

    /// The cargo that runs this program, in the repository's top folder.
    pub fn cargo<const N: usize>(&self, args: [&str; N]) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(args).current_dir(self.root());
        command
    }
}

/// The user's cache folder for this project, created if missing.
///
/// # Errors
/// When there is no home folder, or it cannot be written.
pub fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let folder = base.join("homelab-autoscaler");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}
