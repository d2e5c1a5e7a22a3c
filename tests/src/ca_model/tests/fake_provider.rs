//! A provider in memory whose machines do only what the test says.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
};

use prost::Message;
use proto_autoscaler::{
    self as proto, cloud_provider_server as server, core_v1,
    instance_status::InstanceState as State,
};
use tokio::{net::TcpListener, task::AbortHandle};
use tonic::{Code, Request, Response, Status, transport::Server};

/// The provider's world: one group with ids `p/<number>`.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) target: i32,
    pub(super) instances: Vec<proto::Instance>,
    pub(super) template: Vec<u8>,
    /// RPCs that fail, by name.
    pub(super) failing: BTreeMap<&'static str, Code>,
    /// Added to the minimum that `NodeGroupForNode` tells.
    pub(super) told_min: Option<i32>,
}

pub(super) const GROUP: &str = "default/workers";

#[derive(Clone)]
pub(super) struct FakeProvider {
    world: Arc<Mutex<World>>,
}

/// A served provider; ends when dropped.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    world: Arc<Mutex<World>>,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    pub(super) async fn start(world: World) -> Self {
        let world = Arc::new(Mutex::new(world));
        let provider = FakeProvider {
            world: Arc::clone(&world),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let service = server::CloudProviderServer::new(provider);
        let serve = Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming);
        let task = tokio::spawn(async move { serve.await.unwrap() }).abort_handle();
        Self {
            address,
            world,
            task,
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

pub(super) fn instance(number: usize, state: State, error: &str) -> proto::Instance {
    let error_info = (!error.is_empty()).then(|| proto::InstanceErrorInfo {
        error_code: error.to_owned(),
        error_message: String::new(),
        instance_error_class: 99,
    });
    proto::Instance {
        id: format!("p/{number}"),
        status: Some(proto::InstanceStatus {
            instance_state: state.into(),
            error_info,
        }),
    }
}

/// The template of a machine with four cores.
pub(super) fn template() -> Vec<u8> {
    let amounts = [("cpu", "4"), ("memory", "8Gi"), ("pods", "110")];
    let amounts = amounts.map(|(name, amount)| {
        let string = amount.to_owned();
        (name.to_owned(), core_v1::Quantity { string })
    });
    let status = core_v1::NodeStatus {
        capacity: amounts.clone().into(),
        allocatable: amounts.into(),
        conditions: Vec::new(),
    };
    let node = core_v1::Node {
        status: Some(status),
        ..core_v1::Node::default()
    };
    node.encode_to_vec()
}

impl FakeProvider {
    fn world(&self, rpc: &'static str) -> Result<MutexGuard<'_, World>, Status> {
        let world = self.world.lock();
        let world = world.map_err(|_| Status::internal("a test has panicked"))?;
        match world.failing.get(rpc) {
            Some(code) => Err(Status::new(*code, "as the test says")),
            None => Ok(world),
        }
    }
}

fn answer<T>(message: T) -> Result<Response<T>, Status> {
    Ok(Response::new(message))
}

#[tonic::async_trait]
impl server::CloudProvider for FakeProvider {
    async fn node_groups(
        &self,
        _: Request<proto::NodeGroupsRequest>,
    ) -> Result<Response<proto::NodeGroupsResponse>, Status> {
        let world = self.world("NodeGroups")?;
        let group = proto::NodeGroup {
            id: GROUP.into(),
            min_size: world.min,
            max_size: world.max,
            debug: String::new(),
        };
        answer(proto::NodeGroupsResponse {
            node_groups: vec![group],
        })
    }

    async fn node_group_for_node(
        &self,
        request: Request<proto::NodeGroupForNodeRequest>,
    ) -> Result<Response<proto::NodeGroupForNodeResponse>, Status> {
        let world = self.world("NodeGroupForNode")?;
        let node = request.into_inner().node.unwrap_or_default();
        let ours = node.provider_id.starts_with("p/");
        let group = proto::NodeGroup {
            id: if ours { GROUP.into() } else { String::new() },
            min_size: world.told_min.unwrap_or(world.min),
            max_size: world.max,
            debug: String::new(),
        };
        answer(proto::NodeGroupForNodeResponse {
            node_group: Some(group),
        })
    }

    async fn pricing_node_price(
        &self,
        _: Request<proto::PricingNodePriceRequest>,
    ) -> Result<Response<proto::PricingNodePriceResponse>, Status> {
        Err(Status::unimplemented("prices"))
    }

    async fn pricing_pod_price(
        &self,
        _: Request<proto::PricingPodPriceRequest>,
    ) -> Result<Response<proto::PricingPodPriceResponse>, Status> {
        Err(Status::unimplemented("prices"))
    }

    async fn gpu_label(
        &self,
        _: Request<proto::GpuLabelRequest>,
    ) -> Result<Response<proto::GpuLabelResponse>, Status> {
        drop(self.world("GPULabel")?);
        answer(proto::GpuLabelResponse::default())
    }

    async fn get_available_gpu_types(
        &self,
        _: Request<proto::GetAvailableGpuTypesRequest>,
    ) -> Result<Response<proto::GetAvailableGpuTypesResponse>, Status> {
        answer(proto::GetAvailableGpuTypesResponse::default())
    }

    async fn cleanup(
        &self,
        _: Request<proto::CleanupRequest>,
    ) -> Result<Response<proto::CleanupResponse>, Status> {
        answer(proto::CleanupResponse {})
    }

    async fn refresh(
        &self,
        _: Request<proto::RefreshRequest>,
    ) -> Result<Response<proto::RefreshResponse>, Status> {
        drop(self.world("Refresh")?);
        answer(proto::RefreshResponse {})
    }

    async fn node_group_target_size(
        &self,
        _: Request<proto::NodeGroupTargetSizeRequest>,
    ) -> Result<Response<proto::NodeGroupTargetSizeResponse>, Status> {
        let target_size = self.world("NodeGroupTargetSize")?.target;
        answer(proto::NodeGroupTargetSizeResponse { target_size })
    }

    async fn node_group_increase_size(
        &self,
        request: Request<proto::NodeGroupIncreaseSizeRequest>,
    ) -> Result<Response<proto::NodeGroupIncreaseSizeResponse>, Status> {
        let mut world = self.world("NodeGroupIncreaseSize")?;
        for _ in 0..request.into_inner().delta {
            let number = world.instances.len() + 1;
            world
                .instances
                .push(instance(number, State::InstanceCreating, ""));
            world.target += 1;
        }
        answer(proto::NodeGroupIncreaseSizeResponse {})
    }

    async fn node_group_delete_nodes(
        &self,
        request: Request<proto::NodeGroupDeleteNodesRequest>,
    ) -> Result<Response<proto::NodeGroupDeleteNodesResponse>, Status> {
        let mut world = self.world("NodeGroupDeleteNodes")?;
        for node in request.into_inner().nodes {
            let before = world.instances.len();
            world
                .instances
                .retain(|instance| instance.id != node.provider_id);
            world.target -= i32::from(world.instances.len() < before);
        }
        answer(proto::NodeGroupDeleteNodesResponse {})
    }

    async fn node_group_decrease_target_size(
        &self,
        request: Request<proto::NodeGroupDecreaseTargetSizeRequest>,
    ) -> Result<Response<proto::NodeGroupDecreaseTargetSizeResponse>, Status> {
        let mut world = self.world("NodeGroupDecreaseTargetSize")?;
        world.target += request.into_inner().delta;
        answer(proto::NodeGroupDecreaseTargetSizeResponse {})
    }

    async fn node_group_nodes(
        &self,
        _: Request<proto::NodeGroupNodesRequest>,
    ) -> Result<Response<proto::NodeGroupNodesResponse>, Status> {
        let instances = self.world("NodeGroupNodes")?.instances.clone();
        answer(proto::NodeGroupNodesResponse { instances })
    }

    async fn node_group_template_node_info(
        &self,
        _: Request<proto::NodeGroupTemplateNodeInfoRequest>,
    ) -> Result<Response<proto::NodeGroupTemplateNodeInfoResponse>, Status> {
        let node_bytes = self.world("NodeGroupTemplateNodeInfo")?.template.clone();
        answer(proto::NodeGroupTemplateNodeInfoResponse {
            node_bytes,
            ..Default::default()
        })
    }

    async fn node_group_get_options(
        &self,
        _: Request<proto::NodeGroupAutoscalingOptionsRequest>,
    ) -> Result<Response<proto::NodeGroupAutoscalingOptionsResponse>, Status> {
        drop(self.world("NodeGroupGetOptions")?);
        Err(Status::unimplemented("options"))
    }
}
