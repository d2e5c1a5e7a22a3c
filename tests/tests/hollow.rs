//! Hollow machines and the autoscaler's model against the real control plane.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{from_value, json};
use tests::{
    ca_model::{
        Cluster, Resources,
        cluster::{OwnTaint, TO_BE_DELETED, kubernetes::Kubernetes},
    },
    harness::{self, ControlPlane, Sushy, System, wait},
    hollow::{Bmc, HollowMachine, KubeletSpec, MachineSpec, Power},
    recorder::{Mac, Recorder},
};

const LIMIT: Duration = Duration::from_secs(60);

fn machine(name: &str, client: Client) -> MachineSpec {
    let mut spec = MachineSpec::new(name, Mac([0x52, 0x54, 0, 0, 0, 1]));
    let kubelet = KubeletSpec {
        provider_id: Some(format!("homelab://default/{name}")),
        labels: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
        ..KubeletSpec::new(client)
    };
    spec.kubelet = Some(kubelet);
    spec
}

fn condition(node: &Node, kind: &str) -> Option<String> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == kind)?;
    Some(found.status.clone())
}

async fn node_is(nodes: &Api<Node>, name: &str, ready: &str) -> Result<Node> {
    let what = format!("Node {name} with Ready {ready}");
    wait::until(LIMIT, &what, async || {
        let node = nodes.get(name).await?;
        let seen = condition(&node, "Ready");
        ensure!(seen.as_deref() == Some(ready), "Ready is {seen:?}");
        Ok(node)
    })
    .await
}

fn pod(name: &str, cpu: &str) -> Result<Pod> {
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "containers": [{"name": "web", "image": "none", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}],
        },
    });
    Ok(from_value(pod)?)
}

async fn pod_runs(pods: &Api<Pod>, name: &str, node: &str) -> Result<()> {
    wait::until(LIMIT, "the pod to run", async || {
        let pod = pods.get(name).await?;
        let phase = pod.status.and_then(|status| status.phase);
        let bound = pod.spec.and_then(|spec| spec.node_name);
        if (phase.as_deref(), bound.as_deref()) == (Some("Running"), Some(node)) {
            return Ok(());
        }
        bail!("{phase:?} on {bound:?}")
    })
    .await
}

#[tokio::test]
async fn machine_joins_runs_pods_and_is_missed_when_it_is_gone() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let recorder = Recorder::in_memory();
    let nuc1 = HollowMachine::start(machine("nuc1", client), &recorder).await?;
    ensure!(nodes.get_opt("nuc1").await?.is_none(), "it is off");
    nuc1.press_button();
    let node = node_is(&nodes, "nuc1", "True").await?;
    let spec = node.spec.context("a Node has a spec")?;
    ensure!(spec.provider_id.as_deref() == Some("homelab://default/nuc1"));
    let labels = node.metadata.labels.unwrap_or_default();
    ensure!(labels["kubernetes.io/hostname"] == "nuc1" && labels["disk"] == "ssd");
    let info = node.status.and_then(|status| status.node_info);
    ensure!(info.context("a Node tells of itself")?.boot_id == nuc1.boot_id());
    pods.create(&PostParams::default(), &pod("web", "1")?)
        .await?;
    pod_runs(&pods, "web", "nuc1").await?;
    // The label is not one of the kubelet's, so a kubelet that comes back leaves it as it is now.
    let change = json!({"metadata": {"labels": {"disk": "hdd", "kubernetes.io/os": "plan9"}}});
    nodes
        .patch("nuc1", &PatchParams::default(), &Patch::Merge(change))
        .await?;
    pods.delete("web", &DeleteParams::default()).await?;
    wait::until(LIMIT, "the pod to end", async || {
        ensure!(pods.get_opt("web").await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;
    nuc1.press_button();
    nuc1.until(Power::Off, LIMIT).await?;
    node_is(&nodes, "nuc1", "Unknown").await?;
    nuc1.press_button();
    let back = node_is(&nodes, "nuc1", "True").await?;
    let labels = back.metadata.labels.unwrap_or_default();
    ensure!(labels["disk"] == "hdd" && labels["kubernetes.io/os"] == "linux");
    Ok(())
}

#[tokio::test]
async fn deleted_node_comes_back_with_the_next_boot_only() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    let nodes: Api<Node> = Api::all(client.clone());
    let recorder = Recorder::in_memory();
    let spec = MachineSpec {
        starts: Power::On,
        ..machine("nuc1", client.clone())
    };
    let nuc1 = HollowMachine::start(spec, &recorder).await?;
    let first = node_is(&nodes, "nuc1", "True").await?;
    nodes.delete("nuc1", &DeleteParams::default()).await?;
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(client, "kube-node-lease");
    let renewed = async || -> Result<_> {
        let lease = leases.get("nuc1").await?;
        let spec = lease.spec.context("a Lease has a spec")?;
        Ok(spec.renew_time.context("it was renewed")?.0)
    };
    let before = wait::until(LIMIT, "a Lease", renewed).await?;
    wait::until(LIMIT, "the kubelet to go on", async || {
        let now = renewed().await?;
        ensure!(now > before, "{now} is not after {before}");
        Ok(())
    })
    .await?;
    ensure!(nodes.get_opt("nuc1").await?.is_none(), "the Node is back");
    nuc1.crash();
    nuc1.until(Power::Off, LIMIT).await?;
    nuc1.press_button();
    let second = node_is(&nodes, "nuc1", "True").await?;
    ensure!(
        first.metadata.uid != second.metadata.uid,
        "it is a new Node"
    );
    Ok(())
}

#[tokio::test]
async fn model_sees_the_cluster_and_marks_its_nodes() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let recorder = Recorder::in_memory();
    let spec = MachineSpec {
        starts: Power::On,
        ..machine("nuc1", client.clone())
    };
    let _nuc1 = HollowMachine::start(spec, &recorder).await?;
    pods.create(&PostParams::default(), &pod("fits", "3")?)
        .await?;
    pod_runs(&pods, "fits", "nuc1").await?;
    pods.create(&PostParams::default(), &pod("waits", "3")?)
        .await?;
    let cluster = Kubernetes::new(client);
    let seen = wait::until(LIMIT, "an unschedulable Pod", async || {
        let seen = cluster.snapshot().await?;
        ensure!(seen.pods.iter().any(|pod| pod.unschedulable), "{seen:?}");
        Ok(seen)
    })
    .await?;
    let node = &seen.nodes[0];
    ensure!(node.is_ready() && node.provider_id == "homelab://default/nuc1");
    let waits = seen.pods.iter().find(|pod| pod.unschedulable);
    ensure!(waits.is_some_and(|pod| pod.name == "default/waits"));
    let expected = Resources::parse([("cpu", "1"), ("memory", "8128Mi"), ("pods", "109")])?;
    ensure!(seen.free(node) == expected, "{:?}", seen.free(node));
    cluster
        .set_taint("nuc1", OwnTaint::ToBeDeleted, true)
        .await?;
    let kept = cluster.evict_from("nuc1", Duration::from_secs(2)).await?;
    ensure!(kept == 0, "{kept} must not leave");
    wait::until(LIMIT, "an empty Node", async || {
        let seen = cluster.snapshot().await?;
        ensure!(seen.pods_on("nuc1").count() == 0, "{seen:?}");
        Ok(())
    })
    .await?;
    let node = &cluster.snapshot().await?.nodes[0];
    ensure!(node.unschedulable && node.has_taint(TO_BE_DELETED));
    cluster
        .set_taint("nuc1", OwnTaint::ToBeDeleted, false)
        .await?;
    let node = &cluster.snapshot().await?.nodes[0];
    ensure!(!node.unschedulable && !node.has_taint(TO_BE_DELETED));
    cluster
        .set_taint("nobody", OwnTaint::ToBeDeleted, true)
        .await
}

#[tokio::test]
async fn sushy_switches_its_machine_and_shows_what_it_does_by_itself() -> Result<()> {
    const SYSTEM: &str = "00000000-0000-4000-8000-000000000001";
    // The emulator's client is built for TLS too, so it wants a provider; another test may have installed it.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    let system = System {
        uuid: SYSTEM.to_owned(),
        name: "r720".to_owned(),
        mac: mac.to_string(),
        power: harness::Power::Off,
    };
    let emulator = Arc::new(Sushy::start(&[system]).await?);
    let recorder = Recorder::in_memory();
    let bmc = Bmc::Sushy {
        emulator: Arc::clone(&emulator),
        system: SYSTEM.to_owned(),
    };
    let spec = MachineSpec {
        bmc: Some(bmc),
        ..MachineSpec::new("r720", mac)
    };
    let r720 = HollowMachine::start(spec, &recorder).await?;
    let shows = async |wanted: harness::Power| {
        wait::until(LIMIT, "the emulator to follow", async || {
            let seen = emulator.power(SYSTEM).await?;
            ensure!(seen == wanted, "{seen:?}");
            Ok(())
        })
        .await
    };
    emulator.reset(SYSTEM, "On").await?;
    r720.until(Power::On, LIMIT).await?;
    r720.crash();
    r720.until(Power::Off, LIMIT).await?;
    shows(harness::Power::Off).await?;
    r720.press_button();
    r720.until(Power::On, LIMIT).await?;
    shows(harness::Power::On).await?;
    emulator.reset(SYSTEM, "ForceOff").await?;
    r720.until(Power::Off, LIMIT).await?;
    // Only what came through the emulator was an order.
    ensure!(recorder.resets("r720", "observed On") == 1);
    ensure!(recorder.resets("r720", "observed Off") == 1);
    ensure!(recorder.wakes("r720") == 1 && recorder.stops("r720") == 1);
    Ok(())
}
