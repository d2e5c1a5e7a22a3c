//! How many calls may be under way, and for how long; how many there were, with which end.
//! In: each call before its body is read. Out: the call with the moment of its arrival, or Unavailable.
//! Holds: every call of the autoscaler's service that is answered is counted, also one that never reached its handler.
//! Holds: the caller's time runs from its first byte, so a body that comes slowly cannot carry a change past the deadline.
//! Not here: how many connections and streams there may be (`accept`, `server`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use proto_autoscaler::SERVICE_NAME;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::{deadline, to_status};
use crate::clock;
use crate::metrics::{Metrics, TurnedAway};

/// Calls at once. The autoscaler's own are a dozen: its loop, its cache, and one for each machine that it lets go. Each may hold a
/// request of full length in memory.
///
/// Beyond that the answer is Unavailable: nothing has been done, so the same call may come again. `ResourceExhausted` would
/// read like a group without spare machines. The autoscaler itself treats both alike.
pub(super) const CALLS: usize = 32;

/// So much sooner than tonic a call that takes too long is ended here: tonic would say CANCELLED, and nobody would count it.
const HEAD_START: Duration = Duration::from_millis(2);

/// The calls of the service, for metrics.
const METHODS: [&str; 15] = [
    "NodeGroups",
    "NodeGroupForNode",
    "PricingNodePrice",
    "PricingPodPrice",
    "GPULabel",
    "GetAvailableGPUTypes",
    "Cleanup",
    "Refresh",
    "NodeGroupTargetSize",
    "NodeGroupIncreaseSize",
    "NodeGroupDeleteNodes",
    "NodeGroupDecreaseTargetSize",
    "NodeGroupNodes",
    "NodeGroupTemplateNodeInfo",
    "NodeGroupGetOptions",
];
/// What a call is counted as that the service does not have.
const NO_METHOD: &str = "other";

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
        let counted = Counted {
            metrics: self.admission.metrics.clone(),
            method: method(request.uri().path()),
        };
        let Ok(place) = Arc::clone(&self.admission.places).try_acquire_owned() else {
            self.admission.metrics.turned_away(TurnedAway::Calls);
            counted.ended(Code::Unavailable);
            let status = Status::unavailable("too many calls are under way; nothing was done");
            return Box::pin(std::future::ready(Ok(status.into_http())));
        };
        let started = Instant::now();
        request.extensions_mut().insert(Arrived(clock::boot_ms()));
        let limit = deadline::limit(request.headers()).saturating_sub(HEAD_START);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let outcome = tokio::time::timeout(limit, answer).await;
            drop(place);
            let answer = match outcome {
                Ok(outcome) => outcome?,
                Err(_) => Status::deadline_exceeded("the caller's time is up").into_http(),
            };
            counted.ended(code(&answer));
            counted.took(started);
            Ok(answer)
        })
    }
}

/// A call on its way into the metrics. Those of other services are not counted.
struct Counted {
    metrics: Metrics,
    method: Option<&'static str>,
}

impl Counted {
    fn ended(&self, code: Code) {
        if let Some(method) = self.method {
            self.metrics.rpc(method, to_status::word(code));
        }
    }

    fn took(&self, started: Instant) {
        if let Some(method) = self.method {
            self.metrics.rpc_took(method, started.elapsed());
        }
    }
}

/// Which call of the autoscaler's service a path names.
pub(super) fn method(path: &str) -> Option<&'static str> {
    let (service, name) = path.strip_prefix('/')?.split_once('/')?;
    let known = METHODS.into_iter().find(|method| *method == name);
    (service == SERVICE_NAME).then(|| known.unwrap_or(NO_METHOD))
}

/// How a call ended. Every call here has one answer, and whatever fails says so in the head.
fn code(answer: &Response<Body>) -> Code {
    answer
        .headers()
        .get("grpc-status")
        .map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}
