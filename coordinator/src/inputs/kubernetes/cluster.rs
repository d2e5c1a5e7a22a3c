//! The connection to the cluster's API.
//!
//! In: flags, or the pod's service account. Out: typed `Api`s, and calls that end in time with an outcome one can act on.
//! Holds: the client never repeats a call by itself: a write that timed out may have been done, and its hidden
//! repetition would make the winner believe that it lost.

use std::{fmt::Display, future::Future, path::PathBuf, time::Duration};

use coordinator_crds as crds;
use k8s_openapi::api::core::v1 as core_v1;
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams},
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
    core::{ApiResource, DynamicObject, Request},
};
use serde_json::Value;
use thiserror::Error;

use super::notices::Kind;

use crate::args::KubernetesSettings;

/// Namespace of the coordinator's own objects where neither a flag nor a pod names one.
const OWN_NAMESPACE: &str = "homelab-autoscaler-system";

/// Longest wait for one answer. The autoscaler gives up after 5 s, so a commit must have failed before that.
pub(crate) const CALL: Duration = Duration::from_secs(4);

/// A way into the cluster; clones share its connections.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespaces: Vec<String>,
    own_namespace: String,
}

/// Why there is no way into the cluster.
#[derive(Debug, Error)]
pub enum ConnectCluster {
    /// The file of --kubeconfig.
    #[error("read kubeconfig {}", path.display())]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KubeconfigError,
    },
    /// Neither a kubeconfig nor a service account.
    #[error("find the cluster: set --kubeconfig, or run in a pod with a service account")]
    Infer(#[source] InferConfigError),
    /// The settings make no client.
    #[error("make a client for the cluster")]
    Client(#[source] kube::Error),
}

/// What became of a call that brought no result.
#[derive(Debug, Error)]
pub(crate) enum CallFault {
    /// There is no such object.
    #[error("not found")]
    NotFound,
    /// Somebody else was there first (409).
    #[error("conflict: {0}")]
    Conflict(String),
    /// A failed `test`, a missing path, or a value that the schema refuses (422).
    #[error("not accepted: {0}")]
    Unprocessable(String),
    /// Refused for another reason: no right to do it, a malformed request.
    #[error("refused: {0}")]
    Refused(String),
    /// No answer, or one that leaves open whether it was done.
    #[error("no answer: {0}")]
    Unsure(String),
}

impl Cluster {
    /// Reads where the cluster is and makes a client; nothing is sent yet.
    ///
    /// # Errors
    /// The kubeconfig cannot be used, or there is none and this is no pod.
    pub async fn connect(settings: &KubernetesSettings) -> Result<Self, ConnectCluster> {
        let (mut config, pod_namespace) = match &settings.kubeconfig {
            Some(path) => (from_file(path).await?, None),
            None => {
                let config = Config::infer().await.map_err(ConnectCluster::Infer)?;
                let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
                let namespace = in_pod.then(|| config.default_namespace.clone());
                (config, namespace)
            }
        };
        config.default_retry = false;
        config.connect_timeout = Some(CALL);
        let client = Client::try_from(config).map_err(ConnectCluster::Client)?;
        let own_namespace = settings
            .own_namespace
            .clone()
            .or(pod_namespace)
            .unwrap_or_else(|| OWN_NAMESPACE.to_owned());
        Ok(Self {
            client,
            namespaces: settings.namespaces.clone(),
            own_namespace,
        })
    }

    /// A cluster behind a client that already exists, watched as a whole. The client should not retry by itself.
    #[must_use]
    pub fn with_client(client: Client, own_namespace: &str) -> Self {
        Self {
            client,
            namespaces: Vec::new(),
            own_namespace: own_namespace.to_owned(),
        }
    }

    /// Namespace of the Lease, the Secret and the rest of what is the coordinator's own.
    #[must_use]
    pub fn own_namespace(&self) -> &str {
        &self.own_namespace
    }

    /// The watched namespaces; `None` stands for all of them.
    pub(crate) fn scopes(&self) -> Vec<Option<String>> {
        if self.namespaces.is_empty() {
            vec![None]
        } else {
            self.namespaces.iter().cloned().map(Some).collect()
        }
    }

    /// Objects of one watched namespace, or of all.
    pub(crate) fn scoped<K>(&self, scope: Option<&str>) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        match scope {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Patches the status of a Group, and has the API server give up after `limit` too: a request that is merely dropped
    /// here may still be carried out there.
    pub(crate) async fn patch_group_status(
        &self,
        (namespace, name): (&str, &str),
        patch: &Patch<Value>,
        limit: Duration,
    ) -> Result<crds::Group, CallFault> {
        let unsendable = |fault: &dyn Display| CallFault::Refused(fault.to_string());
        let api = self.groups(namespace);
        let mut request = Request::new(api.resource_url())
            .patch_subresource("status", name, &PatchParams::default(), patch)
            .map_err(|fault| unsendable(&fault))?;
        let bounded = format!("{}&timeout={}ms", request.uri(), limit.as_millis());
        *request.uri_mut() = bounded
            .parse()
            .map_err(|fault: http::uri::InvalidUri| unsendable(&fault))?;
        call_within(limit, self.client.request(request)).await
    }

    pub(crate) fn groups(&self, namespace: &str) -> Api<crds::Group> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn machines(&self, namespace: &str) -> Api<crds::Node> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Our objects without their type, for one that does not decode.
    pub(crate) fn untyped(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        let resource = match kind {
            Kind::Group => ApiResource::erase::<crds::Group>(&()),
            Kind::Machine => ApiResource::erase::<crds::Node>(&()),
        };
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    pub(crate) fn nodes(&self) -> Api<core_v1::Node> {
        Api::all(self.client.clone())
    }

    pub(crate) fn all<K: kube::Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Objects of the coordinator's own namespace, or of the one given.
    pub(crate) fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

async fn from_file(path: &PathBuf) -> Result<Config, ConnectCluster> {
    let fault = |source| ConnectCluster::Kubeconfig {
        path: path.clone(),
        source,
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(fault)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(fault)
}

/// Makes one call, at most for [`CALL`].
pub(crate) async fn call<T>(future: impl Future<Output = kube::Result<T>>) -> Result<T, CallFault> {
    call_within(CALL, future).await
}

/// Makes one call, at most for `limit`.
pub(crate) async fn call_within<T>(
    limit: Duration,
    future: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallFault> {
    match tokio::time::timeout(limit, future).await {
        Ok(outcome) => outcome.map_err(classify),
        Err(_) => Err(CallFault::Unsure(format!("nothing within {limit:?}"))),
    }
}

fn classify(fault: kube::Error) -> CallFault {
    let kube::Error::Api(status) = fault else {
        return CallFault::Unsure(fault.to_string());
    };
    let told = status.message;
    match status.code {
        404 => CallFault::NotFound,
        409 => CallFault::Conflict(told),
        422 => CallFault::Unprocessable(told),
        429 | 500..=599 => CallFault::Unsure(told),
        _ => CallFault::Refused(told),
    }
}
