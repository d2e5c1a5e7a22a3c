//! The kubelet of a hollow machine, as far as the API server can tell.
//! In: the Node object that may exist already, pods bound to it. Out: Node, Lease, pod status.
//! Holds: a missing Node is created once at start, with labels, taints and provider id; of an existing one only the default labels are
//! put right; a Node that is deleted under a running kubelet does not come back before the next boot.
//! Not here: NotReady after a crash; the node lifecycle controller says so when the Lease grows old.

mod objects;
mod pods;

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Taint},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use tokio::{
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

/// Where kubelets keep their Leases.
const LEASES: &str = "kube-node-lease";

/// How a machine's kubelet is started.
#[derive(Clone)]
pub struct KubeletSpec {
    /// A client that may do what a kubelet may.
    pub client: Client,
    /// The Node's name; the machine's if empty.
    pub node_name: String,
    /// `--provider-id`; none leaves it empty, as a kubelet without the flag does.
    pub provider_id: Option<String>,
    /// `--node-labels`.
    pub labels: BTreeMap<String, String>,
    /// `--register-with-taints`.
    pub taints: Vec<Taint>,
    /// Capacity and allocatable; `pods` included.
    pub resources: BTreeMap<String, String>,
    /// How often Lease and status are renewed; must be well below the controller's grace period.
    pub renew: Duration,
}

impl KubeletSpec {
    /// A machine with 4 cores and 8 GiB that renews its Lease every second.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let resources = [
            ("cpu", "4"),
            ("memory", "8Gi"),
            ("pods", "110"),
            ("ephemeral-storage", "50Gi"),
        ];
        let resources = resources.map(|(name, amount)| (name.to_owned(), amount.to_owned()));
        Self {
            client,
            node_name: String::new(),
            provider_id: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            resources: resources.into(),
            renew: Duration::from_secs(1),
        }
    }
}

impl fmt::Debug for KubeletSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KubeletSpec")
            .field("node_name", &self.node_name)
            .field("provider_id", &self.provider_id)
            .finish_non_exhaustive()
    }
}

/// A running kubelet; dropping it is what pulling the plug does.
#[derive(Debug)]
pub struct Kubelet {
    task: AbortHandle,
}

impl Kubelet {
    /// Starts one on a machine that has just booted.
    #[must_use]
    pub fn start(mut spec: KubeletSpec, machine: &str, boot_id: &str) -> Self {
        if spec.node_name.is_empty() {
            machine.clone_into(&mut spec.node_name);
        }
        let boot_id = boot_id.to_owned();
        let task = tokio::spawn(async move { run(spec, boot_id).await });
        Self {
            task: task.abort_handle(),
        }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(spec: KubeletSpec, boot_id: String) {
    let nodes: Api<Node> = Api::all(spec.client.clone());
    let mut beats = interval(spec.renew);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A kubelet tries to register until the API server lets it.
    let uid = loop {
        beats.tick().await;
        match register(&nodes, &spec, &boot_id).await {
            Ok(uid) => break uid,
            Err(error) => say(&spec, &error),
        }
    };
    let pods = pods::run_all(spec.client.clone(), spec.node_name.clone());
    tokio::join!(renew_all(&nodes, &spec, (&boot_id, &uid), beats), pods);
}

/// Renews Lease and status for ever.
async fn renew_all(
    nodes: &Api<Node>,
    spec: &KubeletSpec,
    (boot_id, uid): (&str, &str),
    mut beats: tokio::time::Interval,
) {
    let leases: Api<Lease> = Api::namespaced(spec.client.clone(), LEASES);
    loop {
        let renewed = async {
            renew_lease(&leases, &spec.node_name, uid).await?;
            report(nodes, spec, boot_id).await
        };
        if let Err(error) = renewed.await {
            say(spec, &error);
        }
        beats.tick().await;
    }
}

/// Creates the Node, or puts the default labels of an existing one right. Returns its uid.
async fn register(nodes: &Api<Node>, spec: &KubeletSpec, boot_id: &str) -> Result<String> {
    let name = &spec.node_name;
    let found = nodes
        .get_opt(name)
        .await
        .with_context(|| format!("get Node {name}"))?;
    let node = match found {
        None => {
            let fresh = objects::node(spec, boot_id)?;
            nodes
                .create(&PostParams::default(), &fresh)
                .await
                .with_context(|| format!("create Node {name}"))?
        }
        Some(_) => {
            let labels = objects::default_labels(name);
            let patch = serde_json::json!({"metadata": {"labels": labels}});
            nodes
                .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await
                .with_context(|| format!("label Node {name}"))?
        }
    };
    node.metadata
        .uid
        .context("the API server gives each Node a uid")
}

async fn renew_lease(leases: &Api<Lease>, name: &str, uid: &str) -> Result<()> {
    let patch = Patch::Merge(objects::lease_renewal());
    let renewed = leases.patch(name, &PatchParams::default(), &patch).await;
    match renewed {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let fresh = objects::lease(name, uid)?;
            leases
                .create(&PostParams::default(), &fresh)
                .await
                .map(drop)
                .with_context(|| format!("create Lease {name}"))
        }
        Err(error) => Err(error).with_context(|| format!("renew Lease {name}")),
    }
}

/// Says that the Node is ready and what it has. A Node that is gone stays gone.
async fn report(nodes: &Api<Node>, spec: &KubeletSpec, boot_id: &str) -> Result<()> {
    let name = &spec.node_name;
    let patch = Patch::Strategic(serde_json::json!({"status": objects::status(spec, boot_id)}));
    let reported = nodes
        .patch_status(name, &PatchParams::default(), &patch)
        .await;
    match reported {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("report the status of Node {name}")),
    }
}

fn say(spec: &KubeletSpec, error: &anyhow::Error) {
    tracing::warn!(node = %spec.node_name, error = format!("{error:#}"), "a hollow kubelet tries again");
}
