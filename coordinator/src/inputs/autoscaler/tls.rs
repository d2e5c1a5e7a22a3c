//! Mutual TLS of the service, with files that may be replaced while it is served.
//! In: the three PEM files. Out: the configuration for the next handshake; metrics and log lines about their end.
//! Holds: a configuration comes from files that fit together, else the last good one stays in force; connections that are
//! open live on.
//! Holds: who has no certificate of the client authorities gets no answer at all.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::VerifierBuilderError;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::args::TlsFiles;
use crate::metrics::{Certificate, Metrics};

mod config;
mod issued;
mod no_pem;
pub(super) mod validity;

pub(crate) use issued::Issued;
pub use no_pem::NoPem;

use config::{Ends, Unusable};

/// Between looks at the files. The kubelet itself takes a minute to bring a changed Secret into a pod.
const LOOK: Duration = Duration::from_secs(10);
/// Between words about certificates that end soon.
const REMIND: Duration = Duration::from_secs(24 * 3_600);

/// Why files do not make a TLS server.
#[derive(Debug, Error)]
pub enum TlsFault {
    /// A file cannot be read.
    #[error("{flag}: cannot read {}", path.display())]
    Read {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{flag}: {} holds no {wanted} in PEM form", path.display())]
    Pem {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What should be there.
        wanted: &'static str,
        /// What is wrong with it.
        #[source]
        source: NoPem,
    },
    /// Certificate and key.
    #[error("--grpc-cert and --grpc-key do not belong together or cannot be used")]
    Pair(#[source] rustls::Error),
    /// An authority.
    #[error("--grpc-client-ca: a certificate in it cannot be an authority")]
    Authority(#[source] rustls::Error),
    /// All authorities together.
    #[error("--grpc-client-ca: clients cannot be verified with it")]
    Authorities(#[source] VerifierBuilderError),
}

/// What the files hold at one moment.
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

/// A usable configuration and when its certificates end.
struct Loaded {
    config: Arc<ServerConfig>,
    ends: Ends,
}

/// The configuration for the next handshake; nothing while there are no certificates yet.
pub(super) type Latest = watch::Receiver<Option<Arc<ServerConfig>>>;

/// The files, looked at again and again.
pub(super) struct Files {
    files: TlsFiles,
    metrics: Metrics,
    publish: watch::Sender<Option<Arc<ServerConfig>>>,
    ends: Ends,
    /// Mark of the contents in force.
    taken: [u8; 32],
    /// Mark of what was refused last, so that it is said once.
    refused: Option<[u8; 32]>,
}

impl Files {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They do not make a TLS server.
    pub(super) fn open(files: TlsFiles, metrics: Metrics) -> Result<Self, TlsFault> {
        let contents = Contents::read(&files)?;
        let loaded = contents.load(&files)?;
        let opened = Self {
            files,
            metrics,
            publish: watch::Sender::new(Some(loaded.config)),
            ends: loaded.ends,
            taken: contents.mark(),
            refused: None,
        };
        opened.ends.show(&opened.metrics);
        Ok(opened)
    }

    /// What the next handshake must use.
    pub(super) fn config(&self) -> Latest {
        self.publish.subscribe()
    }

    /// Looks again and again, for ever.
    pub(super) async fn follow(mut self) {
        self.remind();
        let mut reminded = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let changed = self.look();
            if changed || reminded.elapsed() >= REMIND {
                self.remind();
                reminded = Instant::now();
            }
        }
    }

    /// Takes changed files if they fit together; whether it took any.
    fn look(&mut self) -> bool {
        let read = Contents::read(&self.files);
        let mark = match &read {
            Ok(contents) => contents.mark(),
            Err(fault) => Sha256::digest(text(fault)).into(),
        };
        if mark == self.taken {
            self.refused = None;
            return false;
        }
        if self.refused == Some(mark) {
            return false;
        }
        match read.and_then(|contents| contents.load(&self.files)) {
            Ok(loaded) => {
                tracing::info!("certificates of the gRPC service taken from changed files");
                self.publish.send_replace(Some(loaded.config));
                self.ends = loaded.ends;
                self.taken = mark;
                self.refused = None;
                self.ends.show(&self.metrics);
                true
            }
            Err(fault) => {
                let fault = text(&fault);
                tracing::warn!(
                    fault,
                    "changed certificate files refused; the last good ones stay in force"
                );
                self.refused = Some(mark);
                false
            }
        }
    }

    fn remind(&self) {
        self.ends.remind(|certificate| match certificate {
            Certificate::Server => "--grpc-cert",
            Certificate::ClientCa => "--grpc-client-ca",
        });
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsFault> {
        let TlsFiles {
            cert,
            key,
            client_ca,
        } = files;
        Ok(Self {
            cert: read("--grpc-cert", cert)?,
            key: read("--grpc-key", key)?,
            client_ca: read("--grpc-client-ca", client_ca)?,
        })
    }

    /// Equal marks mean equal contents; nothing of the key can be learned from one.
    fn mark(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.cert, &self.key, &self.client_ca] {
            hash.update(Sha256::digest(part));
        }
        hash.finalize().into()
    }

    fn load(&self, files: &TlsFiles) -> Result<Loaded, TlsFault> {
        let chain = certificates("--grpc-cert", &files.cert, &self.cert)?;
        let authorities = certificates("--grpc-client-ca", &files.client_ca, &self.client_ca)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| TlsFault::Pem {
            flag: "--grpc-key",
            path: files.key.clone(),
            wanted: "private key",
            source: source.into(),
        })?;
        let ends = Ends::of(&chain, &authorities);
        Ok(Loaded {
            config: Arc::new(config::mutual(chain, key, authorities)?),
            ends,
        })
    }
}

impl From<Unusable> for TlsFault {
    fn from(fault: Unusable) -> Self {
        match fault {
            Unusable::Pair(fault) => Self::Pair(fault),
            Unusable::Authority(fault) => Self::Authority(fault),
            Unusable::Authorities(fault) => Self::Authorities(fault),
        }
    }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, TlsFault> {
    std::fs::read(path).map_err(|source| TlsFault::Read {
        flag,
        path: path.to_owned(),
        source,
    })
}

/// At least one certificate.
fn certificates(
    flag: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let told = |source: pem::Error| TlsFault::Pem {
        flag,
        path: path.to_owned(),
        wanted: "certificate",
        source: source.into(),
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(told)?;
    if found.is_empty() {
        return Err(told(pem::Error::NoItemsFound));
    }
    Ok(found)
}

/// A fault with its causes.
fn text(fault: &TlsFault) -> String {
    let mut text = fault.to_string();
    let mut cause = std::error::Error::source(fault);
    while let Some(fault) = cause {
        text = format!("{text}: {fault}");
        cause = fault.source();
    }
    text
}

#[cfg(test)]
mod tests;
