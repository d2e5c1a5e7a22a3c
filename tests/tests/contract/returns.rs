//! Machines that come back or come in disguise: what their Nodes carry, and what is made of it.

use anyhow::{Context, Result, ensure};
use coordinator_crds::ConditionStatus;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Patch, PatchParams, PostParams};
use proto_autoscaler::instance_status::InstanceState;
use serde_json::{from_value, json};
use tests::{
    cluster_stage::{
        ClusterStage, POWER_OFF, Plan, Trail,
        objects::{condition, has_taint},
    },
    harness::wait,
    hollow::Power,
    recorder::Wish,
};

use super::{
    floor::{Behind, Group, LIMIT, alone, begun, group, on_shelf, plan, shared, state_of},
    told::{until_condition_of_machine, until_warned},
};

/// The autoscaler's mark on a Node that it is about to delete.
pub(crate) const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";
/// Its mark on a Node that it may delete next.
const CANDIDATE: &str = "DeletionCandidateOfClusterAutoscaler";
/// Keeps the autoscaler from counting a Node before everything on it is right.
const STARTUP: &str = "startup-taint.cluster-autoscaler.kubernetes.io/homelab-autoscaler";
/// Names the group of a Node.
pub(crate) const GROUP_LABEL: &str = "homelab-autoscaler.dev/group";
const FOREIGN: &str = "aws:///elsewhere/i-1";

/// Taints with the cordon that goes with them.
#[derive(Clone, Copy)]
pub(crate) enum Marks<'a> {
    /// Put on.
    Set(&'a [&'a str]),
    /// Taken off.
    Cleared(&'a [&'a str]),
}

/// Marks a Node as the autoscaler does, or takes its marks away as a restarted one does.
pub(crate) async fn mark(stage: &ClusterStage, name: &str, marks: Marks<'_>) -> Result<()> {
    wait::until(LIMIT, "nobody else writes the Node", async || {
        let node = stage.nodes().get(name).await?;
        let mut taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let cordoned = match marks {
            Marks::Set(keys) => {
                taints.extend(keys.iter().map(|key| taint(key)));
                true
            }
            Marks::Cleared(keys) => {
                taints.retain(|taint| !keys.contains(&taint.key.as_str()));
                false
            }
        };
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": taints, "unschedulable": cordoned},
        });
        let params = PatchParams::default();
        let nodes = stage.nodes();
        nodes.patch(name, &params, &Patch::Merge(patch)).await?;
        Ok(())
    })
    .await
}

fn taint(key: &str) -> Taint {
    Taint {
        key: key.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    }
}

fn provider_id(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref()
}

#[test]
fn c42_node_that_registers_without_a_provider_id_gets_the_promised_one() -> Result<()> {
    shared(async |stage| {
        let group = on_shelf(stage, "c42", &["c42a"]).await?;
        let nodes = Trail::<Node>::follow(stage.nodes()).await?;
        group.all_running().await?;
        let of_machine = |node: &Node| node.metadata.name.as_deref() == Some("c42a");
        let bare = |node: &Node| of_machine(node) && provider_id(node).is_none();
        let promised = group.caller.provider_id("c42a");
        let named = |node: &Node| of_machine(node) && provider_id(node) == Some(&promised);
        let bare = nodes.first(LIMIT, "a Node without an id", bare).await?;
        let named = nodes.first(LIMIT, "the promised id", named).await?;
        ensure!(bare < named, "{bare}, {named}");
        group.agrees().await
    })
}

#[test]
fn c42_node_with_a_foreign_provider_id_is_told_and_does_not_count_as_running() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c42foreign", &["c42b"]);
        plan.spec["requireProof"] = false.into();
        let group = group(stage, plan.clone(), Behind::Nothing).await?;
        group.increase(1).await?;
        let node = json!({"metadata": {"name": "c42b"}, "spec": {"providerID": FOREIGN}});
        let params = PostParams::default();
        stage.nodes().create(&params, &from_value(node)?).await?;
        let hollow = stage.shelve(&plan).await?;
        hollow["c42b"].press_button();
        hollow["c42b"].until(Power::On, LIMIT).await?;
        stage
            .until_node("c42b", "a Node that is ready", |node| {
                condition(node, "Ready").as_deref() == Some("True")
            })
            .await?;
        let kind = "ForeignProviderID";
        let told = (kind, ConditionStatus::True, kind);
        let message = until_condition_of_machine(stage, "c42b", told).await?;
        ensure!(
            message.contains(FOREIGN) && message.contains("homelab://lab/c42b"),
            "{message}"
        );
        ensure!(until_warned(stage, "c42b", kind).await? == message);
        ensure!(group.creating().await? == ["c42b"] && group.running().await?.is_empty());
        ensure!(provider_id(&stage.nodes().get("c42b").await?) == Some(FOREIGN));

        // What the message offers helps.
        let declared = json!({"providerID": FOREIGN});
        group.edit_machine("c42b", declared).await?;
        wait::until(LIMIT, "it runs", async || {
            let instances = group.instances().await?;
            let [only] = instances.as_slice() else {
                anyhow::bail!("{instances:?}");
            };
            let runs = state_of(only) == InstanceState::InstanceRunning;
            ensure!(runs && only.id == FOREIGN, "{only:?}");
            Ok(())
        })
        .await?;
        let mended = (kind, ConditionStatus::False, "Mended");
        until_condition_of_machine(stage, "c42b", mended).await?;
        group.agrees().await
    })
}

#[test]
fn c43_returning_machine_has_a_clean_node_and_loses_its_startup_taint_last() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c43", &["c43a"]);
        plan.spec["nodeObjectPolicy"] = "Retain".into();
        let group = group(stage, plan, Behind::Hollow).await?;
        group.all_running().await?;
        stage.recorder.ask("c43a", Wish::Off);
        mark(stage, "c43a", Marks::Set(&[TO_BE_DELETED, CANDIDATE])).await?;
        group.delete("c43a").await?;
        let held = |node: &Node| condition(node, "Suspended").as_deref() == Some("True");
        stage.until_node("c43a", "a suspended Node", held).await?;
        stage.until_phase("c43a", "Sleeping").await?;
        group.hollow["c43a"].until(Power::Off, LIMIT).await?;
        mark(stage, "c43a", Marks::Set(&[STARTUP])).await?;
        let unlabel = json!({"metadata": {"labels": {GROUP_LABEL: null}}});
        let (nodes, params) = (stage.nodes(), PatchParams::default());
        let left = nodes.patch("c43a", &params, &Patch::Merge(unlabel)).await?;
        for key in [POWER_OFF, TO_BE_DELETED, CANDIDATE, STARTUP] {
            ensure!(has_taint(&left, key), "no {key}: {left:?}");
        }

        let trail = Trail::<Node>::follow(stage.nodes()).await?;
        stage.recorder.ask("c43a", Wish::On);
        group.caller.refresh().await?;
        group.increase(1).await?;
        // A kept Node is a member for those who list Nodes after it is back, so some rounds later.
        wait::until(LIMIT, "it is a member", async || {
            group.caller.refresh().await?;
            let id = group.caller.group_of("c43a").await?;
            ensure!(id == "lab/c43", "{id:?}");
            Ok(())
        })
        .await?;
        group.until_running(&["c43a"]).await?;
        let of_machine = |node: &Node| node.metadata.name.as_deref() == Some("c43a");
        let started = |node: &Node| of_machine(node) && !has_taint(node, STARTUP);
        let clean = |node: &Node| {
            let marks = [POWER_OFF, TO_BE_DELETED, CANDIDATE];
            let marked = marks.iter().any(|key| has_taint(node, key));
            let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable);
            let labels = node.metadata.labels.as_ref();
            let label = labels.and_then(|labels| labels.get(GROUP_LABEL));
            started(node)
                && !marked
                && cordoned != Some(true)
                && label.is_some_and(|group| group == "c43")
        };
        let first = trail.first(LIMIT, "no startup taint", started).await?;
        let right = trail.first(LIMIT, "a clean Node", clean).await?;
        ensure!(first == right, "the startup taint went before the rest");
        let node = stage.nodes().get("c43a").await?;
        ensure!(
            clean(&node) && condition(&node, "Suspended").is_none(),
            "{node:?}"
        );
        group.agrees().await.context("after its return")
    })
}

#[test]
fn c43_node_that_registers_with_the_startup_taint_loses_it_once_id_and_group_are_right()
-> Result<()> {
    let group = plan("c43new", &["c43n"]);
    let lab = Plan {
        others: &[],
        taints: vec![taint(STARTUP)],
        ..Plan::quick(vec![group.clone()])
    };
    alone(lab, async |stage| {
        let group = begun(stage, &group)?;
        let stage = group.stage;
        // At its first boot, and with the object that its kubelet makes anew.
        for _ in 0..2 {
            let trail = Trail::<Node>::follow(stage.nodes()).await?;
            stage.recorder.ask("c43n", Wish::On);
            group.all_running().await?;
            let is_bare = |node: &Node| !has_taint(node, STARTUP);
            trail.first(LIMIT, "no startup taint", is_bare).await?;
            starts_in_order(&trail.seen(), &group)?;
            group.agrees().await?;
            stage.recorder.ask("c43n", Wish::Off);
            group.delete("c43n").await?;
            stage.until_no_node("c43n").await?;
            stage.until_phase("c43n", "Sleeping").await?;
            group.hollow["c43n"].until(Power::Off, LIMIT).await?;
        }
        Ok(())
    })
}

/// Through all versions of a Node, its startup taint stands until provider id and group label are right, and not again after that.
fn starts_in_order(versions: &[Node], group: &Group<'_>) -> Result<()> {
    let promised = group.caller.provider_id("c43n");
    let is_right = |node: &Node| {
        let label = node.metadata.labels.as_ref();
        let label = label.and_then(|labels| labels.get(GROUP_LABEL));
        provider_id(node) == Some(&promised) && label.is_some_and(|label| label == group.name)
    };
    let mut is_started = false;
    for node in versions {
        let is_bare = !has_taint(node, STARTUP);
        ensure!(is_bare || !is_started, "it came back: {node:?}");
        ensure!(!is_bare || is_right(node), "it went too early: {node:?}");
        is_started |= is_bare;
    }
    let registered = versions.first().context("it has registered")?;
    ensure!(
        has_taint(registered, STARTUP) && !is_right(registered) && is_started,
        "{versions:?}"
    );
    Ok(())
}
