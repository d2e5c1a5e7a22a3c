//! Certificates for tests.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::args::TlsFiles;

/// A certificate with its key.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: KeyPair,
}

/// An authority that signs pairs.
pub(crate) struct Authority {
    pub(crate) cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::until(4096)
    }

    /// One that ends with a year.
    pub(crate) fn until(year: i32) -> Self {
        Self::with(|params| params.not_after = rcgen::date_time_ymd(year, 1, 1))
    }

    /// One that ends so long from now.
    pub(crate) fn lasting(time: Duration) -> Self {
        Self::with(|params| end_in(params, time))
    }

    fn with(ending: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        ending(&mut params);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap().pem();
        Self {
            cert,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn sign(&self, name: &str) -> Pair {
        self.sign_until(name, 4096)
    }

    /// A pair that ends with a year.
    pub(crate) fn sign_until(&self, name: &str, year: i32) -> Pair {
        self.sign_with(name, |params| {
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
        })
    }

    /// A pair that ends so long from now.
    pub(crate) fn sign_lasting(&self, name: &str, time: Duration) -> Pair {
        self.sign_with(name, |params| end_in(params, time))
    }

    fn sign_with(&self, name: &str, ending: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        ending(&mut params);
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { cert, key }
    }
}

fn end_in(params: &mut CertificateParams, time: Duration) {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + time;
}

/// Writes the three files, over those that are there.
pub(crate) fn files(folder: &TempDir, ca: &str, server: &Pair) -> TlsFiles {
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    TlsFiles {
        cert: file("cert.pem", &server.cert),
        key: file("key.pem", &server.key.serialize_pem()),
        client_ca: file("ca.pem", ca),
    }
}
