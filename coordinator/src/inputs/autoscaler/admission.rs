//! How many calls may be under way, and for how long.
//! In: each call before its body is read. Out: the call with the moment of its arrival, or Unavailable.
//! Holds: the caller's time runs from its first byte, so a body that comes slowly cannot carry a change past the deadline.
//! Not here: how many connections and streams there may be (`accept`, `server`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::deadline;
use crate::clock;
use crate::metrics::{Metrics, TurnedAway};

/// Calls at once. The autoscaler's own are a dozen: its loop, its cache, and one for each machine that it lets go.
///
/// Beyond that the answer is Unavailable: nothing has been done, so the same call may come again. `ResourceExhausted` would
/// read like a group without spare machines. The autoscaler itself treats both alike.
pub(super) const CALLS: usize = 128;

/// When a call arrived, in milliseconds on the boot clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived(pub(super) u64);

/// Lets calls in.
#[derive(Clone)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    metrics: Metrics,
}

impl Admission {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            places: Arc::new(Semaphore::new(CALLS)),
            metrics,
        }
    }
}

impl<S> Layer<S> for Admission {
    type Service = Admitted<S>;

    fn layer(&self, inner: S) -> Admitted<S> {
        Admitted {
            admission: self.clone(),
            inner,
        }
    }
}

/// A service behind the admission.
#[derive(Clone)]
pub(super) struct Admitted<S> {
    admission: Admission,
    inner: S,
}

impl<S> Service<Request<Body>> for Admitted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Ok(place) = Arc::clone(&self.admission.places).try_acquire_owned() else {
            self.admission.metrics.turned_away(TurnedAway::Calls);
            let status = Status::unavailable("too many calls are under way; nothing was done");
            return Box::pin(std::future::ready(Ok(status.into_http())));
        };
        request.extensions_mut().insert(Arrived(clock::boot_ms()));
        let limit = deadline::limit(request.headers());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let outcome = tokio::time::timeout(limit, answer).await;
            drop(place);
            outcome.unwrap_or_else(|_| {
                let status = Status::deadline_exceeded("the caller's time is up");
                Ok(status.into_http())
            })
        })
    }
}
