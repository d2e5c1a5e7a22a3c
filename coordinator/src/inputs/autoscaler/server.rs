//! The listener of the service: plain text or mutual TLS, with bounds for everything that a peer can make it hold.
//! Holds: on a stop every connection gets GOAWAY, so that the autoscaler reconnects instead of waiting for a timeout.
//! Holds: memory is bounded also where a peer never reads: a stream counts until its answer is sent or given up, so no more answers
//! lie than `CONNECTIONS` have [`STREAMS`], and no more requests are half here than there are `CALLS`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proto_autoscaler::cloud_provider_server::CloudProviderServer;
use thiserror::Error;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

use super::accept::{self, Security};
use super::admission::Admission;
#[cfg(feature = "reflection")]
use super::reflection;
use super::tls::{Files, Issued, Latest, TlsFault};
use super::{Autoscaler, health};
use crate::args::{GrpcSecurity, GrpcSettings};
use crate::metrics::Metrics;

/// A connection that does not answer pings for this long is cut: its peer vanished without a word.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Calls at once on one connection. A caller that wants more waits by itself, without an error: the limit is announced.
/// The autoscaler lets go of ten machines at a time and asks little beside that. It also bounds the answers that wait for a peer
/// that never reads them: it keeps nobody else from being served.
pub(super) const STREAMS: u32 = 16;
/// Longest request, in bytes: an object of Kubernetes has at most 1.5 MiB, and no call carries more than one for each Node.
pub(super) const REQUEST: usize = 2 << 20;

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
    /// The PEM files do not make a TLS server.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The server ended.
    #[error("the gRPC server failed")]
    Serve(#[source] tonic::transport::Error),
}

/// A bound listener that is not served yet.
pub struct Listening {
    router: Router<Stack<Admission, Identity>>,
    listener: TcpListener,
    address: SocketAddr,
    proof: Proof,
    metrics: Metrics,
}

/// What both sides prove who they are with.
enum Proof {
    /// Nothing: it is plain text.
    None,
    /// Files of the household's own.
    Files(Files),
    /// Certificates that this process issues.
    Issued(Issued),
}

/// Binds the address and reads the certificates.
///
/// # Errors
/// The address cannot be bound, or a PEM file is unreadable or wrong.
pub async fn listen(settings: &GrpcSettings, service: Autoscaler) -> Result<Listening, ServeFault> {
    let metrics = service.metrics.clone();
    let proof = match &settings.security {
        GrpcSecurity::PlainText => Proof::None,
        GrpcSecurity::Files(files) => Proof::Files(Files::open(files.clone(), metrics.clone())?),
        GrpcSecurity::Issued { .. } => Proof::Issued(Issued::new(metrics.clone())),
    };
    let address = settings.address;
    let told = |source| ServeFault::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(told)?;
    let health = health::service(service.engine.clone());
    let service = CloudProviderServer::new(service).max_decoding_message_size(REQUEST);
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(STREAMS)
        .layer(Admission::new(metrics.clone()))
        .add_service(service)
        .add_service(health);
    #[cfg(feature = "reflection")]
    let router = router.add_optional_service(settings.reflection.then(reflection::service));
    Ok(Listening {
        router,
        address: listener.local_addr().map_err(told)?,
        listener,
        proof,
        metrics,
    })
}

impl Listening {
    /// The real address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where issued certificates are handed in, if they are what is served with.
    pub(crate) fn issued(&self) -> Option<Issued> {
        match &self.proof {
            Proof::Issued(issued) => Some(issued.clone()),
            Proof::None | Proof::Files(_) => None,
        }
    }

    /// What the next handshake uses, if there are handshakes.
    pub(super) fn config(&self) -> Option<Latest> {
        match &self.proof {
            Proof::None => None,
            Proof::Files(files) => Some(files.config()),
            Proof::Issued(issued) => Some(issued.config()),
        }
    }

    /// Serves until `stop` is done, then lets running calls end.
    ///
    /// # Errors
    /// The server ends for another reason.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), ServeFault> {
        let security = self.config().map_or(Security::Plain, Security::Tls);
        let followed = async {
            match self.proof {
                Proof::Files(files) => files.follow().await,
                // Whoever issues them follows them too; kept here, because without it no handshake would wait.
                Proof::Issued(_issued) => std::future::pending().await,
                Proof::None => std::future::pending().await,
            }
        };
        let connections = accept::connections(self.listener, security, self.metrics);
        let served = self.router.serve_with_incoming_shutdown(connections, stop);
        tokio::select! {
            served = served => served.map_err(ServeFault::Serve),
            () = followed => Ok(()),
        }
    }
}
