//! A server between an autoscaler and its provider: whoever stands there decides what becomes of each call.
//! In: a [`Passage`]. Out: an address for an autoscaler.
//! Not here: what is done with a call; see `unsteady` and `wiretap`.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result};
use http::{Request, Response};
use proto_autoscaler::SERVICE_NAME;
use tokio::{net::TcpListener, task::AbortHandle};
use tonic::{
    Status,
    body::Body,
    codegen::Service,
    server::NamedService,
    transport::{Channel, Server, server::TcpIncoming},
};

/// What calls go through.
pub(crate) trait Passage: Clone + Send + Sync + 'static {
    /// Takes a call as it came and says what its caller hears; an error is heard as Unavailable.
    fn pass(self, request: Request<Body>) -> impl Future<Output = Result<Response<Body>>> + Send;
}

/// Where a passage is entered; it is closed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    address: SocketAddr,
    server: AbortHandle,
}

impl Gate {
    /// Opens a port.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn to(passage: impl Passage) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let server = Server::builder()
            .add_service(Keeper(passage))
            .serve_with_incoming(TcpIncoming::from(listener));
        Ok(Self {
            address,
            server: tokio::spawn(server).abort_handle(),
        })
    }

    /// Where an autoscaler finds it.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What the server hands each call to.
#[derive(Debug, Clone)]
struct Keeper<P>(P);

impl<P> NamedService for Keeper<P> {
    const NAME: &'static str = SERVICE_NAME;
}

impl<P: Passage> Service<Request<Body>> for Keeper<P> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.clone().pass(request);
        Box::pin(async move {
            let fault = |fault| Status::unavailable(format!("{fault:#}")).into_http();
            Ok(answer.await.unwrap_or_else(fault))
        })
    }
}

/// The provider's answer; it has done what it was asked for by then.
pub(crate) async fn forwarded(
    mut provider: Channel,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let ready = std::future::poll_fn(|context| provider.poll_ready(context));
    ready.await.context("reach the provider")?;
    provider.call(request).await.context("hear the provider")
}
