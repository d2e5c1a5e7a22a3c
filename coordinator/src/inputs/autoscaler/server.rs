//! The listener of the service: plain text or mutual TLS, and a stop that callers notice.
//! Holds: on a stop every connection gets GOAWAY, so that the autoscaler reconnects instead of waiting for a timeout.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto_autoscaler::cloud_provider_server::CloudProviderServer;
use thiserror::Error;
use tokio::net::TcpListener;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::Autoscaler;
use crate::args::{GrpcSettings, TlsFiles};

/// A connection that does not answer pings for this long is cut: its peer vanished without a word.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why the service cannot be served.
#[derive(Debug, Error)]
pub enum ServeFault {
    /// The address cannot be used.
    #[error("--grpc-address: cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A PEM file cannot be read.
    #[error("{flag}: cannot read {}", path.display())]
    ReadPem {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The PEM files do not make a TLS server.
    #[error("--grpc-cert, --grpc-key and --grpc-client-ca do not make a TLS server")]
    Tls(#[source] tonic::transport::Error),
    /// The server ended.
    #[error("the gRPC server failed")]
    Serve(#[source] tonic::transport::Error),
}

/// A bound listener that is not served yet.
pub struct Listening {
    router: Router,
    listener: TcpListener,
    address: SocketAddr,
}

/// Binds the address and reads the certificates.
///
/// # Errors
/// The address cannot be bound, or a PEM file is unreadable or wrong.
pub async fn listen(settings: &GrpcSettings, service: Autoscaler) -> Result<Listening, ServeFault> {
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE));
    if let Some(files) = &settings.tls {
        server = server.tls_config(tls(files)?).map_err(ServeFault::Tls)?;
    }
    let address = settings.address;
    let told = |source| ServeFault::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(told)?;
    Ok(Listening {
        router: server.add_service(CloudProviderServer::new(service)),
        address: listener.local_addr().map_err(told)?,
        listener,
    })
}

impl Listening {
    /// The real address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done, then lets running calls end.
    ///
    /// # Errors
    /// The server ends for another reason.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), ServeFault> {
        // Answers are small and must not wait for each other.
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        self.router
            .serve_with_incoming_shutdown(incoming, stop)
            .await
            .map_err(ServeFault::Serve)
    }
}

fn tls(files: &TlsFiles) -> Result<ServerTlsConfig, ServeFault> {
    let cert = read("--grpc-cert", &files.cert)?;
    let key = read("--grpc-key", &files.key)?;
    let client_ca = read("--grpc-client-ca", &files.client_ca)?;
    Ok(ServerTlsConfig::new()
        .identity(Identity::from_pem(cert, key))
        .client_ca_root(Certificate::from_pem(client_ca)))
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, ServeFault> {
    std::fs::read(path).map_err(|source| ServeFault::ReadPem {
        flag,
        path: path.to_owned(),
        source,
    })
}
