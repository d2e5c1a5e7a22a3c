//! The coordinator's signing key: 32 random bytes that never leave this process and its store.
//! In: bytes of a Secret, or a file that only its owner may read. Out: a signer; the public form `ed25519:…` for agents.
//! Holds: an existing key is never replaced: agents trust exactly one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use proto_mqtt::key::{COORDINATOR_KID, PublicKey, Signer};
use thiserror::Error;

/// Length of the seed that is stored.
pub const SEED_BYTES: usize = 32;

/// The key that signs commands.
#[derive(Debug)]
pub struct CoordinatorKey {
    signer: Signer,
}

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyFault {
    /// The file cannot be opened or read.
    #[error("cannot read the coordinator's key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot create the coordinator's key {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read it.
    #[error("the coordinator's key {} may be read by others (mode {mode:o}): chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no key.
    #[error("the coordinator's key must be {SEED_BYTES} bytes, not {0}")]
    Length(usize),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
}

impl CoordinatorKey {
    /// The key of a stored seed.
    ///
    /// # Errors
    /// The seed is not [`SEED_BYTES`] long.
    pub fn from_bytes(seed: &[u8]) -> Result<Self, KeyFault> {
        let seed: &[u8; SEED_BYTES] = seed.try_into().map_err(|_| KeyFault::Length(seed.len()))?;
        Ok(Self {
            signer: Signer::from_seed(COORDINATOR_KID, seed),
        })
    }

    /// A new seed, to be stored and then given to [`Self::from_bytes`].
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new_seed() -> Result<[u8; SEED_BYTES], KeyFault> {
        let mut seed = [0; SEED_BYTES];
        getrandom::fill(&mut seed).map_err(KeyFault::Random)?;
        Ok(seed)
    }

    /// The key in a file; made there, readable by its owner only, if there is none.
    ///
    /// # Errors
    /// The file cannot be read or made, is no key, or may be read by others.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyFault> {
        match File::open(path) {
            Ok(file) => Self::load(path, file),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
                create(path, &Self::new_seed()?).map_err(|source| KeyFault::Create {
                    path: path.to_owned(),
                    source,
                })?;
                tracing::info!(path = %path.display(), "coordinator's key created");
                // Read back: if another process was faster, its key counts.
                let file = File::open(path).map_err(|source| read_fault(path, source))?;
                Self::load(path, file)
            }
            Err(source) => Err(read_fault(path, source)),
        }
    }

    fn load(path: &Path, file: File) -> Result<Self, KeyFault> {
        let fault = |source| read_fault(path, source);
        let mode = file.metadata().map_err(fault)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFault::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let mut seed = Vec::with_capacity(SEED_BYTES + 1);
        let limit = u64::try_from(SEED_BYTES + 1).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut seed).map_err(fault)?;
        Self::from_bytes(&seed)
    }

    /// What agents are told to trust, `ed25519:…`.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.signer.public_key()
    }

    pub(super) fn signer(&self) -> &Signer {
        &self.signer
    }
}

fn read_fault(path: &Path, source: io::Error) -> KeyFault {
    KeyFault::Read {
        path: path.to_owned(),
        source,
    }
}

/// Writes beside the place and links it there, so that a half-written key is never found and no key is replaced.
fn create(path: &Path, seed: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("new.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(seed)?;
            file.sync_all()
        })
        .and_then(|()| match std::fs::hard_link(&draft, path) {
            Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    let removed = std::fs::remove_file(&draft);
    written?;
    removed?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordinator.key");
        let first = CoordinatorKey::load_or_create(&path).unwrap().public();
        let again = CoordinatorKey::load_or_create(&path).unwrap().public();
        assert_eq!(first, again);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "the draft is gone"
        );
    }

    #[test]
    fn a_key_that_others_may_read_or_of_another_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordinator.key");
        std::fs::write(&path, [7; SEED_BYTES]).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            CoordinatorKey::load_or_create(&path),
            Err(KeyFault::Exposed { mode: 0o640, .. })
        ));
        std::fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(CoordinatorKey::load_or_create(&path).is_ok());
        for length in [0, 31, 33] {
            assert!(matches!(
                CoordinatorKey::from_bytes(&vec![7; length]),
                Err(KeyFault::Length(_))
            ));
        }
    }

    #[test]
    fn the_public_form_is_what_an_agents_configuration_takes() {
        let key = CoordinatorKey::from_bytes(&[7; SEED_BYTES]).unwrap();
        assert_eq!(
            key.public().to_string(),
            "ed25519:6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw"
        );
    }
}
