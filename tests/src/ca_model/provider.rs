//! The model's side of the gRPC connection.
//! In: the RPCs of one loop. Out: answers; every call goes to the log.
//! Holds: each call has the deadline of `grpc_timeout`, sent along as the real client does.

use std::time::Duration;

use proto_autoscaler::{self as proto, cloud_provider_client::CloudProviderClient};
use tonic::{Code, Request, Response, Status, transport::Channel};

use super::calls::{About, CallLog, Outcome, Rpc};

/// The logged client.
#[derive(Debug, Clone)]
pub(super) struct Provider {
    client: CloudProviderClient<Channel>,
    timeout: Duration,
    pub(super) log: CallLog,
}

impl About {
    fn group(id: &str) -> Self {
        Self {
            group: id.to_owned(),
            ..Self::default()
        }
    }

    fn node(node: &proto::ExternalGrpcNode) -> Self {
        Self {
            nodes: vec![node.provider_id.clone()],
            ..Self::default()
        }
    }
}

/// Sends one RPC with its deadline and writes it down.
macro_rules! call {
    ($provider:expr, $method:ident, $rpc:ident, $about:expr, $request:expr) => {{
        let mut client = $provider.client.clone();
        let mut request = Request::new($request);
        request.set_timeout($provider.timeout);
        $provider
            .logged(
                Rpc::$rpc,
                $about,
                async move { client.$method(request).await },
            )
            .await
    }};
}

impl Provider {
    pub(super) fn new(channel: Channel, timeout: Duration) -> Self {
        Self {
            client: CloudProviderClient::new(channel),
            timeout,
            log: CallLog::default(),
        }
    }

    async fn logged<T: std::fmt::Debug>(
        &self,
        rpc: Rpc,
        about: About,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        let sent = self.log.sent(rpc, about);
        let late = |_elapsed| Err(Status::deadline_exceeded("no answer in time"));
        let timed = tokio::time::timeout(self.timeout, call).await;
        let result = timed.unwrap_or_else(late).map(Response::into_inner);
        sent.answered(match &result {
            Ok(answer) => Outcome::Ok(format!("{answer:?}")),
            Err(status) => Outcome::Failed(status.code(), status.message().to_owned()),
        });
        result
    }

    pub(super) async fn refresh(&self) -> Result<(), Status> {
        let request = proto::RefreshRequest {};
        call!(self, refresh, Refresh, About::default(), request).map(drop)
    }

    pub(super) async fn cleanup(&self) -> Result<(), Status> {
        let request = proto::CleanupRequest {};
        call!(self, cleanup, Cleanup, About::default(), request).map(drop)
    }

    pub(super) async fn groups(&self) -> Result<Vec<proto::NodeGroup>, Status> {
        let request = proto::NodeGroupsRequest {};
        let answer = call!(self, node_groups, NodeGroups, About::default(), request);
        answer.map(|answer| answer.node_groups)
    }

    /// `None`: the Node belongs to no group.
    pub(super) async fn group_for(
        &self,
        node: proto::ExternalGrpcNode,
    ) -> Result<Option<proto::NodeGroup>, Status> {
        let about = About::node(&node);
        let request = proto::NodeGroupForNodeRequest { node: Some(node) };
        let answer = call!(self, node_group_for_node, NodeGroupForNode, about, request);
        answer.map(|answer| answer.node_group.filter(|group| !group.id.is_empty()))
    }

    pub(super) async fn gpu_label(&self) -> Result<String, Status> {
        let request = proto::GpuLabelRequest {};
        let answer = call!(self, gpu_label, GpuLabel, About::default(), request);
        answer.map(|answer| answer.label)
    }

    pub(super) async fn gpu_types(&self) -> Result<Vec<String>, Status> {
        let request = proto::GetAvailableGpuTypesRequest {};
        let about = About::default();
        let answer = call!(
            self,
            get_available_gpu_types,
            GetAvailableGpuTypes,
            about,
            request
        );
        answer.map(|answer| answer.gpu_types.into_keys().collect())
    }

    pub(super) async fn target_size(&self, id: &str) -> Result<i32, Status> {
        let request = proto::NodeGroupTargetSizeRequest { id: id.to_owned() };
        let about = About::group(id);
        let answer = call!(
            self,
            node_group_target_size,
            NodeGroupTargetSize,
            about,
            request
        );
        answer.map(|answer| answer.target_size)
    }

    pub(super) async fn instances(&self, id: &str) -> Result<Vec<proto::Instance>, Status> {
        let request = proto::NodeGroupNodesRequest { id: id.to_owned() };
        let about = About::group(id);
        let answer = call!(self, node_group_nodes, NodeGroupNodes, about, request);
        answer.map(|answer| answer.instances)
    }

    pub(super) async fn template(&self, id: &str) -> Result<Vec<u8>, Status> {
        let request = proto::NodeGroupTemplateNodeInfoRequest { id: id.to_owned() };
        let about = About::group(id);
        let answer = call!(
            self,
            node_group_template_node_info,
            NodeGroupTemplateNodeInfo,
            about,
            request
        );
        answer.map(|answer| answer.node_bytes)
    }

    pub(super) async fn options(
        &self,
        id: &str,
        defaults: proto::NodeGroupAutoscalingOptions,
    ) -> Result<Option<proto::NodeGroupAutoscalingOptions>, Status> {
        let request = proto::NodeGroupAutoscalingOptionsRequest {
            id: id.to_owned(),
            defaults: Some(defaults),
        };
        let about = About::group(id);
        let answer = call!(
            self,
            node_group_get_options,
            NodeGroupGetOptions,
            about,
            request
        );
        match answer {
            Ok(answer) => Ok(answer.node_group_autoscaling_options),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(status),
        }
    }

    pub(super) async fn increase(&self, id: &str, delta: i32) -> Result<(), Status> {
        let request = proto::NodeGroupIncreaseSizeRequest {
            delta,
            id: id.to_owned(),
        };
        let about = About {
            delta,
            ..About::group(id)
        };
        call!(
            self,
            node_group_increase_size,
            NodeGroupIncreaseSize,
            about,
            request
        )
        .map(drop)
    }

    pub(super) async fn decrease(&self, id: &str, delta: i32) -> Result<(), Status> {
        let request = proto::NodeGroupDecreaseTargetSizeRequest {
            delta,
            id: id.to_owned(),
        };
        let about = About {
            delta,
            ..About::group(id)
        };
        call!(
            self,
            node_group_decrease_target_size,
            NodeGroupDecreaseTargetSize,
            about,
            request
        )
        .map(drop)
    }

    pub(super) async fn delete(
        &self,
        id: &str,
        nodes: Vec<proto::ExternalGrpcNode>,
    ) -> Result<(), Status> {
        let about = About {
            nodes: nodes.iter().map(|node| node.provider_id.clone()).collect(),
            ..About::group(id)
        };
        let request = proto::NodeGroupDeleteNodesRequest {
            nodes,
            id: id.to_owned(),
        };
        call!(
            self,
            node_group_delete_nodes,
            NodeGroupDeleteNodes,
            about,
            request
        )
        .map(drop)
    }
}
