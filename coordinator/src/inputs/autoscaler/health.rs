//! The health service of gRPC, for load balancers and people: it says what `/readyz` says.
//! In: the latest view, the mandate. Out: SERVING while calls of the autoscaler are answered, NOT_SERVING otherwise.
//! Not here: watching. A stream for each watcher would hold up every stop; the protocol lets a server do without.

use proto_autoscaler::SERVICE_NAME;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::engine::Handle;

/// The health service in front of an engine.
pub(super) fn service(engine: Handle) -> HealthServer<impl Health> {
    HealthServer::new(Readiness { engine })
}

struct Readiness {
    engine: Handle,
}

#[tonic::async_trait]
impl Health for Readiness {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        // Without a name, the whole server is meant.
        if !service.is_empty() && service != SERVICE_NAME {
            return Err(Status::not_found(format!(
                "there is no service `{service}`"
            )));
        }
        let status = match self.engine.waits_for(&self.engine.current()) {
            None => ServingStatus::Serving,
            Some(_) => ServingStatus::NotServing,
        };
        Ok(Response::new(HealthCheckResponse {
            status: status.into(),
        }))
    }

    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("ask with Check"))
    }
}
