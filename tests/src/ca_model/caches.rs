//! What the model keeps of the provider's answers, and for how long.
//! Holds: groups, Node → group and templates until the next Refresh; instance lists for two minutes; the GPU label for ever.

use std::collections::{BTreeMap, HashMap};

use prost::Message;
use proto_autoscaler::{ExternalGrpcNode, NodeGroup, core_v1};
use tonic::Status;

use super::{
    Event, EventLog, NodeSeen, Options, Resources,
    cluster::{DELETION_CANDIDATE, STARTUP_TAINT, TO_BE_DELETED, TaintSeen},
    provider::Provider,
    state::{InstanceSeen, InstanceState},
};

/// Why the model sends a Node that does not exist.
#[derive(Debug, Clone, Copy)]
pub(super) enum FakeReason {
    /// An instance without a Node.
    Unregistered,
    /// An instance whose creation failed.
    CreateError,
}

/// A Node as it is sent to the provider.
pub(super) fn to_message(node: &NodeSeen) -> ExternalGrpcNode {
    ExternalGrpcNode {
        provider_id: node.provider_id.clone(),
        name: node.name.clone(),
        labels: node.labels.clone(),
        annotations: node.annotations.clone(),
    }
}

/// The Node that stands for an instance without one: name and provider id are the instance's id.
pub(super) fn fake_node(id: &str, reason: FakeReason) -> ExternalGrpcNode {
    let reason = match reason {
        FakeReason::Unregistered => "unregistered",
        FakeReason::CreateError => "create-error",
    };
    let annotation = "k8s.io/cluster-autoscaler/fake-node-reason";
    ExternalGrpcNode {
        provider_id: id.to_owned(),
        name: id.to_owned(),
        labels: BTreeMap::new(),
        annotations: [(annotation.to_owned(), reason.to_owned())].into(),
    }
}

/// What a machine of a group will look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) taints: Vec<TaintSeen>,
    pub(super) allocatable: Resources,
}

impl Template {
    pub(super) fn of_node(node: &NodeSeen) -> Self {
        Self {
            labels: node.labels.clone(),
            taints: lasting(node.taints.clone()),
            allocatable: node.allocatable,
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let node = core_v1::Node::decode(bytes).map_err(|error| error.to_string())?;
        let status = node.status.unwrap_or_default();
        let amounts = status.allocatable.iter();
        let amounts = amounts.map(|(name, amount)| (name.as_str(), amount.string.as_str()));
        let taints = node.spec.unwrap_or_default().taints.into_iter();
        let taints = taints.map(|taint| TaintSeen {
            key: taint.key,
            value: taint.value,
            effect: taint.effect,
        });
        Ok(Self {
            labels: node.metadata.unwrap_or_default().labels,
            taints: lasting(taints.collect()),
            allocatable: Resources::parse(amounts).map_err(|error| format!("{error:#}"))?,
        })
    }
}

/// The taints that a Node keeps: not the autoscaler's own, not those of a start or of a condition.
fn lasting(mut taints: Vec<TaintSeen>) -> Vec<TaintSeen> {
    taints.retain(|taint| {
        let passes =
            taint.key.starts_with("node.kubernetes.io/") || taint.key.starts_with(STARTUP_TAINT);
        !passes && taint.key != TO_BE_DELETED && taint.key != DELETION_CANDIDATE
    });
    taints
}

#[derive(Debug, Default)]
pub(super) struct Caches {
    groups: Option<Vec<NodeGroup>>,
    /// By name and provider id.
    group_for: HashMap<(String, String), Option<NodeGroup>>,
    templates: BTreeMap<String, Template>,
    /// Copies of good Nodes, kept for ever.
    remembered: BTreeMap<String, Template>,
    /// With the moment of each list.
    instances: BTreeMap<String, (u64, Vec<InstanceSeen>)>,
    gpu_label: Option<String>,
}

impl Caches {
    /// Drops what a Refresh makes stale, whether it succeeds or not.
    pub(super) fn before_refresh(&mut self) {
        self.groups = None;
        self.group_for.clear();
        self.templates.clear();
    }

    /// The groups; an error is an empty list that is asked for again at the next use.
    pub(super) async fn groups(&mut self, provider: &Provider) -> Vec<NodeGroup> {
        if let Some(groups) = &self.groups {
            return groups.clone();
        }
        match provider.groups().await {
            Ok(groups) => {
                self.groups = Some(groups.clone());
                groups
            }
            Err(_) => Vec::new(),
        }
    }

    /// The group of a Node; that it has none is kept only if the Node has a provider id.
    pub(super) async fn group_for(
        &mut self,
        provider: &Provider,
        node: ExternalGrpcNode,
    ) -> Result<Option<NodeGroup>, Status> {
        let key = (node.name.clone(), node.provider_id.clone());
        if let Some(known) = self.group_for.get(&key) {
            return Ok(known.clone());
        }
        let group = provider.group_for(node).await?;
        // An answer without a group is asked for again.
        if group.is_some() {
            self.group_for.insert(key, group.clone());
        }
        Ok(group)
    }

    /// Asks once for the GPU label; any answer is kept for ever.
    pub(super) async fn gpu_label(&mut self, provider: &Provider) {
        if self.gpu_label.is_none() {
            self.gpu_label = provider.gpu_label().await.ok();
        }
    }

    /// The instances of a group, at most as old as the cache allows.
    pub(super) async fn instances(
        &mut self,
        provider: &Provider,
        group: &str,
        (now_ms, options): (u64, &Options),
    ) -> Result<Vec<InstanceSeen>, Status> {
        let limit = u64::try_from(options.instance_cache.as_millis()).unwrap_or(u64::MAX);
        if let Some((at_ms, kept)) = self.instances.get(group)
            && now_ms.saturating_sub(*at_ms) < limit
        {
            return Ok(kept.clone());
        }
        let listed: Vec<InstanceSeen> = provider
            .instances(group)
            .await?
            .into_iter()
            .map(instance)
            .collect();
        self.instances
            .insert(group.to_owned(), (now_ms, listed.clone()));
        Ok(listed)
    }

    /// Makes the next look at a group's instances a fresh one.
    pub(super) fn forget_instances(&mut self, group: &str) {
        self.instances.remove(group);
    }

    /// Keeps the look of a good Node for later.
    pub(super) fn remember(&mut self, group: &str, template: Template) {
        self.remembered.insert(group.to_owned(), template);
    }

    /// The template of a group without a good Node: a remembered one, else the provider's, asked once between two Refreshes.
    pub(super) async fn template(
        &mut self,
        provider: &Provider,
        group: &str,
        events: &EventLog,
    ) -> Option<Template> {
        if let Some(known) = self.known_template(group) {
            return Some(known.clone());
        }
        let bytes = provider.template(group).await.ok()?;
        if bytes.is_empty() {
            let why = format!("the template of {group} is empty");
            events.push(Event::WouldPanic { why });
            return None;
        }
        match Template::decode(&bytes) {
            Ok(template) => {
                self.templates.insert(group.to_owned(), template.clone());
                Some(template)
            }
            Err(error) => {
                tracing::warn!(group, error, "a template cannot be read");
                None
            }
        }
    }

    /// The template of a group if nothing has to be asked.
    pub(super) fn known_template(&self, group: &str) -> Option<&Template> {
        self.remembered
            .get(group)
            .or_else(|| self.templates.get(group))
    }
}

fn instance(instance: proto_autoscaler::Instance) -> InstanceSeen {
    use proto_autoscaler::instance_status::InstanceState as Wire;
    let status = instance.status.unwrap_or_default();
    let state = match status.instance_state() {
        Wire::Unspecified => InstanceState::None,
        Wire::InstanceRunning => InstanceState::Running,
        Wire::InstanceCreating => InstanceState::Creating,
        Wire::InstanceDeleting => InstanceState::Deleting,
    };
    let code = status.error_info.map(|error| error.error_code);
    InstanceSeen {
        id: instance.id,
        state,
        // An error without a code, or without a state, is read as none.
        error: code.filter(|code| !code.is_empty() && state != InstanceState::None),
    }
}
