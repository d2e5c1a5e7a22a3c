//! Single RPCs of the provider, as a test sends them in place of an autoscaler.
//! In: names of groups and machines. Out: the provider's answers, or its status.
//! Holds: each call is one RPC; nothing is kept, nothing is repeated.
//! Not here: the autoscaler's order of calls and its caches; see `ca_model`.

use std::collections::BTreeMap;

use proto_autoscaler::{
    ExternalGrpcNode, Instance, NodeGroup, NodeGroupDecreaseTargetSizeRequest,
    NodeGroupDeleteNodesRequest, NodeGroupForNodeRequest, NodeGroupIncreaseSizeRequest,
    NodeGroupNodesRequest, NodeGroupTargetSizeRequest, NodeGroupTemplateNodeInfoRequest,
    NodeGroupsRequest, RefreshRequest, cloud_provider_client::CloudProviderClient,
    instance_status::InstanceState,
};
use tonic::{Status, transport::Channel};

/// A client of the provider, for the groups of one namespace.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For the calls that have no method here.
    pub client: CloudProviderClient<Channel>,
    namespace: String,
}

impl Caller {
    /// Over a connection.
    #[must_use]
    pub fn new(channel: Channel, namespace: &str) -> Self {
        Self {
            client: CloudProviderClient::new(channel),
            namespace: namespace.to_owned(),
        }
    }

    /// The id that the autoscaler knows a group by.
    #[must_use]
    pub fn group_id(&self, group: &str) -> String {
        format!("{}/{group}", self.namespace)
    }

    /// The provider id that a machine is promised to have.
    #[must_use]
    pub fn provider_id(&self, machine: &str) -> String {
        format!("homelab://{}/{machine}", self.namespace)
    }

    /// The name of the machine with this provider id.
    #[must_use]
    pub fn machine_of(&self, provider_id: &str) -> Option<String> {
        let name = provider_id.strip_prefix(&self.provider_id(""))?;
        Some(name.to_owned())
    }

    /// A machine's Node, as it is when it has joined.
    #[must_use]
    pub fn node(&self, machine: &str) -> ExternalGrpcNode {
        ExternalGrpcNode {
            provider_id: self.provider_id(machine),
            name: machine.to_owned(),
            ..ExternalGrpcNode::default()
        }
    }

    /// What stands for a machine that has no Node: its provider id is its name as well.
    #[must_use]
    pub fn fake_node(&self, machine: &str, reason: &str) -> ExternalGrpcNode {
        let id = self.provider_id(machine);
        let annotation = "k8s.io/cluster-autoscaler/fake-node-reason";
        ExternalGrpcNode {
            name: id.clone(),
            provider_id: id,
            labels: BTreeMap::new(),
            annotations: [(annotation.to_owned(), reason.to_owned())].into(),
        }
    }

    /// `Refresh`.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn refresh(&self) -> Result<(), Status> {
        let mut client = self.client.clone();
        client.refresh(RefreshRequest {}).await.map(drop)
    }

    /// `NodeGroups`.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn groups(&self) -> Result<Vec<NodeGroup>, Status> {
        let mut client = self.client.clone();
        let answer = client.node_groups(NodeGroupsRequest {}).await?;
        Ok(answer.into_inner().node_groups)
    }

    /// `NodeGroupForNode`; empty fields if it has none.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn group_for(&self, node: ExternalGrpcNode) -> Result<NodeGroup, Status> {
        let mut client = self.client.clone();
        let request = NodeGroupForNodeRequest { node: Some(node) };
        let answer = client.node_group_for_node(request).await?;
        Ok(answer.into_inner().node_group.unwrap_or_default())
    }

    /// The id of the group of a machine's Node; empty if it has none.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn group_of(&self, machine: &str) -> Result<String, Status> {
        Ok(self.group_for(self.node(machine)).await?.id)
    }

    /// `NodeGroupTargetSize`.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn target(&self, group: &str) -> Result<i32, Status> {
        let mut client = self.client.clone();
        let id = self.group_id(group);
        let answer = client.node_group_target_size(NodeGroupTargetSizeRequest { id });
        Ok(answer.await?.into_inner().target_size)
    }

    /// `Refresh`, then `NodeGroupTargetSize`, as the autoscaler looks before it asks.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn look(&self, group: &str) -> Result<i32, Status> {
        self.refresh().await?;
        self.target(group).await
    }

    /// `NodeGroupNodes`.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn instances(&self, group: &str) -> Result<Vec<Instance>, Status> {
        let mut client = self.client.clone();
        let id = self.group_id(group);
        let answer = client
            .node_group_nodes(NodeGroupNodesRequest { id })
            .await?;
        Ok(answer.into_inner().instances)
    }

    /// The machines of a group that are listed in this state.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn listed(&self, group: &str, state: InstanceState) -> Result<Vec<String>, Status> {
        let instances = self.instances(group).await?.into_iter();
        let in_state = instances.filter(|instance| {
            let status = instance.status.as_ref();
            status.is_some_and(|status| status.instance_state() == state)
        });
        Ok(in_state
            .filter_map(|instance| self.machine_of(&instance.id))
            .collect())
    }

    /// `NodeGroupTemplateNodeInfo`: the bytes of a core Node.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn template(&self, group: &str) -> Result<Vec<u8>, Status> {
        let mut client = self.client.clone();
        let id = self.group_id(group);
        let request = NodeGroupTemplateNodeInfoRequest { id };
        let answer = client.node_group_template_node_info(request).await?;
        Ok(answer.into_inner().node_bytes)
    }

    /// `NodeGroupIncreaseSize`.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn increase(&self, group: &str, delta: i32) -> Result<(), Status> {
        let mut client = self.client.clone();
        let id = self.group_id(group);
        let request = NodeGroupIncreaseSizeRequest { delta, id };
        client.node_group_increase_size(request).await.map(drop)
    }

    /// `NodeGroupDecreaseTargetSize`; `delta` is negative.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn decrease(&self, group: &str, delta: i32) -> Result<(), Status> {
        let mut client = self.client.clone();
        let id = self.group_id(group);
        let request = NodeGroupDecreaseTargetSizeRequest { delta, id };
        client
            .node_group_decrease_target_size(request)
            .await
            .map(drop)
    }

    /// `NodeGroupDeleteNodes` of these Nodes.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn delete_nodes(
        &self,
        group: &str,
        nodes: Vec<ExternalGrpcNode>,
    ) -> Result<(), Status> {
        let mut client = self.client.clone();
        let id = self.group_id(group);
        let request = NodeGroupDeleteNodesRequest { nodes, id };
        client.node_group_delete_nodes(request).await.map(drop)
    }

    /// `NodeGroupDeleteNodes` of one machine's Node.
    ///
    /// # Errors
    /// The provider's status.
    pub async fn delete(&self, group: &str, machine: &str) -> Result<(), Status> {
        self.delete_nodes(group, vec![self.node(machine)]).await
    }
}
