//! A temporary folder of one started service: its configuration, data and logs.
//! Holds: it is gone when its owner is, unless the test panicked or `HOMELAB_TEST_KEEP` is set; then its path is printed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Set to anything to keep every folder after the test.
const KEEP: &str = "HOMELAB_TEST_KEEP";

/// A folder in the system's temporary directory.
#[derive(Debug)]
pub struct WorkDir {
    /// `None` only while dropping.
    folder: Option<TempDir>,
    path: PathBuf,
}

impl WorkDir {
    /// Makes an empty folder whose name starts with `name`.
    ///
    /// # Errors
    /// When the temporary directory cannot be written.
    pub fn new(name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("homelab-{name}-"))
            .tempdir()
            .with_context(|| format!("make a temporary folder for {name}"))?;
        let path = folder.path().to_owned();
        Ok(Self {
            folder: Some(folder),
            path,
        })
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside the folder; the file need not exist.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file, with the folders above it, and returns its path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.file(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let keep = std::thread::panicking() || std::env::var_os(KEEP).is_some();
        if let Some(folder) = self.folder.take()
            && keep
        {
            let kept = folder.keep();
            #[expect(
                clippy::print_stderr,
                reason = "whoever reads the failed test needs the path"
            )]
            {
                eprintln!("kept {}", kept.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_goes_with_its_owner() {
        let work = WorkDir::new("gone").unwrap();
        let file = work.write("a/b.txt", "text").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "text");
        let folder = work.path().to_owned();
        drop(work);
        assert_eq!(folder.exists(), std::env::var_os(KEEP).is_some());
    }
}
