//! The cluster-autoscaler's external gRPC service.
//! In: its 15 calls. Out: answers; questions to the engine from the three calls that change a size.
//! Holds: reads are answered from the latest view alone and never wait; a change is durable before its answer.
//! Holds: what a caller has looked at is noted before it is answered, because its next wish depends on it.
//! Not here: which machine is chosen, and what counts as a repetition (`coordinator-core`).

use std::sync::Arc;

use coordinator_core::{Answer, Fact, GroupId, View};
use proto_autoscaler::cloud_provider_server::CloudProvider;
use proto_autoscaler::{
    CleanupRequest, CleanupResponse, GetAvailableGpuTypesRequest, GetAvailableGpuTypesResponse,
    GpuLabelRequest, GpuLabelResponse, NodeGroupAutoscalingOptionsRequest,
    NodeGroupAutoscalingOptionsResponse, NodeGroupDecreaseTargetSizeRequest,
    NodeGroupDecreaseTargetSizeResponse, NodeGroupDeleteNodesRequest, NodeGroupDeleteNodesResponse,
    NodeGroupForNodeRequest, NodeGroupForNodeResponse, NodeGroupIncreaseSizeRequest,
    NodeGroupIncreaseSizeResponse, NodeGroupNodesRequest, NodeGroupNodesResponse,
    NodeGroupTargetSizeRequest, NodeGroupTargetSizeResponse, NodeGroupTemplateNodeInfoRequest,
    NodeGroupTemplateNodeInfoResponse, NodeGroupsRequest, NodeGroupsResponse,
    PricingNodePriceRequest, PricingNodePriceResponse, PricingPodPriceRequest,
    PricingPodPriceResponse, RefreshRequest, RefreshResponse,
};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::engine::Handle;
use crate::metrics::Metrics;

mod accept;
mod admission;
mod callers;
mod deadline;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod gpu;
mod health;
mod looked;
mod membership;
mod options;
mod prices;
mod reads;
#[cfg(feature = "reflection")]
mod reflection;
mod rounds;
mod server;
mod tariff;
mod template;
mod tls;
mod to_status;
mod writes;

pub use callers::Callers;
pub use server::{Listening, ServeFault, listen};
pub(crate) use tls::Issued;
pub(crate) use tls::validity::term as certificate_term;
pub use tls::{NoPem, TlsFault};

use admission::Arrived;
use looked::{Looked, Turn};
use rounds::Rounds;

/// The service. One for the process; it holds no state but what callers have looked at, and when.
pub struct Autoscaler {
    engine: Handle,
    /// For those who let calls in.
    metrics: Metrics,
    looked: Looked,
    rounds: Rounds,
    callers: Callers,
}

impl Autoscaler {
    /// The service in front of an engine.
    #[must_use]
    pub fn new(engine: Handle, metrics: Metrics, callers: Callers) -> Self {
        Self {
            engine,
            metrics,
            looked: Looked::default(),
            rounds: Rounds::default(),
            callers,
        }
    }

    /// Notes who calls. What that tells of the autoscaler is told on beside the answer, which must not wait for it.
    fn saw(&self, metadata: &MetadataMap) {
        if let Some(version) = self.callers.saw(metadata) {
            let facts = self.engine.facts.clone();
            tokio::spawn(async move { facts.tell(Fact::AutoscalerSeen { version }).await });
        }
    }

    /// The latest view, if calls may be answered from it.
    fn view(&self) -> Result<Arc<View>, Status> {
        let view = self.engine.current();
        match self.engine.waits_for(&view) {
            None => Ok(view),
            Some(what) => Err(Status::unavailable(format!(
                "not serving: waiting for {what}"
            ))),
        }
    }

    /// Answers from the latest view.
    fn read<Q, A>(
        &self,
        method: &'static str,
        request: Request<Q>,
        answer: impl FnOnce(&View, Q) -> Result<A, Status>,
    ) -> Result<Response<A>, Status> {
        self.saw(request.metadata());
        let outcome = self
            .view()
            .and_then(|view| answer(&view, request.into_inner()));
        logged(method, outcome)
    }

    /// Answers from the latest view, and notes what it shows of sizes.
    fn look<Q, A>(
        &self,
        method: &'static str,
        request: Request<Q>,
        answer: impl FnOnce(&mut Turn<'_>, &View, Q) -> Result<A, Status>,
    ) -> Result<Response<A>, Status> {
        self.saw(request.metadata());
        let mut turn = self.looked.turn();
        let outcome = self
            .view()
            .and_then(|view| answer(&mut turn, &view, request.into_inner()));
        drop(turn);
        logged(method, outcome)
    }

    /// Asks the engine.
    async fn write<Q, A: Default>(
        &self,
        method: &'static str,
        request: Request<Q>,
        question: impl FnOnce(&Self, Q) -> Result<coordinator_core::Request, Status> + Send,
    ) -> Result<Response<A>, Status> {
        self.saw(request.metadata());
        let arrived_ms = match request.extensions().get::<Arrived>() {
            Some(Arrived(arrived_ms)) => *arrived_ms,
            None => crate::clock::boot_ms(),
        };
        let deadline_ms = deadline::of(request.metadata().as_ref(), arrived_ms);
        let question = self
            .view()
            .and_then(|_| question(self, request.into_inner()));
        let outcome = match question {
            Ok(question) => match self.engine.ask(question, deadline_ms).await {
                Answer::Done => Ok(A::default()),
                Answer::Rejected(rejected) => Err(to_status::rejected(rejected)),
            },
            Err(status) => Err(status),
        };
        logged(method, outcome)
    }

    /// Answers a call that needs no view.
    fn fixed<Q, A>(
        &self,
        method: &'static str,
        request: &Request<Q>,
        outcome: Result<A, Status>,
    ) -> Result<Response<A>, Status> {
        self.saw(request.metadata());
        logged(method, outcome)
    }
}

fn logged<A>(method: &'static str, outcome: Result<A, Status>) -> Result<Response<A>, Status> {
    if let Err(status) = &outcome {
        // Unimplemented is an answer of its own here, and asked for in every loop.
        if status.code() != tonic::Code::Unimplemented {
            tracing::info!(
                method,
                code = to_status::word(status.code()),
                message = status.message(),
                "call rejected"
            );
        }
    }
    outcome.map(Response::new)
}

#[tonic::async_trait]
impl CloudProvider for Autoscaler {
    async fn node_groups(
        &self,
        request: Request<NodeGroupsRequest>,
    ) -> Result<Response<NodeGroupsResponse>, Status> {
        self.read("NodeGroups", request, |view, _| Ok(reads::groups(view)))
    }

    async fn node_group_for_node(
        &self,
        request: Request<NodeGroupForNodeRequest>,
    ) -> Result<Response<NodeGroupForNodeResponse>, Status> {
        self.read("NodeGroupForNode", request, |view, asked| {
            let listed_ms = self.rounds.listed_after(crate::clock::boot_ms());
            Ok(reads::group_for_node(view, listed_ms, asked.node))
        })
    }

    async fn node_group_target_size(
        &self,
        request: Request<NodeGroupTargetSizeRequest>,
    ) -> Result<Response<NodeGroupTargetSizeResponse>, Status> {
        self.look("NodeGroupTargetSize", request, |turn, view, asked| {
            let group = reads::known(view, &asked.id)?;
            turn.at(group);
            Ok(reads::target_size(group))
        })
    }

    async fn node_group_nodes(
        &self,
        request: Request<NodeGroupNodesRequest>,
    ) -> Result<Response<NodeGroupNodesResponse>, Status> {
        self.read("NodeGroupNodes", request, |view, asked| {
            reads::known(view, &asked.id).map(reads::instances)
        })
    }

    async fn node_group_template_node_info(
        &self,
        request: Request<NodeGroupTemplateNodeInfoRequest>,
    ) -> Result<Response<NodeGroupTemplateNodeInfoResponse>, Status> {
        self.read("NodeGroupTemplateNodeInfo", request, |view, asked| {
            reads::known(view, &asked.id).and_then(template::answer)
        })
    }

    async fn node_group_get_options(
        &self,
        request: Request<NodeGroupAutoscalingOptionsRequest>,
    ) -> Result<Response<NodeGroupAutoscalingOptionsResponse>, Status> {
        self.read("NodeGroupGetOptions", request, |view, asked| {
            let group = reads::known(view, &asked.id)?;
            options::answer(group, asked.defaults)
        })
    }

    async fn refresh(
        &self,
        request: Request<RefreshRequest>,
    ) -> Result<Response<RefreshResponse>, Status> {
        self.look("Refresh", request, |turn, view, _| {
            turn.at_all(view);
            self.rounds.begin(crate::clock::boot_ms());
            Ok(RefreshResponse {})
        })
    }

    async fn node_group_increase_size(
        &self,
        request: Request<NodeGroupIncreaseSizeRequest>,
    ) -> Result<Response<NodeGroupIncreaseSizeResponse>, Status> {
        let question = |service: &Self, asked: NodeGroupIncreaseSizeRequest| {
            let mut turn = service.looked.turn();
            let looked = turn.latest(&service.engine.current(), &GroupId::new(&asked.id));
            writes::increase(&asked, looked)
        };
        self.write("NodeGroupIncreaseSize", request, question).await
    }

    async fn node_group_delete_nodes(
        &self,
        request: Request<NodeGroupDeleteNodesRequest>,
    ) -> Result<Response<NodeGroupDeleteNodesResponse>, Status> {
        self.write("NodeGroupDeleteNodes", request, |_, asked| {
            writes::delete(asked)
        })
        .await
    }

    async fn node_group_decrease_target_size(
        &self,
        request: Request<NodeGroupDecreaseTargetSizeRequest>,
    ) -> Result<Response<NodeGroupDecreaseTargetSizeResponse>, Status> {
        self.write("NodeGroupDecreaseTargetSize", request, |_, asked| {
            writes::decrease(&asked)
        })
        .await
    }

    async fn gpu_label(
        &self,
        request: Request<GpuLabelRequest>,
    ) -> Result<Response<GpuLabelResponse>, Status> {
        self.fixed("GPULabel", &request, Ok(gpu::label()))
    }

    async fn get_available_gpu_types(
        &self,
        request: Request<GetAvailableGpuTypesRequest>,
    ) -> Result<Response<GetAvailableGpuTypesResponse>, Status> {
        self.read("GetAvailableGPUTypes", request, |view, _| {
            Ok(gpu::types(view))
        })
    }

    async fn cleanup(
        &self,
        request: Request<CleanupRequest>,
    ) -> Result<Response<CleanupResponse>, Status> {
        self.fixed("Cleanup", &request, Ok(CleanupResponse {}))
    }

    async fn pricing_node_price(
        &self,
        request: Request<PricingNodePriceRequest>,
    ) -> Result<Response<PricingNodePriceResponse>, Status> {
        self.read("PricingNodePrice", request, prices::of_node)
    }

    async fn pricing_pod_price(
        &self,
        request: Request<PricingPodPriceRequest>,
    ) -> Result<Response<PricingPodPriceResponse>, Status> {
        self.read("PricingPodPrice", request, |view, asked| {
            prices::of_pod(view, &asked)
        })
    }
}

#[cfg(test)]
mod tests;
