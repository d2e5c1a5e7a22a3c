//! The files of `deploy/`.

use super::*;

#[tokio::test]
async fn what_is_deployed_is_accepted_by_the_api_server() -> Result<()> {
    let stage = Stage::set().await?;
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let text = std::fs::read_to_string(deploy.join("install.yaml"))?;
    let own = json!({"metadata": {"name": "homelab-autoscaler-system"}});
    stage.create("v1", "Namespace", None, own).await?;
    ensure!(stage.dry_run(&text).await? > 10);
    let autoscaler = std::fs::read_to_string(deploy.join("cluster-autoscaler.yaml"))?;
    ensure!(stage.dry_run(&autoscaler).await? > 5);
    // What a household's own broker gets is what ours runs with.
    let broker: ConfigMap = serde_norway::Deserializer::from_str(&text)
        .filter_map(|document| ConfigMap::deserialize(document).ok())
        .find(|map| map.metadata.name.as_deref() == Some("homelab-broker"))
        .context("the broker's ConfigMap")?;
    for name in ["mosquitto.conf", "acl"] {
        let file = std::fs::read_to_string(deploy.join("mosquitto").join(name))?;
        let shipped = broker.data.as_ref().and_then(|data| data.get(name));
        ensure!(shipped == Some(&file), "{name} differs");
    }
    Ok(())
}
