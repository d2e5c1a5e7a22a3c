//! Pages for people and probes: `/healthz`, `/readyz`, `/metrics`, `/state`.
//! In: the latest view, the metrics. Out: text and JSON. Nothing here changes anything.
//! Holds: answered from memory, also while broker and cluster are away.
//! Not here: what a page about the lab says beyond the view (the mode adds it).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use serde_json::Value;
use thiserror::Error;
use tokio::net::TcpListener;

use crate::engine::Handle;
use crate::inputs::autoscaler::{Callers, Issued};
use crate::inputs::reports::Readings;

mod readiness;
mod state;

/// What OpenMetrics text is called.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the mode adds to `/state`: the lab with its conditions, as JSON.
pub type LabPage = Arc<dyn Fn() -> Value + Send + Sync>;

/// Everything that the pages show.
#[derive(Clone)]
pub struct Pages {
    /// The engine, for its view.
    pub engine: Handle,
    /// What is scraped.
    pub registry: Arc<Registry>,
    /// Who called the autoscaler's API.
    pub callers: Callers,
    /// The agents' sensors.
    pub readings: Readings,
    /// Whether there is a cluster to be connected to.
    pub in_cluster: bool,
    /// What is known only once the mode has started.
    pub known: Arc<OnceLock<Known>>,
    /// The certificates that are issued here, without which nobody is served.
    pub(crate) issued: Option<Issued>,
}

/// What is known only once the mode has started.
pub struct Known {
    /// The key that agents must trust, `ed25519:…`.
    pub coordinator_key: String,
    /// What the cluster-autoscaler is to be started with, where the certificates that it names are issued here.
    pub cloud_config: Option<String>,
    /// The lab as the mode shows it.
    pub lab: Option<LabPage>,
}

/// Why the pages cannot be served.
#[derive(Debug, Error)]
pub enum AdminFault {
    /// The address cannot be used.
    #[error("--admin-address: cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server ended.
    #[error("the admin server failed")]
    Serve(#[source] io::Error),
}

/// A bound listener that is not served yet.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

/// Binds the address.
///
/// # Errors
/// It cannot be bound.
pub async fn listen(address: SocketAddr) -> Result<Listening, AdminFault> {
    let told = |source| AdminFault::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(told)?;
    let address = listener.local_addr().map_err(told)?;
    Ok(Listening { listener, address })
}

impl Listening {
    /// The real address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the pages until `stop` is done.
    ///
    /// # Errors
    /// The server ends for another reason.
    pub async fn serve(
        self,
        pages: Pages,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AdminFault> {
        axum::serve(self.listener, router(pages))
            .with_graceful_shutdown(stop)
            .await
            .map_err(AdminFault::Serve)
    }
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/state", get(state_page))
        .with_state(pages)
}

async fn readyz(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    let view = pages.engine.current();
    let uncertified = pages.issued.as_ref().is_some_and(|tls| !tls.is_served());
    let waiting = pages.engine.waits_for(&view);
    let waiting = waiting.or_else(|| uncertified.then_some("the certificates of the gRPC service"));
    let code = match waiting {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|part| part == "verbose" || part.starts_with("verbose="))
    });
    let text = if verbose {
        readiness::verbose(&view, waiting, pages.in_cluster)
    } else {
        readiness::brief(waiting)
    };
    (code, text).into_response()
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &pages.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        // Writing into a string does not fail; the type cannot say so.
        Err(fault) => (StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()).into_response(),
    }
}

async fn state_page(State(pages): State<Pages>) -> Json<Value> {
    Json(state::page(&pages))
}

#[cfg(test)]
mod tests;
