//! The TLS side of a link: who is trusted, and by which name the broker must be known.
//! Holds: ring is chosen explicitly, so a second provider in the process changes nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::clock_file::ClockFile;
use crate::fault::LinkConfigFault;
use crate::options::LinkOptions;
use crate::verifier::Verifier;

/// What the tunnel needs to speak TLS.
pub(crate) struct TlsSettings {
    pub(crate) connector: TlsConnector,
    /// Who judges certificates for the connector.
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) server_name: ServerName<'static>,
}

/// Settings that trust the given authorities, or those of the system.
pub(crate) fn settings(options: &LinkOptions) -> Result<TlsSettings, LinkConfigFault> {
    let host = options.url.host();
    let server_name = ServerName::try_from(host.to_owned())
        .map_err(|_| LinkConfigFault::ServerName(host.to_owned()))?;
    let roots = match options.ca_file.as_deref() {
        Some(path) => given_roots(path)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clock_file = options.clock_file.clone().map(ClockFile::at);
    let verifier = Verifier::new(roots, Arc::clone(&provider), clock_file);
    let verifier = Arc::new(verifier.map_err(LinkConfigFault::Tls)?);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(LinkConfigFault::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
        .with_no_client_auth();
    Ok(TlsSettings {
        connector: TlsConnector::from(Arc::new(config)),
        verifier,
        server_name,
    })
}

fn given_roots(path: &Path) -> Result<RootCertStore, LinkConfigFault> {
    let pem = fs::read(path).map_err(|source| LinkConfigFault::CaFile {
        path: path.to_owned(),
        source,
    })?;
    let unusable = |detail: String| LinkConfigFault::CaPem {
        path: path.to_owned(),
        detail,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|fault| unusable(fault.to_string()))?;
        roots
            .add(certificate)
            .map_err(|fault| unusable(fault.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no BEGIN CERTIFICATE in it".to_owned()));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, LinkConfigFault> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let detail = found
            .errors
            .first()
            .map_or_else(|| "the store is empty".to_owned(), ToString::to_string);
        return Err(LinkConfigFault::NoSystemRoots(detail));
    }
    Ok(roots)
}
