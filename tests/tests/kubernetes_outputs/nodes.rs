//! Core Nodes: fenced, brought back, deleted, suspended; what runs on them.

use coordinator_core::PodStanding;
use k8s_openapi::api::core::v1::Pod;

use super::*;

const POWER_OFF: &str = "homelab-autoscaler.dev/power-off";
const FINALIZER: &str = "homelab-autoscaler.dev/node-taint";

fn taint(key: &str) -> coordinator_core::Taint {
    coordinator_core::Taint {
        key: key.into(),
        value: String::new(),
        effect: "NoSchedule".into(),
    }
}

async fn node_done(shell: &Shell, action: Action) -> Result<Result<(), String>> {
    shell
        .answer(action, |fact| match fact {
            Fact::NodeDone { outcome, .. } | Fact::Fenced { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await
}

fn fence() -> Action {
    Action::Fence {
        machine: nuc1(),
        node: "nuc1".into(),
        cordon: Cordon::Ours,
    }
}

/// The taints of the Node, by key.
async fn keys(stage: &Stage) -> Result<Vec<String>> {
    let spec = stage.nodes().get("nuc1").await?.spec.context("spec")?;
    let taints = spec.taints.unwrap_or_default();
    Ok(taints.into_iter().map(|taint| taint.key).collect())
}

/// What brings the Node back, computed from what it carries now.
async fn bring_back(stage: &Stage) -> Result<NodePatch> {
    let node = stage.nodes().get("nuc1").await?;
    let from: Vec<_> = node
        .spec
        .context("spec")?
        .taints
        .iter()
        .flatten()
        .map(|found| coordinator_core::Taint {
            effect: found.effect.clone(),
            ..taint(&found.key)
        })
        .collect();
    let kept = |taint: &&coordinator_core::Taint| taint.key != POWER_OFF;
    let to = from.iter().filter(kept).cloned().collect();
    let group = (
        "homelab-autoscaler.dev/group".to_owned(),
        "workers".to_owned(),
    );
    Ok(NodePatch {
        node: "nuc1".into(),
        uid: node.metadata.uid.context("uid")?,
        provider_id: Some("homelab://lab/nuc1".into()),
        labels: [group].into(),
        annotations: [("note".to_owned(), "kept".to_owned())].into(),
        taints: Some(TaintChange { from, to }),
        unschedulable: Some(false),
        ..NodePatch::default()
    })
}

fn patch(patch: NodePatch) -> Action {
    Action::PatchNode {
        machine: nuc1(),
        patch,
    }
}

#[tokio::test]
async fn a_node_is_fenced_and_brought_back_with_what_people_put_on_it() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    let people = json!({"taints": [{"key": "mine", "effect": "NoSchedule"}]});
    stage.node("nuc1", people).await?;
    let (shell, _running) = stage.leader().await?;
    node_done(&shell, fence())
        .await?
        .map_err(anyhow::Error::msg)?;
    let fenced = stage.nodes().get("nuc1").await?.spec.context("spec")?;
    ensure!(fenced.unschedulable == Some(true));
    let marked = keys(&stage).await?;
    ensure!(marked.contains(&POWER_OFF.to_owned()) && marked.contains(&"mine".to_owned()));
    let finalizers = stage.machines().get("nuc1").await?.metadata.finalizers;
    ensure!(
        finalizers == Some(vec![FINALIZER.to_owned()]),
        "{finalizers:?}"
    );

    let back = bring_back(&stage).await?;
    node_done(&shell, patch(back))
        .await?
        .map_err(anyhow::Error::msg)?;
    let clean = keys(&stage).await?;
    ensure!(!clean.contains(&POWER_OFF.to_owned()) && clean.contains(&"mine".to_owned()));
    let node = stage.nodes().get("nuc1").await?;
    let spec = node.spec.context("spec")?;
    ensure!(spec.unschedulable != Some(true));
    ensure!(spec.provider_id.as_deref() == Some("homelab://lab/nuc1"));
    ensure!(node.metadata.annotations.context("annotations")?["note"] == "kept");
    ensure!(
        stage
            .machines()
            .get("nuc1")
            .await?
            .metadata
            .finalizers
            .is_none()
    );
    Ok(())
}

#[tokio::test]
async fn a_change_of_a_node_that_is_another_by_now_is_refused() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    stage.node("nuc1", json!({})).await?;
    let (shell, _running) = stage.leader().await?;
    let old = bring_back(&stage).await?;
    node_done(&shell, fence())
        .await?
        .map_err(anyhow::Error::msg)?;
    let changed = node_done(&shell, patch(old.clone())).await?;
    let why = changed.err().context("taken although the taints changed")?;
    ensure!(why.contains("taints changed"), "{why}");
    let other = NodePatch {
        uid: "another".into(),
        taints: None,
        ..old
    };
    let refused = node_done(&shell, patch(other)).await?;
    let why = refused.err().context("taken by another Node")?;
    ensure!(why.contains("another object"), "{why}");
    ensure!(keys(&stage).await?.contains(&POWER_OFF.to_owned()));
    Ok(())
}

fn retire(uid: &str, policy: NodeObjectPolicy) -> Action {
    Action::RetireNode {
        machine: nuc1(),
        node: "nuc1".into(),
        uid: uid.into(),
        policy,
    }
}

fn suspended(node: k8s_openapi::api::core::v1::Node) -> bool {
    let conditions = node.status.and_then(|status| status.conditions);
    conditions
        .iter()
        .flatten()
        .any(|found| found.type_ == "Suspended" && found.status == "True")
}

#[tokio::test]
async fn a_machine_deleted_while_its_node_is_kept_leaves_it_as_any_other_node() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    let node = stage.node("nuc1", json!({})).await?;
    let uid = node.metadata.uid.context("uid")?;
    let (shell, _running) = stage.leader().await?;
    // Read off without our order: nothing had been fenced.
    node_done(&shell, retire(&uid, NodeObjectPolicy::Retain))
        .await?
        .map_err(anyhow::Error::msg)?;
    ensure!(suspended(stage.nodes().get("nuc1").await?));
    let machines = stage.machines();
    machines.delete("nuc1", &DeleteParams::default()).await?;
    wait::until(LIMIT, "the object to go", async || {
        ensure!(machines.get_opt("nuc1").await?.is_none());
        Ok(())
    })
    .await?;
    ensure!(!suspended(stage.nodes().get("nuc1").await?));
    Ok(())
}

#[tokio::test]
async fn a_machine_that_is_off_has_its_node_deleted_or_suspended() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    let uid = stage
        .node("nuc1", json!({}))
        .await?
        .metadata
        .uid
        .context("uid")?;
    let (shell, _running) = stage.leader().await?;
    node_done(&shell, fence())
        .await?
        .map_err(anyhow::Error::msg)?;
    node_done(&shell, retire(&uid, NodeObjectPolicy::Retain))
        .await?
        .map_err(anyhow::Error::msg)?;
    ensure!(suspended(stage.nodes().get("nuc1").await?));
    let resume = NodePatch {
        node: "nuc1".into(),
        uid: uid.clone(),
        resume: true,
        ..NodePatch::default()
    };
    node_done(
        &shell,
        Action::PatchNode {
            machine: nuc1(),
            patch: resume,
        },
    )
    .await?
    .map_err(anyhow::Error::msg)?;
    ensure!(!suspended(stage.nodes().get("nuc1").await?));

    node_done(&shell, retire("another", NodeObjectPolicy::Delete))
        .await?
        .map_err(anyhow::Error::msg)?;
    ensure!(
        stage.nodes().get_opt("nuc1").await?.is_some(),
        "another Node of that name stays"
    );
    node_done(&shell, retire(&uid, NodeObjectPolicy::Delete))
        .await?
        .map_err(anyhow::Error::msg)?;
    ensure!(stage.nodes().get_opt("nuc1").await?.is_none());
    ensure!(
        stage
            .machines()
            .get("nuc1")
            .await?
            .metadata
            .finalizers
            .is_none()
    );
    Ok(())
}

#[tokio::test]
async fn a_machine_deleted_while_fenced_leaves_no_mark_on_its_node() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    stage.node("nuc1", json!({})).await?;
    let (shell, _running) = stage.leader().await?;
    node_done(&shell, fence())
        .await?
        .map_err(anyhow::Error::msg)?;
    stage
        .machines()
        .delete("nuc1", &DeleteParams::default())
        .await?;
    shell
        .fact("the removal", |fact| {
            matches!(fact, Fact::MachineRemoved(id) if *id == nuc1()).then_some(())
        })
        .await?;
    wait::until(LIMIT, "the object to go", async || {
        ensure!(stage.machines().get_opt("nuc1").await?.is_none());
        Ok(())
    })
    .await?;
    let spec = stage.nodes().get("nuc1").await?.spec.context("spec")?;
    ensure!(spec.unschedulable != Some(true));
    ensure!(
        !spec
            .taints
            .iter()
            .flatten()
            .any(|taint| taint.key == POWER_OFF)
    );
    Ok(())
}

#[tokio::test]
async fn pods_that_do_not_belong_to_a_node_are_listed() -> Result<()> {
    let stage = Stage::set().await?;
    stage.node("nuc1", json!({})).await?;
    let owned = |kind: &str| {
        let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": "d", "uid": "u", "controller": true});
        json!({"ownerReferences": [owner]})
    };
    for (name, metadata) in [
        ("pet", json!({})),
        ("web", owned("ReplicaSet")),
        ("agent", owned("DaemonSet")),
        ("done", owned("Job")),
        ("going", owned("StatefulSet")),
    ] {
        let mut object = json!({
            "metadata": metadata,
            "spec": {"nodeName": "nuc1", "containers": [{"name": "c", "image": "none"}]},
        });
        object["metadata"]["name"] = name.into();
        stage.create("v1", "Pod", Some("lab"), object).await?;
    }
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), "lab");
    let done = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status("done", &PatchParams::default(), &done)
        .await?;
    // Bound to a Node whose kubelet never ends it.
    pods.delete("going", &DeleteParams::default()).await?;
    let (shell, _running) = stage.leader().await?;
    let list = Action::ListPods {
        machine: nuc1(),
        node: "nuc1".into(),
    };
    let listed = shell
        .answer(list, |fact| match fact {
            Fact::PodsListed { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await?
        .map_err(anyhow::Error::msg)?;
    let listed: Vec<_> = listed
        .iter()
        .map(|seen| (seen.pod.to_string(), seen.standing))
        .collect();
    let expected = [
        ("going", PodStanding::Ending),
        ("pet", PodStanding::Bare),
        ("web", PodStanding::Controlled),
    ];
    let expected = expected.map(|(name, standing)| (format!("lab/{name}"), standing));
    ensure!(listed == expected, "{listed:?}");
    Ok(())
}

#[tokio::test]
async fn a_persons_cordon_is_left_when_a_fenced_machine_is_deleted_after_a_restart() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    stage.node("nuc1", json!({"unschedulable": true})).await?;
    let (shell, running) = stage.leader().await?;
    let fence = Action::Fence {
        machine: nuc1(),
        node: "nuc1".into(),
        cordon: Cordon::Persons,
    };
    node_done(&shell, fence)
        .await?
        .map_err(anyhow::Error::msg)?;
    running.stop.send(()).ok();
    running.end.await??;
    drop(shell);

    // Whoever comes next knows it from the Node alone.
    let (successor, _running) = stage.leader().await?;
    stage
        .machines()
        .delete("nuc1", &DeleteParams::default())
        .await?;
    successor
        .fact("the removal", |fact| {
            matches!(fact, Fact::MachineRemoved(id) if *id == nuc1()).then_some(())
        })
        .await?;
    wait::until(LIMIT, "the object to go", async || {
        ensure!(stage.machines().get_opt("nuc1").await?.is_none());
        Ok(())
    })
    .await?;
    let node = stage.nodes().get("nuc1").await?;
    ensure!(node.spec.context("spec")?.unschedulable == Some(true));
    let annotations = node.metadata.annotations.unwrap_or_default();
    ensure!(annotations.is_empty(), "{annotations:?}");
    ensure!(!keys(&stage).await?.contains(&POWER_OFF.to_owned()));
    Ok(())
}
