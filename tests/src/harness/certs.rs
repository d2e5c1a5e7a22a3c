//! Keys and certificates of one test: a certificate authority and what it signs.
//! Out: PEM files in the work folder of the service that uses them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::workdir::WorkDir;

/// A certificate authority that lives as long as its test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Where a certificate and its private key lie.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// PEM file of the certificate.
    pub certificate: PathBuf,
    /// PEM file of the private key (PKCS#8, P-256).
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority with a fresh P-256 key.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "homelab test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("make the key of the authority")?;
        let issuer = CertifiedIssuer::self_signed(params, key).context("sign the authority")?;
        Ok(Self { issuer })
    }

    /// The authority's own certificate, for the trust store of clients.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a server and client certificate with the common name `name`, valid for 127.0.0.1 and localhost, and writes
    /// `<name>.pem` and `<name>.key` into `work`.
    ///
    /// # Errors
    /// When it cannot be signed or written.
    pub fn issue(&self, work: &WorkDir, name: &str) -> Result<Certificate> {
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(hosts).context("name the hosts")?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().with_context(|| format!("make the key of {name}"))?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("sign the certificate of {name}"))?;
        Ok(Certificate {
            certificate: work.write(&format!("{name}.pem"), certificate.pem())?,
            key: work.write(&format!("{name}.key"), key.serialize_pem())?,
        })
    }
}
