//! What the model's client keeps of the provider's answers, and until when.
//! Holds: groups and Node → group until a Refresh, also one that fails; label and types of GPUs for ever; a template for each group
//! that an answer named, as long as that answer is kept.
//! Not here: lists of instances; see `instances`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use proto_autoscaler::{ExternalGrpcNode, NodeGroup};
use tokio::sync::{Mutex, OnceCell};
use tonic::Status;

use super::{Event, EventLog, NodeSeen, provider::Provider, templates::Template};

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

/// A group as one answer told it; another answer makes another value, with a template of its own.
#[derive(Debug)]
pub(super) struct KnownGroup {
    pub(super) id: String,
    pub(super) min: i32,
    pub(super) max: i32,
    template: OnceCell<Template>,
}

impl KnownGroup {
    fn new(row: NodeGroup) -> Arc<Self> {
        Arc::new(Self {
            id: row.id,
            min: row.min_size,
            max: row.max_size,
            template: OnceCell::new(),
        })
    }
}

/// The client with its caches; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Caches {
    pub(super) provider: Provider,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    groups: Option<Vec<Arc<KnownGroup>>>,
    /// By name and provider id.
    group_for: HashMap<(String, String), Arc<KnownGroup>>,
    gpu_label: Option<String>,
    gpu_types: Option<BTreeSet<String>>,
}

impl Caches {
    pub(super) fn new(provider: Provider) -> Self {
        Self {
            provider,
            kept: Arc::default(),
        }
    }

    /// Drops what a Refresh makes stale, then sends it.
    pub(super) async fn refresh(&self) -> Result<(), Status> {
        {
            let mut kept = self.kept.lock().await;
            kept.groups = None;
            kept.group_for.clear();
        }
        self.provider.refresh().await
    }

    /// The groups; an error is an empty list that is asked for again at the next use.
    pub(super) async fn groups(&self) -> Vec<Arc<KnownGroup>> {
        let mut kept = self.kept.lock().await;
        if let Some(groups) = &kept.groups {
            return groups.clone();
        }
        let Ok(rows) = self.provider.groups().await else {
            return Vec::new();
        };
        let groups: Vec<_> = rows.into_iter().map(KnownGroup::new).collect();
        kept.groups = Some(groups.clone());
        groups
    }

    /// The group of a Node.
    pub(super) async fn group_for_node(
        &self,
        node: &NodeSeen,
    ) -> Result<Option<Arc<KnownGroup>>, Status> {
        self.group_for(to_message(node)).await
    }

    /// The group of a Node, or of what stands for one; that it has none is asked for again each time.
    pub(super) async fn group_for(
        &self,
        node: ExternalGrpcNode,
    ) -> Result<Option<Arc<KnownGroup>>, Status> {
        let mut kept = self.kept.lock().await;
        let key = (node.name.clone(), node.provider_id.clone());
        if let Some(known) = kept.group_for.get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(row) = self.provider.group_for(node).await? else {
            return Ok(None);
        };
        let group = KnownGroup::new(row);
        kept.group_for.insert(key, Arc::clone(&group));
        Ok(Some(group))
    }

    /// Asks for the GPU label until it is answered once; till then each look at the GPUs of a Node is a call.
    pub(super) async fn gpu_label(&self) {
        let mut kept = self.kept.lock().await;
        if kept.gpu_label.is_none() {
            kept.gpu_label = self.provider.gpu_label().await.ok();
        }
    }

    /// Asks for the types of GPUs until they are answered once.
    pub(super) async fn gpu_types(&self) {
        let mut kept = self.kept.lock().await;
        if kept.gpu_types.is_none() {
            let types = self.provider.gpu_types().await;
            kept.gpu_types = types.ok().map(BTreeSet::from_iter);
        }
    }

    /// The provider's template of a group, asked for once for each value that stands for the group.
    pub(super) async fn template(&self, group: &KnownGroup, events: &EventLog) -> Option<Template> {
        let asked = group.template.get_or_try_init(async || {
            let bytes = self.provider.template(&group.id).await;
            let bytes = bytes.map_err(|status| status.to_string())?;
            if bytes.is_empty() {
                let why = format!("the template of {} is empty", group.id);
                events.push(Event::WouldPanic { why: why.clone() });
                return Err(why);
            }
            Template::decode(&bytes)
        });
        match asked.await {
            Ok(template) => Some(template.clone()),
            Err(error) => {
                tracing::debug!(group = group.id, error, "no template");
                None
            }
        }
    }
}
