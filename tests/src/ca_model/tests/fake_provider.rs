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

/// The provider's world: one group with ids `p/<number>`, and others of which only a size is known.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) target: i32,
    pub(super) instances: Vec<proto::Instance>,
    pub(super) template: Vec<u8>,
    /// RPCs that fail, by name.
    pub(super) failing: BTreeMap<&'static str, Code>,
    /// RPCs of which the first call, or after so many good ones the next, fails.
    pub(super) failing_once: BTreeMap<&'static str, usize>,
    /// The minimum that `NodeGroupForNode` tells in place of the group's.
    pub(super) told_min: Option<i32>,
    /// What `NodeGroupGetOptions` answers; Unimplemented without it.
    pub(super) options: Option<proto::NodeGroupAutoscalingOptions>,
    /// Beside the group.
    pub(super) others: BTreeMap<&'static str, OtherGroup>,
}

/// A group without instances.
#[derive(Debug, Clone, Default)]
pub(super) struct OtherGroup {
    pub(super) max: i32,
    pub(super) target: i32,
    pub(super) template: Vec<u8>,
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
    template_of("4", "8Gi")
}

/// The template of a machine with these amounts.
pub(super) fn template_of(cpu: &str, memory: &str) -> Vec<u8> {
    let amounts = [("cpu", cpu), ("memory", memory), ("pods", "110")];
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
        let mut world = world.map_err(|_| Status::internal("a test has panicked"))?;
        if let Some(code) = world.failing.get(rpc) {
            return Err(Status::new(*code, "as the test says"));
        }
        match world.failing_once.get_mut(rpc) {
            Some(0) => {
                world.failing_once.remove(rpc);
                Err(Status::internal("once, as the test says"))
            }
            Some(good_ones) => {
                *good_ones -= 1;
                Ok(world)
            }
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
        let others = world.others.iter().map(|(id, other)| proto::NodeGroup {
            id: (*id).to_owned(),
            max_size: other.max,
            ..proto::NodeGroup::default()
        });
        answer(proto::NodeGroupsResponse {
            node_groups: [group].into_iter().chain(others).collect(),
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
        request: Request<proto::NodeGroupTargetSizeRequest>,
    ) -> Result<Response<proto::NodeGroupTargetSizeResponse>, Status> {
        let world = self.world("NodeGroupTargetSize")?;
        let other = world.others.get(request.get_ref().id.as_str());
        let target_size = other.map_or(world.target, |other| other.target);
        answer(proto::NodeGroupTargetSizeResponse { target_size })
    }

    async fn node_group_increase_size(
        &self,
        request: Request<proto::NodeGroupIncreaseSizeRequest>,
    ) -> Result<Response<proto::NodeGroupIncreaseSizeResponse>, Status> {
        let mut world = self.world("NodeGroupIncreaseSize")?;
        if let Some(other) = world.others.get_mut(request.get_ref().id.as_str()) {
            other.target += request.get_ref().delta;
            return answer(proto::NodeGroupIncreaseSizeResponse {});
        }
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
        request: Request<proto::NodeGroupNodesRequest>,
    ) -> Result<Response<proto::NodeGroupNodesResponse>, Status> {
        let world = self.world("NodeGroupNodes")?;
        let instances = if request.get_ref().id == GROUP {
            world.instances.clone()
        } else {
            Vec::new()
        };
        answer(proto::NodeGroupNodesResponse { instances })
    }

    async fn node_group_template_node_info(
        &self,
        request: Request<proto::NodeGroupTemplateNodeInfoRequest>,
    ) -> Result<Response<proto::NodeGroupTemplateNodeInfoResponse>, Status> {
        let world = self.world("NodeGroupTemplateNodeInfo")?;
        let other = world.others.get(request.get_ref().id.as_str());
        let node_bytes = other.map_or(&world.template, |other| &other.template);
        let node_bytes = node_bytes.clone();
        answer(proto::NodeGroupTemplateNodeInfoResponse {
            node_bytes,
            ..Default::default()
        })
    }

    async fn node_group_get_options(
        &self,
        _: Request<proto::NodeGroupAutoscalingOptionsRequest>,
    ) -> Result<Response<proto::NodeGroupAutoscalingOptionsResponse>, Status> {
        let options = self.world("NodeGroupGetOptions")?.options;
        let options = options.ok_or_else(|| Status::unimplemented("options"))?;
        answer(proto::NodeGroupAutoscalingOptionsResponse {
            node_group_autoscaling_options: Some(options),
        })
    }
}
