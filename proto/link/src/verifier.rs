//! Whether a broker's certificate is accepted, also by a host whose clock begins in the past at each start.
//! In: certificates, and the wall clock. Out: as rustls judges; a certificate that is *not yet* valid is judged once more by the
//! time at which one was accepted last.
//! Holds: the clock has the first word, so a wrong note of the past can open nothing and close nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::clock_file::ClockFile;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Verifier {
    judge: Arc<WebPkiServerVerifier>,
    clock_file: Option<ClockFile>,
}

impl Verifier {
    pub(crate) fn new(
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
        clock_file: Option<ClockFile>,
    ) -> Result<Self, Error> {
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let judge = judge.build();
        let judge = judge.map_err(|fault| Error::General(fault.to_string()))?;
        Ok(Self { judge, clock_file })
    }

    /// Judges the certificates of a connection that lasts once more, for the sake of the note: the connection stays.
    pub(crate) fn judge_again(
        &self,
        certificates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) {
        let Some((end_entity, intermediates)) = certificates.split_first() else {
            return;
        };
        let judged = self.verify_server_cert(end_entity, intermediates, server_name, &[], now);
        if let Err(fault) = judged {
            tracing::warn!(%fault, "the broker's certificate will be refused at the next connection");
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = |time| {
            let judge = &self.judge;
            judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time)
        };
        let Some(clock_file) = &self.clock_file else {
            return judged(now);
        };
        match (judged(now), clock_file.read()) {
            (Ok(verified), _) => {
                clock_file.note(SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs()));
                Ok(verified)
            }
            (Err(fault), Some(noted)) if is_too_early(&fault) => {
                let since = noted.duration_since(SystemTime::UNIX_EPOCH);
                let verified = judged(UnixTime::since_unix_epoch(since.unwrap_or_default()))?;
                tracing::warn!("the clock is behind: the broker's certificate begins later");
                Ok(verified)
            }
            (Err(fault), Some(_) | None) => Err(fault),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

fn is_too_early(fault: &Error) -> bool {
    matches!(
        fault,
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    const YEAR_S: u64 = 31_556_952;

    fn year(year: u64) -> Duration {
        Duration::from_secs((year - 1970) * YEAR_S + YEAR_S / 2)
    }

    /// Whether a certificate for the years 2020 to 2030 is accepted in this year, and what is noted afterwards.
    fn accepted(noted: Option<u64>, now: u64) -> (Result<(), String>, Option<Duration>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["broker.lan".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");

        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        let file = ClockFile::at(folder.path().join("clock"));
        if let Some(noted) = noted {
            file.note(SystemTime::UNIX_EPOCH + year(noted));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(roots, provider, Some(file.clone())).expect("usable");
        let name = ServerName::try_from("broker.lan").expect("a name");
        let time = UnixTime::since_unix_epoch(year(now));
        let judged = verifier.verify_server_cert(certificate.der(), &[], &name, &[], time);
        let after = file.read().map(|time| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            since.expect("after the epoch")
        });
        (judged.map(drop).map_err(|fault| fault.to_string()), after)
    }

    #[test]
    fn a_good_clock_decides_alone_and_is_noted() {
        for noted in [None, Some(2021), Some(2025), Some(2099)] {
            assert_eq!(
                accepted(noted, 2025),
                (Ok(()), Some(year(2025))),
                "{noted:?}"
            );
        }
    }

    #[test]
    fn a_clock_that_begins_in_1970_is_replaced_by_the_last_good_time() {
        let (refused, noted) = accepted(None, 1970);
        assert!(refused.is_err_and(|why| why.contains("not valid yet")));
        assert_eq!(noted, None);
        assert_eq!(accepted(Some(2024), 1970), (Ok(()), Some(year(2024))));
    }

    #[test]
    fn a_certificate_that_has_ended_stays_refused_whatever_was_noted() {
        for (noted, now) in [(Some(2024), 2099), (None, 2099), (Some(2099), 1970)] {
            let (refused, after) = accepted(noted, now);
            assert!(
                refused.is_err_and(|why| why.contains("expired")),
                "{noted:?}"
            );
            assert_eq!(after, noted.map(year));
        }
    }
}
