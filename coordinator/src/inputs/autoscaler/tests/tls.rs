//! Mutual TLS: who may call, and what is said about unusable files.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::*;
use crate::args::TlsFiles;

/// A certificate with its key.
struct Pair {
    cert: String,
    key: KeyPair,
}

impl Pair {
    fn identity(&self) -> Identity {
        Identity::from_pem(&self.cert, self.key.serialize_pem())
    }
}

/// An authority that signs pairs.
struct Authority {
    cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap().pem();
        Self {
            cert,
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { cert, key }
    }
}

fn files(folder: &TempDir, ca: &str, server: &Pair) -> TlsFiles {
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

fn settings(tls: TlsFiles) -> GrpcSettings {
    GrpcSettings {
        address: "127.0.0.1:0".parse().unwrap(),
        tls: Some(tls),
    }
}

fn service() -> Autoscaler {
    let (engine, _seat) = engine::open();
    Autoscaler::new(engine, Metrics::unregistered(), Callers::default())
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_right_authority_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ours.sign("localhost");
    let listening = listen(&settings(files(&folder, &ours.cert, &server)), service())
        .await
        .unwrap();
    let url = format!("https://{}", listening.address());
    tokio::spawn(listening.serve(std::future::pending()));
    for (identity, served) in [
        (Some(ours.sign("autoscaler").identity()), true),
        (Some(theirs.sign("autoscaler").identity()), false),
        (None, false),
    ] {
        let trust = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&ours.cert))
            .domain_name("localhost");
        let tls = match identity {
            Some(identity) => trust.identity(identity),
            None => trust,
        };
        let channel = Channel::from_shared(url.clone())
            .unwrap()
            .tls_config(tls)
            .unwrap();
        // With TLS 1.3 a client learns of its refusal only when it reads, so the call counts, not the connection.
        let outcome = async {
            let channel = channel.connect().await.map_err(|fault| fault.to_string())?;
            let mut client = CloudProviderClient::new(channel);
            client
                .gpu_label(GpuLabelRequest {})
                .await
                .map_err(|status| status.to_string())
        };
        let outcome = tokio::time::timeout(Duration::from_secs(30), outcome)
            .await
            .unwrap();
        assert_eq!(outcome.is_ok(), served, "{outcome:?}");
    }
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
            ServeFault::ReadPem {
                flag: "--grpc-client-ca",
                ..
            }
        ),
        "{fault}"
    );
    let swapped = TlsFiles {
        cert: good.key.clone(),
        ..good
    };
    let fault = listen(&settings(swapped), service()).await.err().unwrap();
    assert!(matches!(fault, ServeFault::Tls(_)), "{fault}");
}

#[tokio::test]
async fn a_stop_ends_the_server_although_a_client_stays_connected() {
    let settings = GrpcSettings {
        address: "127.0.0.1:0".parse().unwrap(),
        tls: None,
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
