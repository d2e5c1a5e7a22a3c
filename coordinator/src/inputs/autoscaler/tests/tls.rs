//! Mutual TLS: who may call, and what is said about unusable files.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt as _;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::authority::{Authority, Pair, files};
use super::*;
use crate::args::{GrpcSecurity, TlsFiles};

fn identity(pair: &Pair) -> Identity {
    Identity::from_pem(&pair.cert, pair.key.serialize_pem())
}

fn settings(tls: TlsFiles) -> GrpcSettings {
    GrpcSettings {
        address: "127.0.0.1:0".parse().unwrap(),
        security: GrpcSecurity::Files(tls),
        #[cfg(feature = "reflection")]
        reflection: false,
    }
}

fn service() -> Autoscaler {
    let (engine, _seat) = engine::open(crate::mandate::Mandate::standing());
    Autoscaler::new(engine, Metrics::unregistered(), Callers::default())
}

/// A client that trusts an authority, expects a host name, and shows what it has.
async fn calls(
    address: SocketAddr,
    (trusted, host): (&Authority, &str),
    shown: Option<&Pair>,
) -> Result<Client, String> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&trusted.cert))
        .domain_name(host);
    if let Some(pair) = shown {
        tls = tls.identity(identity(pair));
    }
    let channel = Channel::from_shared(format!("https://{address}"))
        .unwrap()
        .tls_config(tls)
        .unwrap();
    // With TLS 1.3 a client learns of its refusal only when it reads, so the call counts, not the connection.
    let outcome = async {
        let channel = channel
            .connect()
            .await
            .map_err(|fault| format!("{fault:?}"))?;
        let mut client = CloudProviderClient::new(channel);
        let called = client.gpu_label(GpuLabelRequest {}).await;
        called.map_err(|status| status.to_string())?;
        Ok(client)
    };
    tokio::time::timeout(Duration::from_secs(600), outcome)
        .await
        .unwrap()
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_right_authority_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ours.sign("localhost");
    let listening = listen(&settings(files(&folder, &ours.cert, &server)), service())
        .await
        .unwrap();
    let address = listening.address();
    tokio::spawn(listening.serve(std::future::pending()));
    let trust = (&ours, "localhost");
    calls(address, trust, Some(&ours.sign("autoscaler")))
        .await
        .unwrap();
    for refused in [Some(theirs.sign("autoscaler")), None] {
        let outcome = calls(address, trust, refused.as_ref()).await;
        assert!(outcome.is_err());
    }
}

#[tokio::test]
async fn a_client_finds_the_name_that_it_looks_for_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new();
    let name = "homelab-coordinator.homelab-autoscaler-system.svc";
    let listening = listen(
        &settings(files(&folder, &ours.cert, &ours.sign(name))),
        service(),
    )
    .await
    .unwrap();
    let address = listening.address();
    tokio::spawn(listening.serve(std::future::pending()));
    let pair = ours.sign("autoscaler");
    calls(address, (&ours, name), Some(&pair)).await.unwrap();
    let other = calls(address, (&ours, "localhost"), Some(&pair)).await;
    let fault = other.unwrap_err();
    assert!(fault.contains("NotValidForName"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn replaced_files_count_for_the_next_connection_and_open_ones_live_on() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let settings = settings(files(&folder, &old.cert, &old.sign("localhost")));
    let listening = listen(&settings, service()).await.unwrap();
    let address = listening.address();
    let mut taken = listening.config().unwrap();
    tokio::spawn(listening.serve(std::future::pending()));
    let (before, after) = (old.sign("autoscaler"), new.sign("autoscaler"));
    let mut open = calls(address, (&old, "localhost"), Some(&before))
        .await
        .unwrap();
    assert!(
        calls(address, (&new, "localhost"), Some(&after))
            .await
            .is_err()
    );
    files(&folder, &new.cert, &new.sign("localhost"));
    tokio::time::timeout(Duration::from_secs(600), taken.changed())
        .await
        .unwrap()
        .unwrap();
    calls(address, (&new, "localhost"), Some(&after))
        .await
        .unwrap();
    assert!(
        calls(address, (&old, "localhost"), Some(&before))
            .await
            .is_err()
    );
    open.gpu_label(GpuLabelRequest {}).await.unwrap();
}

fn issuing() -> GrpcSettings {
    GrpcSettings {
        security: GrpcSecurity::Issued { names: Vec::new() },
        ..plain()
    }
}

fn issued(authority: &Authority) -> crate::certificates::Pair {
    let pair = authority.sign("localhost");
    crate::certificates::Pair {
        key: pair.key.serialize_pem(),
        cert: pair.cert,
    }
}

#[tokio::test]
async fn issued_certificates_serve_who_came_before_them_and_renewed_ones_the_next() {
    let (old, new) = (Authority::new(), Authority::new());
    let listening = listen(&issuing(), service()).await.unwrap();
    let (address, tls) = (listening.address(), listening.issued().unwrap());
    tokio::spawn(listening.serve(std::future::pending()));
    let (before, after) = (old.sign("autoscaler"), new.sign("autoscaler"));
    let early = calls(address, (&old, "localhost"), Some(&before));
    let later = async {
        while !tls.is_greeting() {
            tokio::task::yield_now().await;
        }
        // Whatever the greeting does without certificates, it has done after this.
        tokio::task::yield_now().await;
        tls.serve_with(&issued(&old), &old.cert)
    };
    let later = tokio::time::timeout(Duration::from_secs(60), later);
    let (early, handed_in) = tokio::join!(early, later);
    handed_in.expect("a handshake that waits").unwrap();
    let mut open = early.unwrap();
    let refused = tls.serve_with(&issued(&new), "no PEM");
    assert!(refused.is_err());
    let still = calls(address, (&old, "localhost"), Some(&before)).await;
    still.unwrap();
    tls.serve_with(&issued(&new), &new.cert).unwrap();
    let renewed = calls(address, (&new, "localhost"), Some(&after)).await;
    renewed.unwrap();
    let ended = calls(address, (&old, "localhost"), Some(&before)).await;
    assert!(ended.is_err());
    open.gpu_label(GpuLabelRequest {}).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_certificates_yet_nobody_is_held_for_longer_than_a_handshake_may_take() {
    let listening = listen(&issuing(), service()).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(listening.address())
        .await
        .unwrap();
    tokio::spawn(listening.serve(std::future::pending()));
    let mut said = Vec::new();
    let closed = stream.read_to_end(&mut said);
    let closed = tokio::time::timeout(Duration::from_secs(60), closed).await;
    assert_eq!(closed.unwrap().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_after_its_handshake_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new();
    let settings = settings(files(&folder, &ours.cert, &ours.sign("localhost")));
    let listening = listen(&settings, service()).await.unwrap();
    let address = listening.address();
    tokio::spawn(listening.serve(std::future::pending()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&ours.cert)).unwrap();
    let pair = ours.sign("autoscaler");
    let key = PrivateKeyDer::from_pem_slice(pair.key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![der(&pair.cert)], key)
        .unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    let closed = async {
        // However it ends: an end without a farewell is an error to TLS.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    tokio::time::timeout(Duration::from_secs(3_600), closed)
        .await
        .unwrap();
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[tokio::test]
async fn unusable_files_are_named_by_their_flag() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new();
    let good = files(&folder, &ours.cert, &ours.sign("localhost"));
    let missing = TlsFiles {
        client_ca: folder.path().join("nowhere.pem"),
        ..good.clone()
    };
    let fault = listen(&settings(missing), service()).await.err().unwrap();
    assert!(
        matches!(
            fault,
            ServeFault::Tls(TlsFault::Read {
                flag: "--grpc-client-ca",
                ..
            })
        ),
        "{fault}"
    );
    let swapped = TlsFiles {
        cert: good.key.clone(),
        ..good
    };
    let fault = listen(&settings(swapped), service()).await.err().unwrap();
    assert!(
        matches!(
            fault,
            ServeFault::Tls(TlsFault::Pem {
                flag: "--grpc-cert",
                ..
            })
        ),
        "{fault}"
    );
}

#[tokio::test]
async fn a_stop_ends_the_server_although_a_client_stays_connected() {
    let settings = GrpcSettings {
        address: "127.0.0.1:0".parse().unwrap(),
        security: GrpcSecurity::PlainText,
        #[cfg(feature = "reflection")]
        reflection: false,
    };
    let listening = listen(&settings, service()).await.unwrap();
    let url = format!("http://{}", listening.address());
    let (stopper, stop) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(listening.serve(async move {
        let _ = stop.await;
    }));
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let mut client = CloudProviderClient::new(channel);
    client.gpu_label(GpuLabelRequest {}).await.unwrap();
    stopper.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(30), serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(client.gpu_label(GpuLabelRequest {}).await.is_err());
}
