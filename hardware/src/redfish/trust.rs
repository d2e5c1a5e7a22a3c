//! Which certificate of a BMC is accepted.
//! Holds: there is no mode that accepts any certificate; with fingerprints the handshake's signature is still verified, so
//! only the owner of the key passes; ring is chosen explicitly.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::fault::{Fault, FaultKind};

/// Which certificate is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// One signed by an authority of this system, for the BMC's name.
    System,
    /// One signed by these PEM authorities, for the BMC's name.
    Ca(Vec<u8>),
    /// Exactly this one, whatever it says; a second one is for the time of a change.
    Fingerprint(Vec<Fingerprint>),
}

/// SHA-256 of a certificate, written `sha256:9f2c…` with 64 hex digits; colons between pairs are read too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// A text is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a certificate fingerprint is `sha256:` and 64 hex digits, not `{0}`")]
pub struct FingerprintFault(String);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || FingerprintFault(text.to_owned());
        let digits = text.strip_prefix("sha256:").ok_or_else(fault)?;
        let pairs: Vec<&str> = match digits.len() {
            64 if digits.is_ascii() => (0..32)
                .map(|pair| &digits[2 * pair..2 * pair + 2])
                .collect(),
            95 => digits.split(':').collect(),
            _ => return Err(fault()),
        };
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() {
            return Err(fault());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            // `from_str_radix` would take a sign.
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(fault());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| fault())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Trust {
    /// TLS settings for this trust. Without `tls` nothing is loaded, because nothing is verified over plain HTTP.
    pub(super) fn client_config(&self, tls: bool) -> Result<ClientConfig, Fault> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|fault| invalid(&fault.to_string()))?;
        let roots = match self {
            Self::Fingerprint(accepted) if tls => {
                if accepted.is_empty() {
                    return Err(invalid("no certificate fingerprint is given"));
                }
                let accepted = accepted.clone();
                return Ok(builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Pinned { accepted, provider }))
                    .with_no_client_auth());
            }
            Self::System if tls => system_roots()?,
            Self::Ca(pem) if tls => given_roots(pem)?,
            Self::System | Self::Ca(_) | Self::Fingerprint(_) => RootCertStore::empty(),
        };
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn invalid(why: &str) -> Fault {
    Fault::new(
        FaultKind::InvalidConfig,
        format_args!("cannot set up TLS towards the BMC: {why}"),
    )
}

fn given_roots(pem: &[u8]) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|fault| invalid(&format!("the CA is unreadable: {fault}")))?;
        roots
            .add(certificate)
            .map_err(|fault| invalid(&format!("the CA is unusable: {fault}")))?;
    }
    if roots.is_empty() {
        return Err(invalid("the CA has no BEGIN CERTIFICATE in it"));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    let (added, _unusable) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(invalid(
            "this system has no certificate authorities; give a CA or a fingerprint",
        ));
    }
    Ok(roots)
}

/// Accepts the owner of a known certificate. Its dates, names and issuer mean nothing on a BMC that signed it itself.
#[derive(Debug)]
struct Pinned {
    accepted: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = Fingerprint::of(end_entity);
        if self.accepted.contains(&seen) {
            return Ok(ServerCertVerified::assertion());
        }
        let accepted: Vec<_> = self.accepted.iter().map(ToString::to_string).collect();
        Err(rustls::Error::General(format!(
            "the certificate's fingerprint is {seen}, expected {}",
            accepted.join(" or ")
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_in_both_forms_and_written_in_one() {
        let plain = format!("sha256:{}", "0a".repeat(32));
        let colons = format!("sha256:{}", vec!["0A"; 32].join(":"));
        let fingerprint: Fingerprint = plain.parse().expect("plain");
        assert_eq!(colons.parse(), Ok(fingerprint));
        assert_eq!(fingerprint.to_string(), plain);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            String::new(),
            "0a".repeat(32),
            format!("sha1:{}", "0a".repeat(32)),
            format!("sha256:{}", "0a".repeat(31)),
            format!("sha256:{}", "+a".repeat(32)),
            format!("sha256:{}", "é".repeat(32)),
            format!("sha256:{}", ":".repeat(95)),
            "sha256:9f2c…".to_owned(),
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }

    #[test]
    fn unusable_trust_is_told_before_anything_is_sent() {
        for trust in [Trust::Ca(b"junk".to_vec()), Trust::Fingerprint(Vec::new())] {
            let fault = trust.client_config(true).expect_err("unusable");
            assert_eq!(fault.kind, FaultKind::InvalidConfig);
        }
    }
}
