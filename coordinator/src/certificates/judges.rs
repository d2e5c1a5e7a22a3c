//! Verdicts on certificates by the rules that TLS peers follow.
//! In: an authority, a certificate, a moment. Out: whether a peer that trusts this authority alone would take it.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, RootCertStore};

use super::{CertificateFault, Role};

/// Peers of both kinds that trust one authority.
pub(super) struct Judges {
    of_servers: Arc<WebPkiServerVerifier>,
    of_clients: Arc<dyn ClientCertVerifier>,
}

impl Judges {
    /// Those that trust this certificate.
    pub(super) fn of(root: &CertificateDer<'static>) -> Result<Self, CertificateFault> {
        let mut roots = RootCertStore::empty();
        let added = roots.add(root.clone());
        added.map_err(|_| CertificateFault::Certificate)?;
        let (roots, provider) = (Arc::new(roots), Arc::new(provider()));
        let of_servers =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(CertificateFault::NoAuthority)?;
        let of_clients = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(CertificateFault::NoAuthority)?;
        Ok(Self {
            of_servers,
            of_clients,
        })
    }

    /// Why a peer would not take this certificate, under one name at least.
    pub(super) fn verdict(
        &self,
        leaf: &CertificateDer<'_>,
        role: Role<'_>,
        then: UnixTime,
    ) -> Result<(), Error> {
        match role {
            Role::Server(names) => names.iter().try_for_each(|name| {
                let verified = self
                    .of_servers
                    .verify_server_cert(leaf, &[], name, &[], then);
                verified.map(drop)
            }),
            Role::Client => {
                let verified = self.of_clients.verify_client_cert(leaf, &[], then);
                verified.map(drop)
            }
        }
    }
}

/// The one provider of cryptography in this program.
pub(super) fn provider() -> CryptoProvider {
    ring::default_provider()
}
