//! Which certificates are accepted, against a BMC that really speaks TLS.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::fault::Effect;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: Vec<u8>,
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params
        .self_signed(&key)
        .expect("a certificate")
        .pem()
        .into_bytes();
    let issuer = Issuer::new(params, key);
    Authority { issuer, pem }
}

/// A BMC with a certificate for these names, signed by the authority or, without one, by itself as an authority.
async fn bmc(names: &[&str], authority: Option<&Authority>, expired: bool) -> (Mock, Fingerprint) {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    if expired {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    }
    let certificate = match authority {
        Some(authority) => params.signed_by(&key, &authority.issuer),
        None => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.self_signed(&key)
        }
    }
    .expect("a certificate");
    let fingerprint = Fingerprint::of(certificate.der());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a fitting key");
    let mock = Mock::start(|_, _| None, Some(TlsAcceptor::from(Arc::new(config)))).await;
    (mock, fingerprint)
}

async fn try_with(mock: &Mock, trust: Trust) -> Result<Power, Fault> {
    let machine = open(mock, |options| options.trust = trust).machine(None);
    machine.observe().await.map(|reading| reading.power)
}

fn refused(outcome: Result<Power, Fault>) -> String {
    let fault = outcome.expect_err("not trusted");
    assert_eq!(
        (fault.kind, fault.effect),
        (FaultKind::TlsTrust, Effect::None)
    );
    fault.detail
}

#[tokio::test]
async fn a_certificate_of_the_given_authority_for_the_right_name_is_accepted() {
    let home = authority("home");
    let (mock, _) = bmc(&["127.0.0.1"], Some(&home), false).await;
    assert_eq!(try_with(&mock, Trust::Ca(home.pem)).await, Ok(Power::Off));
}

#[tokio::test]
async fn another_authority_another_name_and_an_old_date_are_refused_with_the_reason() {
    let home = authority("home");
    let (mock, _) = bmc(&["127.0.0.1"], Some(&home), false).await;
    let text = refused(try_with(&mock, Trust::Ca(authority("other").pem)).await);
    assert!(text.contains("UnknownIssuer"), "{text}");
    assert!(mock.log().is_empty(), "nothing was said to a stranger");

    let (mock, _) = bmc(&["bmc.lan"], Some(&home), false).await;
    let text = refused(try_with(&mock, Trust::Ca(home.pem.clone())).await);
    assert!(text.contains("not valid for name"), "{text}");

    let (mock, _) = bmc(&["127.0.0.1"], Some(&home), true).await;
    let text = refused(try_with(&mock, Trust::Ca(home.pem)).await);
    assert!(text.contains("expired"), "{text}");
}

#[tokio::test]
async fn a_pinned_certificate_is_accepted_whatever_else_it_says() {
    let home = authority("home");
    for (names, authority, expired) in [
        (&["127.0.0.1"][..], Some(&home), false),
        (&["bmc.lan"], Some(&home), false),
        (&["127.0.0.1"], Some(&home), true),
        (&[], None, false),
    ] {
        let (mock, fingerprint) = bmc(names, authority, expired).await;
        let other = Fingerprint::of(b"the next one");
        let trust = Trust::Fingerprint(vec![other, fingerprint]);
        assert_eq!(
            try_with(&mock, trust).await,
            Ok(Power::Off),
            "{names:?} {expired}"
        );
    }
}

#[tokio::test]
async fn another_fingerprint_is_refused_and_the_seen_one_is_told() {
    let (mock, seen) = bmc(&[], None, false).await;
    let pinned = Fingerprint::of(b"another");
    let text = refused(try_with(&mock, Trust::Fingerprint(vec![pinned])).await);
    let told = format!("the certificate's fingerprint is {seen}, expected {pinned}");
    assert!(text.ends_with(&told), "{text}");
    assert!(mock.log().is_empty());
}

#[tokio::test]
async fn the_systems_authorities_do_not_know_a_self_made_one() {
    let (mock, _) = bmc(&["127.0.0.1"], Some(&authority("home")), false).await;
    let credentials = Credentials::new("power", "secret", ["127.0.0.1"]).expect("usable");
    let options = BmcOptions::new(mock.url().parse().expect("an address"), Some(credentials));
    match Bmcs::new().open(options) {
        Ok(bmc) => {
            refused(
                bmc.machine(None)
                    .observe()
                    .await
                    .map(|reading| reading.power),
            );
        }
        // A minimal container has no authorities at all, which is told at once.
        Err(fault) => assert_eq!(fault.kind, FaultKind::InvalidConfig),
    }
    assert!(mock.log().is_empty());
}
