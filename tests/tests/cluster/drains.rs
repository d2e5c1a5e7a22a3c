//! Stops that people order: pods leave first, with the rights that are shipped, as their budgets allow.

use coordinator_crds::Node as Machine;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, ReplicaSet},
        core::v1::Pod,
        events::v1::Event,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Api, Resource,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use tests::cluster_stage::LAB;

use super::*;

const MACHINE: &str = "d1";

/// A machine that runs beside a small Node, with a drain that is told as blocked within seconds.
async fn running_machine() -> Result<ClusterStage> {
    let mut group = group("drained", Woken::Packet, &[MACHINE]);
    let soon = json!({"timeouts": {"drain": "3s"}});
    group.otherwise.insert(MACHINE, soon);
    let mut plan = Plan {
        starts: Power::On,
        // A process that was killed holds the Lease until it runs out.
        election: Election("6s", "5s", "500ms"),
        ..Plan::quick(vec![group])
    };
    plan.timing.push("drain_blocked=500ms".to_owned());
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    stage.until_phase(MACHINE, "Running").await?;
    Ok(stage)
}

async fn create<K>(stage: &ClusterStage, object: Value) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let api: Api<K> = Api::namespaced(stage.client(), LAB);
    let object = serde_json::from_value(object)?;
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}

/// What a person asks through `homelabctl power`.
async fn ask(stage: &ClusterStage, id: &str, verb: &str) -> Result<()> {
    let ask = json!({"status": {"ask": {"id": id, "verb": verb, "by": "ann"}}});
    stage
        .machine_objects()
        .patch_status(MACHINE, &PatchParams::default(), &Patch::Merge(ask))
        .await?;
    Ok(())
}

/// Pods of an app on the machine that do not end, by uid.
async fn pods(stage: &ClusterStage, app: &str) -> Result<Vec<String>> {
    let of_app = ListParams::default()
        .labels(&format!("app={app}"))
        .fields(&format!("spec.nodeName={MACHINE}"));
    let pods = stage.pods().list(&of_app).await?.items.into_iter();
    let alive = pods.filter(|pod: &Pod| pod.metadata.deletion_timestamp.is_none());
    Ok(alive.filter_map(|pod| pod.metadata.uid).collect())
}

/// Waits until the machine is held up for this reason, and returns the sentence.
async fn until_held_up(stage: &ClusterStage, reason: &str) -> Result<String> {
    wait::until(LIMIT, reason, async || {
        let machine: Machine = stage.machine_objects().get(MACHINE).await?;
        let conditions = machine.status.unwrap_or_default().conditions;
        let ready = conditions.iter().find(|found| found.type_ == "Ready");
        let ready = ready.filter(|ready| ready.reason == reason);
        ready
            .map(|ready| ready.message.clone())
            .with_context(|| format!("{conditions:?}"))
    })
    .await
}

async fn are_told(stage: &ClusterStage, reasons: &[&str]) -> Result<()> {
    let events: Api<Event> = Api::namespaced(stage.client(), LAB);
    wait::until(LIMIT, "the Events", async || {
        let told = events.list(&ListParams::default()).await?.items;
        for reason in reasons {
            let is_it = |event: &Event| event.reason.as_deref() == Some(*reason);
            ensure!(told.iter().any(is_it), "{reason} is not told");
        }
        Ok(())
    })
    .await
}

/// A container that asks for little.
fn small() -> Value {
    let requests = json!({"cpu": "100m", "memory": "64Mi"});
    json!([{"name": "c", "image": "none", "resources": {"requests": requests}}])
}

/// One pod of a ReplicaSet on the machine, with a budget that needs it, and one of a DaemonSet.
///
/// It is bound to the machine: as the Node has just joined, the scheduler might not count with it yet.
async fn start_workload(stage: &ClusterStage) -> Result<()> {
    let hostname = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [MACHINE]});
    let here = json!({"nodeSelectorTerms": [{"matchExpressions": [hostname]}]});
    let affinity =
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": here}});
    let selector = |app: &str| json!({"matchLabels": {"app": app}});
    let template =
        |app: &str, spec: Value| json!({"metadata": {"labels": {"app": app}}, "spec": spec});
    let web = json!({"containers": small(), "affinity": affinity});
    create::<ReplicaSet>(
        stage,
        json!({"metadata": {"name": "web"}, "spec": {"replicas": 1, "selector": selector("web"), "template": template("web", web)}}),
    )
    .await?;
    let logs = json!({"containers": small()});
    create::<DaemonSet>(
        stage,
        json!({"metadata": {"name": "logs"}, "spec": {"selector": selector("logs"), "template": template("logs", logs)}}),
    )
    .await?;
    for app in ["web", "logs"] {
        wait::until(LIMIT, "its pod is on the machine", async || {
            ensure!(pods(stage, app).await?.len() == 1, "{app}");
            Ok(())
        })
        .await?;
    }
    create::<PodDisruptionBudget>(
        stage,
        json!({"metadata": {"name": "web-budget"}, "spec": {"minAvailable": 1, "selector": selector("web")}}),
    )
    .await?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(stage.client(), LAB);
    wait::until(LIMIT, "the budget is spent", async || {
        let status = budgets.get("web-budget").await?.status.context("judged")?;
        ensure!(
            status.current_healthy == Some(1) && status.disruptions_allowed == Some(0),
            "{status:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_a_person_stops_waits_for_a_budget_over_a_restart_and_goes_once_it_allows()
-> Result<()> {
    let mut stage = running_machine().await?;
    start_workload(&stage).await?;
    let (web, logs) = (pods(&stage, "web").await?, pods(&stage, "logs").await?);
    stage.recorder.ask(MACHINE, Wish::Off);
    ask(&stage, "off", "PowerOff").await?;
    let told = until_held_up(&stage, "DrainBlocked").await?;
    ensure!(told.contains("lab/web-"), "{told}");
    ensure!(told.contains("The disruption budget web-budget"), "{told}");
    are_told(&stage, &["DrainStarted", "DrainBlocked"]).await?;

    stage.kill_coordinator();
    stage.start_coordinator().await?;
    stage.until_phase(MACHINE, "Stopping").await?;
    let draining = "homelab_autoscaler_machines_draining{state=\"blocked\"} 1";
    wait::until(LIMIT, "the successor's drain", async || {
        let page = stage.page("/metrics").await?;
        ensure!(page.lines().any(|line| line == draining), "not yet");
        Ok(())
    })
    .await?;
    ensure!(pods(&stage, "web").await? == web, "its budget keeps it");
    ensure!(pods(&stage, "logs").await? == logs, "it goes with its Node");
    ensure!(stage.machines[MACHINE].power() == Power::On);

    // A second one, which may run elsewhere, and the first may go.
    let anywhere = json!({"spec": {"affinity": null}});
    let two = Patch::Merge(json!({"spec": {"replicas": 2, "template": anywhere}}));
    let sets: Api<ReplicaSet> = Api::namespaced(stage.client(), LAB);
    sets.patch("web", &PatchParams::default(), &two).await?;
    stage.machines[MACHINE].until(Power::Off, LIMIT).await?;
    stage.until_no_node(MACHINE).await?;
    let evictions = stage.api_writes().await?;
    ensure!(evictions.contains_key("eviction"), "{evictions:?}");
    effects_are(&stage, MACHINE, 0, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_nobody_would_bring_back_holds_the_stop_and_the_order_can_be_taken_back()
-> Result<()> {
    let stage = running_machine().await?;
    create::<Pod>(
        &stage,
        json!({"metadata": {"name": "pet", "labels": {"app": "pet"}}, "spec": {"nodeName": MACHINE, "containers": small()}}),
    )
    .await?;
    let pet = pods(&stage, "pet").await?;
    ensure!(pet.len() == 1);
    ask(&stage, "off", "PowerOff").await?;
    let fenced = |node: &Node| has_taint(node, POWER_OFF);
    stage.until_node(MACHINE, "a fence", fenced).await?;
    let told = until_held_up(&stage, "DrainBlocked").await?;
    ensure!(told.contains("lab/pet without a controller"), "{told}");
    ensure!(told.contains("take the order back"), "{told}");

    ask(&stage, "release", "Release").await?;
    let free = |node: &Node| {
        let spec = node.spec.as_ref();
        let cordoned = spec.is_some_and(|spec| spec.unschedulable == Some(true));
        !has_taint(node, POWER_OFF) && !cordoned
    };
    stage.until_node(MACHINE, "no fence", free).await?;
    stage.until_phase(MACHINE, "Running").await?;
    ensure!(pods(&stage, "pet").await? == pet);
    are_told(&stage, &["PodsStillRunning", "DrainBlocked"]).await?;
    effects_are(&stage, MACHINE, 0, 0)
}
