//! The agent's own key, with which it signs results.
//! Holds: made once, at the first start; readable by the agent only; a broken file is an error, never a new identity.

use proto_mqtt::key::{RESULT_KID, Signer};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

const FILE: &str = "result.key";

/// The key in this folder; it is made if there is none.
pub(crate) fn load_or_make(state_dir: &Path) -> io::Result<Signer> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)?;
    let path = state_dir.join(FILE);
    let seed = match std::fs::read(&path) {
        Ok(bytes) => <[u8; 32]>::try_from(bytes).map_err(|_| {
            io::Error::new(
                ErrorKind::InvalidData,
                format!("{} must hold 32 bytes", path.display()),
            )
        })?,
        Err(error) if error.kind() == ErrorKind::NotFound => make(state_dir)?,
        Err(error) => return Err(error),
    };
    Ok(Signer::from_seed(RESULT_KID, &seed))
}

/// Writes beside and renames, so that a power cut leaves no half key.
fn make(state_dir: &Path) -> io::Result<[u8; 32]> {
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let beside = state_dir.join("result.key.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&seed)?;
    file.sync_all()?;
    std::fs::rename(&beside, state_dir.join(FILE))?;
    File::open(state_dir)?.sync_all()?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("deep/state");
        let first = load_or_make(&state).expect("a new key").public_key();
        assert_eq!(
            load_or_make(&state).expect("the same key").public_key(),
            first
        );
        let mode = std::fs::metadata(state.join(FILE))
            .expect("the file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_key_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), b"short").expect("a file");
        let error = load_or_make(folder.path()).expect_err("no key");
        assert!(error.to_string().contains("must hold 32 bytes"));
        assert_eq!(
            std::fs::read(folder.path().join(FILE)).expect("the file"),
            b"short"
        );
    }
}
