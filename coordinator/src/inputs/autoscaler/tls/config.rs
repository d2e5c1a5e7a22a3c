//! The TLS of a server that asks for certificates: made from parts, and when those end.
//! In: a chain, its key, the authorities of clients. Out: a configuration for handshakes; metrics and log lines about the end.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{Error, RootCertStore, ServerConfig};

use super::validity::{self, Ending};
use crate::clock;
use crate::metrics::{Certificate, Metrics};

/// The protocol that gRPC clients insist on.
const H2: &[u8] = b"h2";

/// Which part makes no TLS server.
pub(super) enum Unusable {
    /// Certificate and key.
    Pair(Error),
    /// An authority.
    Authority(Error),
    /// All authorities together.
    Authorities(VerifierBuilderError),
}

/// A server that shows a chain, and serves who shows a certificate of the authorities.
pub(super) fn mutual(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<ServerConfig, Unusable> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(Unusable::Authority)?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(Unusable::Authorities)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Unusable::Pair)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(Unusable::Pair)?;
    config.alpn_protocols.push(H2.to_vec());
    Ok(config)
}

/// When certificates end, in seconds since 1970.
pub(super) struct Ends([(Certificate, i64); 2]);

impl Ends {
    /// A chain is over with its first certificate, a set of authorities with its last.
    pub(super) fn of(chain: &[CertificateDer<'_>], authorities: &[CertificateDer<'_>]) -> Self {
        let first = chain.iter().map(end_or_never).min();
        let last = authorities.iter().map(end_or_never).max();
        Self([
            (Certificate::Server, first.unwrap_or(i64::MAX)),
            (Certificate::ClientCa, last.unwrap_or(i64::MAX)),
        ])
    }

    pub(super) fn show(&self, metrics: &Metrics) {
        for (certificate, end) in self.0 {
            metrics.certificate_ends(certificate, end);
        }
    }

    /// Tells of those that end soon, by the name that people know them by.
    pub(super) fn remind(&self, name: impl Fn(Certificate) -> &'static str) {
        let now = clock::now().wall_ms / 1_000;
        for (certificate, end) in self.0 {
            let from = name(certificate);
            match validity::ending(end, now) {
                Ending::Later => {}
                Ending::Soon { days } => {
                    tracing::warn!(from, days, "a certificate of the gRPC service ends soon");
                }
                Ending::Over => {
                    tracing::error!(from, "a certificate of the gRPC service has ended");
                }
            }
        }
    }
}

/// One whose end cannot be read is not usable either, and rustls says so; until then it counts as endless.
fn end_or_never(certificate: &CertificateDer<'_>) -> i64 {
    validity::end(certificate).unwrap_or(i64::MAX)
}
