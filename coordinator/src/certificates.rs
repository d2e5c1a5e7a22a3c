//! Certificates of the cluster-autoscaler's API that the coordinator issues itself: an authority, a pair for the server, a pair
//! for the client.
//! In: names of the server, what is stored, the wall clock in seconds since 1970. Out: pairs to store; what a stored one is worth.
//! Holds: keys are ECDSA on P-256, and no text of this module shows one.
//! Not here: where they are kept (`outputs::kubernetes::certificates`), how TLS is spoken with them (`inputs::autoscaler`).

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike as _};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error as TlsError};
use thiserror::Error;

use crate::inputs::autoscaler::{NoPem, certificate_term};

mod cloud_config;
mod judges;

pub(crate) use cloud_config::cloud_config;

use judges::Judges;

/// Our Service, and the first label of every name that it has.
pub(crate) const SERVICE: &str = "homelab-coordinator";
const DAY: i64 = 24 * 3_600;
/// The authority outlives every cluster of today: who trusts it need not be told of another one.
const AUTHORITY_DAYS: i64 = 20 * 365;
/// The coordinator takes its own renewed certificate by itself.
const SERVER: Term = Term {
    lasts: 365,
    renewed: 90,
};
/// The cluster-autoscaler reads its certificate once, at its start: it has a year for a restart that brings the next one.
const CLIENT: Term = Term {
    lasts: 10 * 365,
    renewed: 365,
};
/// Beyond it dates have more than four digits, and certificates have no room for them.
const LAST_YEAR: i32 = 9_000;

/// How long a certificate holds, in days.
struct Term {
    lasts: i64,
    /// So long before its end it is due.
    renewed: i64,
}

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// Who shows a certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    /// The coordinator, under each of these names.
    Server(&'a [ServerName<'static>]),
    /// The cluster-autoscaler.
    Client,
}

/// What a stored pair is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It will do.
    Good,
    /// Ours, and to be replaced: it ends soon or has ended, is not valid yet, or lacks a name of the server.
    Due {
        /// When it ends, in seconds since 1970.
        ends: i64,
    },
}

/// Why a pair cannot be made or used.
#[derive(Debug, Error)]
pub(crate) enum CertificateFault {
    /// It was not made.
    #[error("make a certificate")]
    Make(#[source] rcgen::Error),
    /// The wall clock shows no date that a certificate can hold.
    #[error("make a certificate: the clock shows no usable date")]
    Clock,
    /// A name of the server that is none.
    #[error("`{name}` cannot be a name in a certificate")]
    Name {
        /// What was to be one.
        name: String,
        /// What is wrong.
        #[source]
        source: InvalidDnsNameError,
    },
    /// Not PEM, or something else in PEM.
    #[error("it holds no {wanted} in PEM form")]
    Pem {
        /// What should be there.
        wanted: &'static str,
        /// What is wrong with it.
        #[source]
        source: NoPem,
    },
    /// A certificate that cannot be read.
    #[error("its certificate cannot be read")]
    Certificate,
    /// A certificate and another one's key.
    #[error("its certificate and its key do not belong together or cannot be used")]
    Apart(#[source] TlsError),
    /// A key that cannot sign.
    #[error("its key cannot sign certificates")]
    Key(#[source] rcgen::Error),
    /// A certificate that is no authority.
    #[error("its certificate cannot be an authority")]
    NoAuthority(#[source] VerifierBuilderError),
    /// The authority is over.
    #[error("its certificate has ended")]
    Ended,
    /// The authority is still to come: made by a clock that was ahead, or read by one that is behind.
    #[error("its certificate is not valid yet by this clock")]
    Early,
    /// Somebody else has issued it, or for another purpose.
    #[error("its certificate was not issued by our authority for this purpose")]
    Foreign(#[source] TlsError),
}

/// The names of our Service in a namespace, and those that people have added.
///
/// # Errors
/// The namespace makes no name.
pub(crate) fn server_names(
    namespace: &str,
    added: &[ServerName<'static>],
) -> Result<Vec<ServerName<'static>>, CertificateFault> {
    let ours = [
        format!("{SERVICE}.{namespace}.svc"),
        SERVICE.to_owned(),
        format!("{SERVICE}.{namespace}"),
        format!("{SERVICE}.{namespace}.svc.cluster.local"),
    ];
    let mut names = Vec::with_capacity(ours.len() + added.len());
    for name in ours {
        let read = ServerName::try_from(name.clone());
        names.push(read.map_err(|source| CertificateFault::Name { name, source })?);
    }
    names.extend_from_slice(added);
    Ok(names)
}

/// Who signs.
pub(crate) struct Authority {
    cert: String,
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    judges: Judges,
    ends: i64,
}

impl Authority {
    /// A new one, to be stored and then given to [`Self::load`].
    ///
    /// # Errors
    /// The system gives no random bytes, or the clock shows no usable date.
    pub(crate) fn make(now: i64) -> Result<Pair, CertificateFault> {
        let key = KeyPair::generate().map_err(CertificateFault::Make)?;
        let mut params = authority_params();
        let ends = midnight(now.saturating_add(AUTHORITY_DAYS * DAY));
        hold(&mut params, now, ends)?;
        let cert = params.self_signed(&key).map_err(CertificateFault::Make)?;
        Ok(Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }

    /// The one in a stored pair. It has signed something that its certificate vouches for, so the two belong together.
    ///
    /// # Errors
    /// It was not made by [`Self::make`], is damaged, has ended or is not valid yet.
    pub(crate) fn load(pair: &Pair, now: i64) -> Result<Self, CertificateFault> {
        let (chain, key) = parse(pair)?;
        let [root] = &chain[..] else {
            return Err(CertificateFault::Certificate);
        };
        let (begins, ends) = certificate_term(root).ok_or(CertificateFault::Certificate)?;
        if ends <= now {
            return Err(CertificateFault::Ended);
        }
        if begins > now {
            return Err(CertificateFault::Early);
        }
        let key = KeyPair::try_from(&key).map_err(CertificateFault::Key)?;
        let authority = Self {
            cert: pair.cert.clone(),
            issuer: Issuer::new(authority_params(), key),
            judges: Judges::of(root)?,
            root: root.clone(),
            ends,
        };
        let probe = authority.issue(Role::Client, now)?;
        authority.judge(&probe, Role::Client, now)?;
        Ok(authority)
    }

    /// Its certificate, in PEM.
    pub(crate) fn cert(&self) -> &str {
        &self.cert
    }

    /// Whether a PEM text holds its certificate and no other, however it is wrapped.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        found.is_ok_and(|found| found == [self.root.clone()])
    }

    /// A new pair with a key of its own.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub(crate) fn issue(&self, role: Role<'_>, now: i64) -> Result<Pair, CertificateFault> {
        let names = match role {
            Role::Server(names) => names
                .iter()
                .map(|name| name.to_str().into_owned())
                .collect(),
            Role::Client => Vec::new(),
        };
        let mut params = CertificateParams::new(names).map_err(CertificateFault::Make)?;
        let (name, purpose) = match role {
            Role::Server(_) => (SERVICE, ExtendedKeyUsagePurpose::ServerAuth),
            Role::Client => ("cluster-autoscaler", ExtendedKeyUsagePurpose::ClientAuth),
        };
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        hold(&mut params, now, self.end_of_new(role, now))?;
        let key = KeyPair::generate().map_err(CertificateFault::Make)?;
        let signed = params.signed_by(&key, &self.issuer);
        Ok(Pair {
            cert: signed.map_err(CertificateFault::Make)?.pem(),
            key: key.serialize_pem(),
        })
    }

    /// What a stored pair is worth.
    ///
    /// # Errors
    /// It is damaged, or was not issued by this authority for this purpose.
    pub(crate) fn judge(
        &self,
        pair: &Pair,
        role: Role<'_>,
        now: i64,
    ) -> Result<Worth, CertificateFault> {
        let (chain, key) = parse(pair)?;
        let [leaf] = &chain[..] else {
            return Err(CertificateFault::Certificate);
        };
        let (begins, ends) = certificate_term(leaf).ok_or(CertificateFault::Certificate)?;
        CertifiedKey::from_der(chain.clone(), key, &judges::provider())
            .map_err(CertificateFault::Apart)?;
        // One that has ended is ours all the same.
        let moment = u64::try_from(ends.saturating_sub(1)).unwrap_or(0);
        let then = UnixTime::since_unix_epoch(Duration::from_secs(moment));
        match self.judges.verdict(leaf, role, then) {
            Ok(()) => {}
            Err(fault) if is_about_a_name(&fault) => return Ok(Worth::Due { ends }),
            Err(fault) => return Err(CertificateFault::Foreign(fault)),
        }
        let soon = ends.saturating_sub(now) < term(role).renewed * DAY;
        // Near the authority's own end a new one would last no longer.
        let gains = self.end_of_new(role, now) > ends;
        Ok(if (soon && gains) || begins > now {
            Worth::Due { ends }
        } else {
            Worth::Good
        })
    }

    fn end_of_new(&self, role: Role<'_>, now: i64) -> i64 {
        let own = now.saturating_add(term(role).lasts * DAY);
        midnight(own.min(self.ends))
    }
}

/// A date, for people.
pub(crate) fn date(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .map(|moment| moment.format("%Y-%m-%d").to_string())
        .unwrap_or_default()
}

fn term(role: Role<'_>) -> Term {
    match role {
        Role::Server(_) => SERVER,
        Role::Client => CLIENT,
    }
}

fn is_about_a_name(fault: &TlsError) -> bool {
    matches!(
        fault,
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

/// Everything of the authority but its validity. What it has signed names it by this, so this stays as it is.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "homelab-autoscaler API authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// From a day before, so that a peer whose clock is slow takes it too, to a midnight.
fn hold(params: &mut CertificateParams, now: i64, ends: i64) -> Result<(), CertificateFault> {
    let (year, month, day) = calendar(now.saturating_sub(DAY))?;
    params.not_before = rcgen::date_time_ymd(year, month, day);
    let (year, month, day) = calendar(ends)?;
    params.not_after = rcgen::date_time_ymd(year, month, day);
    Ok(())
}

fn midnight(seconds: i64) -> i64 {
    seconds.div_euclid(DAY).saturating_mul(DAY)
}

fn calendar(seconds: i64) -> Result<(i32, u8, u8), CertificateFault> {
    let date = DateTime::from_timestamp(seconds, 0)
        .map(|moment| moment.date_naive())
        .filter(|date| (1_970..LAST_YEAR).contains(&date.year()))
        .ok_or(CertificateFault::Clock)?;
    let small = |number: u32| u8::try_from(number).map_err(|_| CertificateFault::Clock);
    Ok((date.year(), small(date.month())?, small(date.day())?))
}

fn parse(
    pair: &Pair,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateFault> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect();
    let chain = chain.map_err(|source| CertificateFault::Pem {
        wanted: "certificate",
        source: source.into(),
    })?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes());
    let key = key.map_err(|source| CertificateFault::Pem {
        wanted: "private key",
        source: source.into(),
    })?;
    Ok((chain, key))
}

#[cfg(test)]
mod tests;
