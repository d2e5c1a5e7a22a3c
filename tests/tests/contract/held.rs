//! An API server that takes its time to store what becomes of one group, until it may go on.
//! Holds: everything else is stored at once; nothing that is held is lost, as long as its sender waits for it.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use coordinator_crds::Group;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{
    Api, Resource as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{from_value, json};
use tests::{
    cluster_stage::{ClusterStage, LAB},
    harness::wait,
};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};

use super::floor::LIMIT;

/// A webhook for changes of the group's status that takes connections and says nothing on them. When it is gone, they are stored.
pub(crate) struct HeldStatus<'a> {
    stage: &'a ClusterStage,
    group: &'static str,
    webhook: AbortHandle,
}

impl Drop for HeldStatus<'_> {
    fn drop(&mut self) {
        self.webhook.abort();
    }
}

impl<'a> HeldStatus<'a> {
    /// From here on the status of this group stays as it is.
    pub(crate) async fn begin(stage: &'a ClusterStage, group: &'static str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (asked, seen) = watch::channel(0_u32);
        let webhook = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                held.push(connection);
                asked.send_modify(|count| *count += 1);
            }
        });
        let held = Self {
            stage,
            group,
            webhook: webhook.abort_handle(),
        };
        let rule = json!({
            "apiGroups": [Group::group(&())], "apiVersions": ["*"], "operations": ["UPDATE"],
            "resources": [format!("{}/status", Group::plural(&()))],
        });
        let webhook = json!({
            "name": "held.homelab-autoscaler.dev",
            "clientConfig": {"url": format!("https://{address}/")},
            "rules": [rule],
            "matchConditions": [{"name": "group", "expression": format!("request.name == '{group}'")}],
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
            // Longer than the coordinator waits for an answer.
            "timeoutSeconds": 30, "failurePolicy": "Ignore",
        });
        let object = json!({"metadata": {"name": group}, "webhooks": [webhook]});
        let params = PostParams::default();
        held.webhooks()
            .create(&params, &from_value(object)?)
            .await?;
        held.until_asked(seen).await?;
        Ok(held)
    }

    /// What is held is stored, and everything after it.
    pub(crate) async fn release(self) -> Result<()> {
        let params = DeleteParams::default();
        self.webhooks().delete(self.group, &params).await?;
        Ok(())
    }

    fn webhooks(&self) -> Api<ValidatingWebhookConfiguration> {
        Api::all(self.stage.client())
    }

    /// The API server learns of its webhooks some time after it has stored them.
    async fn until_asked(&self, mut seen: watch::Receiver<u32>) -> Result<()> {
        let nothing = Patch::Merge(json!({"metadata": {"namespace": LAB}}));
        let in_vain = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let groups = self.stage.groups();
        wait::until(LIMIT, "the webhook is asked", async || {
            tokio::select! {
                asked = seen.changed() => Ok(asked?),
                answer = groups.patch_status(self.group, &in_vain, &nothing) => bail!("{answer:?}"),
            }
        })
        .await
    }
}
