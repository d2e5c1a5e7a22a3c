//! The files of a lab's folder: which ones count, what they say, whether they have changed.
//!
//! Holds: only `*.yaml` and `*.yml` directly in the folder, sorted by name; names with a leading dot (editors, mounts) are skipped.
//! Not here: what the documents mean (`follow`).

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Largest file in bytes. A thousand machines written out in full take about 400 KiB.
const LARGEST: u64 = 4 << 20;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// Its path as the user wrote the folder, for messages.
    pub(super) name: String,
    /// What it says.
    pub(super) text: String,
}

/// Why the folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFolder {
    /// It is missing, no folder, or not readable.
    #[error("--lab {}: cannot be read; name a folder with the YAML documents of your lab", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file in it is not readable, or is no text.
    #[error("{}: cannot be read as text", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any lab.
    #[error("{}: {bytes} bytes are too many, at most {LARGEST} are read", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

/// What tells one state of the folder from another without reading the files.
///
/// The change time counts, not the modification time: tools that restore files set the latter back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature(Vec<(PathBuf, u64, u64, (i64, i64))>);

/// The state of the folder now.
///
/// # Errors
///
/// As [`read`].
pub(super) fn signature(dir: &Path) -> Result<Signature, ReadFolder> {
    let mut files = Vec::new();
    for file in list(dir)? {
        let data = fs::metadata(&file).map_err(|source| ReadFolder::File {
            file: file.clone(),
            source,
        })?;
        let changed = (data.ctime(), data.ctime_nsec());
        files.push((file, data.len(), data.ino(), changed));
    }
    Ok(Signature(files))
}

/// All files of the lab, sorted by name.
///
/// # Errors
///
/// The folder or one of the files cannot be read, or is too large.
pub(super) fn read(dir: &Path) -> Result<Vec<Text>, ReadFolder> {
    list(dir)?.into_iter().map(read_file).collect()
}

fn read_file(file: PathBuf) -> Result<Text, ReadFolder> {
    let failed = |source| ReadFolder::File {
        file: file.clone(),
        source,
    };
    let bytes = fs::metadata(&file).map_err(failed)?.len();
    if bytes > LARGEST {
        return Err(ReadFolder::TooLarge { file, bytes });
    }
    Ok(Text {
        text: fs::read_to_string(&file).map_err(failed)?,
        name: file.display().to_string(),
    })
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, ReadFolder> {
    let failed = |source| ReadFolder::Folder {
        dir: dir.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // A link counts as what it points to.
        if is_document(&path) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_document(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let yaml = path
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    yaml && !hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yaml_files_count_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", ".hidden.yaml", "notes.txt", "a.yaml~"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("folder.yaml")).unwrap();
        let texts: Vec<String> = read(dir.path())
            .unwrap()
            .into_iter()
            .map(|t| t.text)
            .collect();
        assert_eq!(texts, ["a.yaml", "b.yml"]);
    }

    #[test]
    fn every_way_to_change_a_file_changes_the_signature() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, "one").unwrap();
        let first = signature(dir.path()).unwrap();
        assert_eq!(signature(dir.path()).unwrap(), first);
        // As editors do: another file takes the name.
        fs::write(dir.path().join("a.tmp"), "two").unwrap();
        fs::rename(dir.path().join("a.tmp"), &file).unwrap();
        let second = signature(dir.path()).unwrap();
        assert_ne!(second, first);
        fs::write(&file, "longer").unwrap();
        let third = signature(dir.path()).unwrap();
        assert_ne!(third, second);
        fs::remove_file(&file).unwrap();
        assert_ne!(signature(dir.path()).unwrap(), third);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = read(&dir.path().join("nowhere")).unwrap_err().to_string();
        assert!(
            missing.contains("nowhere: cannot be read; name a folder"),
            "{missing}"
        );
        fs::write(dir.path().join("a.yaml"), [0xff, 0xfe, 0x00]).unwrap();
        let binary = read(dir.path()).unwrap_err().to_string();
        assert!(
            binary.contains("a.yaml: cannot be read as text"),
            "{binary}"
        );
    }
}
