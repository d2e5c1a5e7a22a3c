//! What the next machine of a group will look like, as the model reckons.
//! In: good Nodes, the provider's templates, at last bad Nodes. Out: a [`Template`] for each group of which anything is known.
//! Holds: a Node that was good once is remembered for as long as its group is named; only a group without one is asked about.
//! Not here: the pods that DaemonSets would put on the machine.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use proto_autoscaler::{ExternalGrpcNode, core_v1};

use super::{
    CaModel, Cluster, NodeSeen, Resources, Snapshot,
    cluster::{DELETION_CANDIDATE, TO_BE_DELETED, TaintSeen},
};

/// What a machine of a group will look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) taints: Vec<TaintSeen>,
    /// What pods may ask for.
    pub(super) allocatable: Resources,
    /// What the choice between groups looks at.
    pub(super) capacity: Resources,
    /// Of the Node that it was made from; empty if that was the provider's.
    pub(super) provider_id: String,
}

impl Template {
    pub(super) fn of_node(node: &NodeSeen) -> Self {
        Self {
            labels: node.labels.clone(),
            taints: lasting(node.taints.clone()),
            allocatable: node.allocatable,
            capacity: node.capacity,
            provider_id: node.provider_id.clone(),
        }
    }

    /// Reads the bytes of a `v1.Node`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let node = core_v1::Node::decode(bytes).map_err(|error| error.to_string())?;
        let status = node.status.unwrap_or_default();
        let spec = node.spec.unwrap_or_default();
        let taints = spec.taints.into_iter().map(|taint| TaintSeen {
            key: taint.key,
            value: taint.value,
            effect: taint.effect,
        });
        Ok(Self {
            labels: node.metadata.unwrap_or_default().labels,
            taints: lasting(taints.collect()),
            allocatable: amounts(&status.allocatable)?,
            capacity: amounts(&status.capacity)?,
            provider_id: spec.provider_id,
        })
    }

    /// The Node that the model makes up for a machine of this group that is still to come.
    pub(super) fn upcoming_node(&self, group: &str, draw: u64, number: i32) -> ExternalGrpcNode {
        let name = format!("template-node-for-{group}-{draw}-upcoming-{number}");
        let mut labels = self.labels.clone();
        let own = [
            ("cluster-autoscaler.kubernetes.io/template-node", "true"),
            ("kubernetes.io/hostname", name.as_str()),
        ];
        labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let annotation = "cluster-autoscaler.k8s.io/upcoming-node";
        ExternalGrpcNode {
            provider_id: self.provider_id.clone(),
            name,
            labels,
            annotations: [(annotation.to_owned(), "true".to_owned())].into(),
        }
    }
}

fn amounts(listed: &BTreeMap<String, core_v1::Quantity>) -> Result<Resources, String> {
    let pairs = listed
        .iter()
        .map(|(name, amount)| (name.as_str(), amount.string.as_str()));
    Resources::parse(pairs).map_err(|error| format!("{error:#}"))
}

/// The taints that a Node keeps: not the autoscaler's own, not those of a start or of a condition.
fn lasting(mut taints: Vec<TaintSeen>) -> Vec<TaintSeen> {
    taints.retain(|taint| {
        let passes = taint.key.starts_with("node.kubernetes.io/") || taint.is_of_startup();
        !passes && taint.key != TO_BE_DELETED && taint.key != DELETION_CANDIDATE
    });
    taints
}

impl<C: Cluster> CaModel<C> {
    /// Makes the templates anew: from good Nodes, then from memory, then from the provider, at last from any Node.
    pub(super) async fn make_templates(&mut self, snapshot: &Snapshot) {
        let stability = self.options.template_stability;
        let is_good = |node: &&NodeSeen| {
            node.is_ready()
                && node.ready_for > stability
                && !node.unschedulable
                && !node.has_taint(TO_BE_DELETED)
        };
        let (good, bad): (Vec<&NodeSeen>, Vec<&NodeSeen>) =
            snapshot.nodes.iter().partition(is_good);
        let mut made = self.of_first_nodes(&good, BTreeMap::new()).await;
        self.remembered.extend(made.clone());
        let mut named = BTreeSet::new();
        for group in self.caches.groups().await {
            named.insert(group.id.clone());
            if made.contains_key(&group.id) {
                continue;
            }
            let template = match self.remembered.get(&group.id) {
                Some(remembered) => Some(remembered.clone()),
                None => self.caches.template(&group, &self.events).await,
            };
            made.extend(template.map(|template| (group.id.clone(), template)));
        }
        // What was seen of a group goes with the group, also where the groups could not be listed.
        self.remembered.retain(|id, _| named.contains(id));
        self.templates = self.of_first_nodes(&bad, made).await;
    }

    /// Adds the first of these Nodes for each group that has no template yet.
    async fn of_first_nodes(
        &self,
        nodes: &[&NodeSeen],
        mut made: BTreeMap<String, Template>,
    ) -> BTreeMap<String, Template> {
        for node in nodes {
            if let Ok(Some(group)) = self.caches.group_for_node(node).await {
                let first = made.entry(group.id.clone());
                first.or_insert_with(|| Template::of_node(node));
            }
        }
        made
    }
}
