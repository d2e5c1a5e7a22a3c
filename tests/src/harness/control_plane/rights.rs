//! The rights of what is installed: those that the files of `deploy/` ship, and no other.
//! Out: a kubeconfig for each ServiceAccount.
//! Not here: the rest of what is installed; see the test that has the API server check it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use coordinator_crds::yaml;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta},
};
use serde_json::{Value, from_value};

use super::{ControlPlane, kubeconfig};

/// Namespace of everything that is installed.
const OWN: &str = "homelab-autoscaler-system";
/// Kinds that rights are made of, in the plural of their paths.
const KINDS: [(&str, &str); 6] = [
    ("Namespace", "namespaces"),
    ("ServiceAccount", "serviceaccounts"),
    ("ClusterRole", "clusterroles"),
    ("ClusterRoleBinding", "clusterrolebindings"),
    ("Role", "roles"),
    ("RoleBinding", "rolebindings"),
];
/// Longer than any test program runs.
const TOKEN_SECONDS: i64 = 6 * 3600;

/// Who is installed with rights of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// `deploy/install.yaml`.
    Coordinator,
    /// `deploy/cluster-autoscaler.yaml`, which is applied after it.
    ClusterAutoscaler,
}

impl Account {
    const fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "homelab-coordinator",
            Self::ClusterAutoscaler => "cluster-autoscaler",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Coordinator => "install.yaml",
            Self::ClusterAutoscaler => "cluster-autoscaler.yaml",
        }
    }
}

impl ControlPlane {
    /// Creates the ServiceAccounts, their roles and bindings as they are shipped, and kubeconfigs with tokens of their own.
    ///
    /// # Errors
    /// When the API server refuses one of them.
    pub async fn grant_shipped_rights(&self) -> Result<()> {
        for account in [Account::Coordinator, Account::ClusterAutoscaler] {
            self.grant(account).await?;
        }
        Ok(())
    }

    async fn grant(&self, account: Account) -> Result<()> {
        let client = self.client().await?;
        let mut granted = 0;
        for document in shipped(account.file())? {
            let kind = document["kind"].as_str();
            let plural = KINDS.iter().find(|(name, _)| Some(*name) == kind);
            if let Some((_, plural)) = plural {
                apply(&client, &document, plural).await?;
                granted += 1;
            }
        }
        ensure!(granted >= 5, "only {granted} objects with rights");
        let accounts: Api<ServiceAccount> = Api::namespaced(client, OWN);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let parameters = PostParams::default();
        let answer = accounts.create_token_request(account.name(), &parameters, &request);
        let status = answer.await?.status;
        let token = status.and_then(|status| status.token).context("a token")?;
        let settings = &self.settings;
        let text = kubeconfig(&settings.url, &settings.ca, &token);
        settings.work.write(account.name(), text).map(drop)
    }

    /// A kubeconfig with the rights of one account; there once they are granted.
    #[must_use]
    pub fn kubeconfig_of(&self, account: Account) -> PathBuf {
        self.settings.work.file(account.name())
    }
}

/// The objects in one file of `deploy/`.
///
/// # Errors
/// When it is no YAML.
pub fn shipped(file: &str) -> Result<Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let text = std::fs::read_to_string(folder.join(file));
    let text = text.with_context(|| format!("read deploy/{file}"))?;
    let documents = yaml::documents(&text).with_context(|| format!("read deploy/{file}"))?;
    Ok(documents
        .into_iter()
        .map(|document| document.value)
        .collect())
}

async fn apply(client: &Client, document: &Value, plural: &str) -> Result<()> {
    let object: DynamicObject = from_value(document.clone())?;
    let types: &TypeMeta = object.types.as_ref().context("apiVersion and kind")?;
    let gvk = GroupVersionKind::try_from(types)?;
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.clone().context("a name")?;
    let parameters = PatchParams::apply("test").force();
    api.patch(&name, &parameters, &Patch::Apply(&object))
        .await
        .with_context(|| format!("apply {} {name}", types.kind))?;
    Ok(())
}
