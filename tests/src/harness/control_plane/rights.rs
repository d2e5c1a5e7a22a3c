//! The coordinator's rights: those that `deploy/install.yaml` ships, and no other.
//! Out: a kubeconfig for its ServiceAccount.
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

/// Namespace of the coordinator's own objects.
const OWN: &str = "homelab-autoscaler-system";
/// Its ServiceAccount.
const ACCOUNT: &str = "homelab-coordinator";
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

impl ControlPlane {
    /// Creates the ServiceAccount, its roles and bindings as they are shipped, and a kubeconfig with a token of its own.
    ///
    /// # Errors
    /// When the API server refuses one of them.
    pub async fn grant_shipped_rights(&self) -> Result<()> {
        let client = self.client().await?;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/install.yaml");
        let text = std::fs::read_to_string(&file).context("read deploy/install.yaml")?;
        let mut granted = 0;
        for document in yaml::documents(&text).context("read deploy/install.yaml")? {
            let kind = document.value["kind"].as_str();
            let plural = KINDS.iter().find(|(name, _)| Some(*name) == kind);
            if let Some((_, plural)) = plural {
                apply(&client, &document.value, plural).await?;
                granted += 1;
            }
        }
        ensure!(granted >= KINDS.len(), "only {granted} objects with rights");
        let accounts: Api<ServiceAccount> = Api::namespaced(client, OWN);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let parameters = PostParams::default();
        let answer = accounts.create_token_request(ACCOUNT, &parameters, &request);
        let status = answer.await?.status;
        let token = status.and_then(|status| status.token).context("a token")?;
        let settings = &self.settings;
        let text = kubeconfig(&settings.url, &settings.ca, &token);
        settings.work.write(ACCOUNT, text).map(drop)
    }

    /// A kubeconfig with the coordinator's rights; there once they are granted.
    #[must_use]
    pub fn coordinator_kubeconfig_path(&self) -> PathBuf {
        self.settings.work.file(ACCOUNT)
    }
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
