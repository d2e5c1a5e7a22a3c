//! A way to the provider on which single calls fail, as they do where a network or a provider is busy.
//! In: a connection to the provider; which calls are to fail, and where. Out: an address for an autoscaler.
//! Holds: whatever is not to fail goes through as it is, byte for byte; a call that is to fail does so once.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
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

use crate::harness::wait;

/// Where a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// On its way: the provider never hears of it.
    Lost,
    /// On its way back: it is carried out, and nobody is told.
    Unanswered,
}

/// The way; it is closed when the value is dropped.
#[derive(Debug)]
pub struct UnsteadyLine {
    address: SocketAddr,
    due: Due,
    server: AbortHandle,
}

/// The calls that are to fail, each by the name of its RPC.
type Due = Arc<Mutex<Vec<(&'static str, Fault)>>>;

impl UnsteadyLine {
    /// Leads to a provider, and lets everything through.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn to(provider: Channel) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let due = Due::default();
        let passage = Passage {
            provider,
            due: Arc::clone(&due),
        };
        let server = Server::builder()
            .add_service(passage)
            .serve_with_incoming(TcpIncoming::from(listener));
        Ok(Self {
            address,
            due,
            server: tokio::spawn(server).abort_handle(),
        })
    }

    /// Where an autoscaler finds the provider.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The next call of each of these RPCs is lost, and the one after it is not answered.
    pub fn fail(&self, rpcs: &[&'static str]) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        for rpc in rpcs {
            due.extend([(*rpc, Fault::Lost), (*rpc, Fault::Unanswered)]);
        }
    }

    /// Waits until every call that was to fail has failed.
    ///
    /// # Errors
    /// When one is never made; with those that are left.
    pub async fn until_failed(&self, limit: Duration) -> Result<()> {
        wait::until(limit, "the calls that are to fail", async || {
            let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            ensure!(due.is_empty(), "{due:?}");
            Ok(())
        })
        .await
    }
}

impl Drop for UnsteadyLine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What the server hands each call to.
#[derive(Debug, Clone)]
struct Passage {
    provider: Channel,
    due: Due,
}

impl Passage {
    /// What is to become of a call with this path; a fault is taken off the list.
    fn fate(&self, path: &str) -> Option<Fault> {
        let rpc = path.rsplit('/').next().unwrap_or_default();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let found = due.iter().position(|(wanted, _)| *wanted == rpc)?;
        Some(due.remove(found).1)
    }
}

impl NamedService for Passage {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for Passage {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fate = self.fate(request.uri().path());
        let provider = self.provider.clone();
        Box::pin(async move {
            if fate == Some(Fault::Lost) {
                return Ok(Status::unavailable("lost on its way").into_http());
            }
            let answer = forwarded(provider, request).await;
            Ok(match (fate, answer) {
                (Some(_), _) => Status::deadline_exceeded("its answer was lost").into_http(),
                (None, Ok(answer)) => answer,
                (None, Err(fault)) => Status::unavailable(format!("{fault:#}")).into_http(),
            })
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
