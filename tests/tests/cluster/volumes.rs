//! A volume that exists on one machine alone, bound and released by the cluster's own controllers.

use coordinator_core::{SCALE_DOWN_DISABLED, SCALE_DOWN_DISABLED_BY};
use coordinator_crds::ConditionStatus;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use tests::cluster_stage::LAB;

use super::*;

const MACHINE: &str = "v1";

fn marks(node: &Node) -> (Option<&str>, Option<&str>) {
    let annotations = node.metadata.annotations.as_ref();
    let value = |key: &str| annotations.and_then(|found| found.get(key).map(String::as_str));
    (value(SCALE_DOWN_DISABLED), value(SCALE_DOWN_DISABLED_BY))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_bound_local_volume_is_kept_from_the_autoscaler_until_its_claim_goes()
-> Result<()> {
    let plan = Plan {
        starts: Power::On,
        ..Plan::quick(vec![group("volumes", Woken::Packet, &[MACHINE])])
    };
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    stage.until_phase(MACHINE, "Running").await?;
    let volumes: Api<PersistentVolume> = Api::all(stage.client());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stage.client(), LAB);
    let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [MACHINE]});
    let volume = json!({"metadata": {"name": "data-on-v1"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
        "persistentVolumeReclaimPolicy": "Retain", "local": {"path": "/mnt/data"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}}});
    let create = PostParams::default();
    volumes
        .create(&create, &serde_json::from_value(volume)?)
        .await?;
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand", "volumeName": "data-on-v1",
        "resources": {"requests": {"storage": "1Gi"}}}});
    claims
        .create(&create, &serde_json::from_value(claim)?)
        .await?;

    let ours = (Some("true"), Some("LocalVolume"));
    let marked = |node: &Node| marks(node) == ours;
    stage.until_node(MACHINE, "the mark", marked).await?;
    let told = until_local_volume(&stage, ConditionStatus::True).await?;
    ensure!(told.contains("lab/data"), "{told}");

    claims.delete("data", &DeleteParams::default()).await?;
    let free = |node: &Node| marks(node) == (None, None);
    stage.until_node(MACHINE, "no mark", free).await?;
    until_local_volume(&stage, ConditionStatus::False).await?;
    let released = volumes.get("data-on-v1").await?.status;
    let phase = released.and_then(|status| status.phase);
    ensure!(phase.as_deref() == Some("Released"), "{phase:?}");
    effects_are(&stage, MACHINE, 0, 0)
}

/// Waits until the condition is so, and returns its sentence.
async fn until_local_volume(stage: &ClusterStage, status: ConditionStatus) -> Result<String> {
    wait::until(LIMIT, "condition LocalVolume", async || {
        let machine = stage.machine_objects().get(MACHINE).await?;
        let conditions = machine.status.unwrap_or_default().conditions;
        let found = conditions
            .iter()
            .find(|found| found.type_ == "LocalVolume" && found.status == status);
        let found = found.with_context(|| format!("{conditions:?}"))?;
        Ok(found.message.clone())
    })
    .await
}
