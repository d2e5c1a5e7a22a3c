//! Objects in the cluster: emptying it between stages, pods that ask for room, waiting for Nodes.

use std::fmt::Debug;

use anyhow::{Context, Result, bail, ensure};
use coordinator_crds::{Group, Node as Machine};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, ReplicaSet},
        coordination::v1::Lease,
        core::v1::{
            ConfigMap, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret,
        },
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json};

use super::{ClusterStage, LAB, LIMIT, OWN};
use crate::harness::{members::SECRETS, wait};

/// The ConfigMap in which the coordinator pins the keys of relays, and the Secret with the agents' passwords.
const PINS: &str = "homelab-autoscaler-agents";

/// Removes what an earlier stage left, and makes the namespaces.
pub(super) async fn empty(client: &Client) -> Result<()> {
    for name in [LAB, OWN] {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        if namespaces.get_opt(name).await?.is_none() {
            let namespace = from_value(json!({"metadata": {"name": name}}))?;
            namespaces
                .create(&PostParams::default(), &namespace)
                .await?;
        }
    }
    remove(&in_namespace::<Machine>(client, LAB)).await?;
    remove(&in_namespace::<Group>(client, LAB)).await?;
    remove(&in_namespace::<PodDisruptionBudget>(client, LAB)).await?;
    // Whoever makes pods goes before them.
    remove(&in_namespace::<ReplicaSet>(client, LAB)).await?;
    remove(&in_namespace::<DaemonSet>(client, LAB)).await?;
    remove(&in_namespace::<Pod>(client, LAB)).await?;
    remove(&in_namespace::<PersistentVolumeClaim>(client, LAB)).await?;
    remove(&Api::<PersistentVolume>::all(client.clone())).await?;
    remove(&Api::<Node>::all(client.clone())).await?;
    remove(&in_namespace::<Lease>(client, "kube-node-lease")).await?;
    // It pins the keys of the agents before; the other ConfigMap of a namespace belongs to the controller manager.
    let pins = in_namespace::<ConfigMap>(client, OWN);
    gone_is_fine(pins.delete(PINS, &DeleteParams::default()).await)?;
    let secrets = in_namespace::<Secret>(client, OWN);
    gone_is_fine(secrets.delete(PINS, &DeleteParams::default()).await)?;
    for secret in SECRETS {
        gone_is_fine(secrets.delete(secret, &DeleteParams::default()).await)?;
    }
    // A killed leader would otherwise be waited for.
    remove(&in_namespace::<Lease>(client, OWN)).await
}

fn in_namespace<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(client.clone(), namespace)
}

/// Deletes every object of a kind, also those that wait for a finalizer, and waits until they are gone.
async fn remove<K>(api: &Api<K>) -> Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    wait::until(LIMIT, "an empty cluster", async || {
        let left = api.list(&ListParams::default()).await?;
        for object in &left {
            let name = object.name_any();
            if !object.finalizers().is_empty() {
                let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                gone_is_fine(api.patch(&name, &PatchParams::default(), &none).await)?;
            }
            let now = DeleteParams::default().grace_period(0);
            gone_is_fine(api.delete(&name, &now).await)?;
        }
        ensure!(left.items.is_empty(), "{} left", left.items.len());
        Ok(())
    })
    .await
}

fn gone_is_fine<T>(outcome: kube::Result<T>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl ClusterStage {
    /// Every core Node.
    #[must_use]
    pub fn nodes(&self) -> Api<Node> {
        Api::all(self.client())
    }

    /// The lab's groups.
    #[must_use]
    pub fn groups(&self) -> Api<Group> {
        in_namespace(&self.client(), LAB)
    }

    /// The lab's machines, as objects.
    #[must_use]
    pub fn machine_objects(&self) -> Api<Machine> {
        in_namespace(&self.client(), LAB)
    }

    /// The lab's pods.
    #[must_use]
    pub fn pods(&self) -> Api<Pod> {
        in_namespace(&self.client(), LAB)
    }

    /// Creates a pod that asks for so many cores.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create_pod(&self, name: &str, cpu: &str) -> Result<()> {
        let requests = json!({"cpu": cpu, "memory": "64Mi"});
        self.create_picky_pod(name, requests, json!({})).await
    }

    /// Creates a pod with these requests that runs only on Nodes with these labels.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create_picky_pod(&self, name: &str, requests: Value, labels: Value) -> Result<()> {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "nodeSelector": labels,
                "containers": [{"name": "web", "image": "none", "resources": {"requests": requests}}],
            },
        });
        self.pods()
            .create(&PostParams::default(), &from_value(pod)?)
            .await
            .with_context(|| format!("create pod {name}"))?;
        Ok(())
    }

    /// Deletes a pod.
    ///
    /// # Errors
    /// When the API server refuses that.
    pub async fn delete_pod(&self, name: &str) -> Result<()> {
        self.pods().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until a pod runs; returns the Node it runs on.
    ///
    /// # Errors
    /// When it never runs.
    pub async fn until_pod_runs(&self, name: &str) -> Result<String> {
        wait::until(LIMIT, "the pod to run", async || {
            let pod = self.pods().get(name).await?;
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_ref());
            if phase.is_none_or(|phase| phase != "Running") {
                let nodes = self.nodes().list(&ListParams::default()).await?;
                bail!("{:?} beside {:?}", pod.status, nodes.items);
            }
            let node = pod.spec.and_then(|spec| spec.node_name);
            node.context("a running pod is bound")
        })
        .await
    }

    /// Waits until a Node is as it should be.
    ///
    /// # Errors
    /// When it never is; with the Node last seen.
    pub async fn until_node(
        &self,
        name: &str,
        what: &str,
        fits: impl Fn(&Node) -> bool,
    ) -> Result<Node> {
        wait::until(LIMIT, what, async || {
            let node = self.nodes().get(name).await?;
            ensure!(fits(&node), "{node:?}");
            Ok(node)
        })
        .await
    }

    /// Waits until there is no Node of this name.
    ///
    /// # Errors
    /// When there always is.
    pub async fn until_no_node(&self, name: &str) -> Result<()> {
        wait::until(LIMIT, "the Node to be gone", async || {
            ensure!(self.nodes().get_opt(name).await?.is_none(), "it is there");
            Ok(())
        })
        .await
    }
}

/// The value of a Node's condition.
#[must_use]
pub fn condition(node: &Node, kind: &str) -> Option<String> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == kind)?;
    Some(found.status.clone())
}

/// Whether a Node has a taint with this key.
#[must_use]
pub fn has_taint(node: &Node, key: &str) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.is_some_and(|taints| taints.iter().any(|taint| taint.key == key))
}
