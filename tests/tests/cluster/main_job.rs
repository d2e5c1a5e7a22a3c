//! A pod that fits nowhere wakes one machine; when it is gone, the machine goes.

use super::*;
use kube::api::{Patch, PatchParams};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn c48_waiting_pod_wakes_one_machine_by_packet_and_its_end_stops_it() -> Result<()> {
    let machines = &["nuc1", "nuc2", "nuc3"];
    let mut plan = Plan::quick(vec![group("packet", Woken::Packet, machines)]);
    // Longer than anything is waited for: one train is enough, and a second one would be one too many.
    plan.timing.push("wake_repeat=120s".to_owned());
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let caller = stage.caller()?;
    let nodes = Trail::<Node>::follow(stage.nodes()).await?;
    let groups = Trail::<Group>::follow(stage.groups()).await?;
    let mut autoscaler = stage.autoscaler()?;
    let before = settled_writes(&stage).await?;

    stage.expect_one_of("packet");
    stage.create_pod("web", "3").await?;
    let node = stage.until_pod_runs("web").await?;
    // None has ever been on, so the name decides.
    ensure!(node == "nuc1", "{node}");
    ensure!(stage.recorder.trains("nuc1") == 1, "one train of packets");
    let joined = stage.until_node("nuc1", "a Node with the promised id", |node| {
        is_ready(node) && provider_id_of(node) == Some("homelab://lab/nuc1")
    });
    joined.await?;
    stage.until_phase("nuc1", "Running").await?;
    tell_writes(&before, &settled_writes(&stage).await?);

    stage.recorder.ask("nuc1", Wish::Off);
    stage.delete_pod("web").await?;
    stage.machines["nuc1"].until(Power::Off, LIMIT).await?;
    stage.until_no_node("nuc1").await?;
    stage.until_phase("nuc1", "Sleeping").await?;
    let tainted = nodes.first(LIMIT, "our taint", |node| {
        node.metadata.name.as_deref() == Some("nuc1") && has_taint(node, POWER_OFF)
    });
    let was_wanted = groups
        .first(LIMIT, "a wish", |group| wanted(group) == ["nuc1"])
        .await?;
    let no_longer = groups.first(LIMIT, "no wish", |group| {
        let version = group.metadata.resource_version.as_deref();
        let version = version.and_then(|version| version.parse().ok());
        wanted(group).is_empty() && version > Some(was_wanted)
    });
    let (tainted, no_longer) = (tainted.await?, no_longer.await?);
    ensure!(
        tainted < no_longer,
        "taint {tainted}, answer after {no_longer}"
    );
    ensure!(
        stopped_gracefully(&stage, "nuc1"),
        "{:?}",
        stage.recorder.records()
    );
    ensure!(
        stage.machines["nuc1"].is_armed(),
        "its agent set the wake flag before it went down"
    );
    ensure!(caller.look("packet").await? == 0);
    effects_are(&stage, "nuc1", 1, 1)?;
    ensure!(stage.recorder.totals().wakes == 1);
    changed(&mut autoscaler, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn c48_retained_node_is_suspended_and_comes_back_as_people_left_it() -> Result<()> {
    let plan = Plan::quick(vec![retained(group("packet", Woken::Packet, &["nuc1"]))]);
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let caller = stage.caller()?;
    let mut autoscaler = stage.autoscaler()?;
    stage.expect_one_of("packet");
    stage.create_pod("web", "3").await?;
    ensure!(stage.until_pod_runs("web").await? == "nuc1");
    let uid = stage.nodes().get("nuc1").await?.metadata.uid;
    add_mark_of_people(&stage, "nuc1").await?;

    stage.recorder.ask("nuc1", Wish::Off);
    stage.delete_pod("web").await?;
    stage.machines["nuc1"].until(Power::Off, LIMIT).await?;
    let held = stage.until_node("nuc1", "a suspended Node", |node| {
        condition(node, "Suspended").as_deref() == Some("True")
    });
    ensure!(held.await?.metadata.uid == uid);
    stage.until_phase("nuc1", "Sleeping").await?;
    ensure!(caller.group_of("nuc1").await?.is_empty());
    ensure!(caller.look("packet").await? == 0);
    // The machine sleeps on while nobody needs it.
    autoscaler.until_loops(5).await?;
    effects_are(&stage, "nuc1", 1, 1)?;

    stage.recorder.ask("nuc1", Wish::On);
    stage.create_pod("again", "3").await?;
    ensure!(stage.until_pod_runs("again").await? == "nuc1");
    let back = stage.until_node("nuc1", "a Node without our marks", |node| {
        let ours = has_taint(node, POWER_OFF) || condition(node, "Suspended").is_some();
        let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable);
        is_ready(node) && !ours && cordoned != Some(true)
    });
    let back = back.await?;
    ensure!(
        back.metadata.uid == uid && carries_mark_of_people(&back),
        "{back:?}"
    );
    effects_are(&stage, "nuc1", 2, 1)?;
    changed(&mut autoscaler, 2, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn c48_waiting_pod_wakes_one_machine_by_redfish_and_its_end_stops_it() -> Result<()> {
    let machines = &["r720", "r730"];
    let plan = Plan::quick(vec![group("bmc", Woken::Redfish, machines)]);
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let caller = stage.caller()?;
    for name in machines {
        stage.until_phase(name, "Sleeping").await?;
    }
    let mut autoscaler = stage.autoscaler()?;
    stage.expect_one_of("bmc");
    stage.create_pod("web", "3").await?;
    let node = stage.until_pod_runs("web").await?;
    ensure!(stage.recorder.resets(&node, "observed On") == 1);

    stage.recorder.ask(&node, Wish::Off);
    stage.delete_pod("web").await?;
    stage.machines[&node].until(Power::Off, LIMIT).await?;
    stage.until_no_node(&node).await?;
    let state = stage
        .until("it sleeps", |state| {
            state["machines"][&node]["phase"] == "Sleeping"
        })
        .await?;
    ensure!(
        state["machines"][&node]["powerInferred"] == false,
        "off was read, not concluded"
    );
    ensure!(
        stage.recorder.resets(&node, "observed Off") == 0,
        "nobody cut its power"
    );
    ensure!(stopped_gracefully(&stage, &node));
    ensure!(caller.look("bmc").await? == 0);
    effects_are(&stage, &node, 1, 1)?;
    ensure!(stage.recorder.totals().wakes == 1);
    changed(&mut autoscaler, 1, 1).await
}

/// The machines that a group wants.
fn wanted(group: &Group) -> Vec<String> {
    let status = group.status.as_ref();
    let wanted = status.and_then(|status| status.wanted.as_ref());
    wanted
        .map(|wanted| wanted.machines.clone())
        .unwrap_or_default()
}

/// Its agent was told once, and it went down by itself.
fn stopped_gracefully(stage: &ClusterStage, machine: &str) -> bool {
    let records = stage.recorder.records();
    let of_machine = records
        .iter()
        .filter(|record| record.effect.machine() == Some(machine));
    let down: Vec<_> = of_machine
        .filter_map(|record| match &record.effect {
            Effect::ShutdownAsked { verb, .. } => Some(verb.as_str()),
            Effect::PowerOff {
                how: OffHow::Graceful,
                ..
            } => Some("off"),
            Effect::PowerOff { .. } => Some("cut"),
            Effect::MagicPacketTrain { .. }
            | Effect::StrayDatagram { .. }
            | Effect::BmcReset { .. }
            | Effect::PowerOn { .. }
            | Effect::BootDone { .. } => None,
        })
        .collect();
    down == ["poweroff", "off"]
}

/// A label, an annotation and a soft taint, as a person would put them on a Node.
async fn add_mark_of_people(stage: &ClusterStage, name: &str) -> Result<()> {
    wait::until(LIMIT, "nobody else writes the Node", async || {
        let node = stage.nodes().get(name).await?;
        let mut taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        taints.push(serde_json::from_value(
            json!({"key": "slow-disk", "value": "yes", "effect": "PreferNoSchedule"}),
        )?);
        let patch = json!({
            "metadata": {
                "resourceVersion": node.metadata.resource_version,
                "labels": {"rack": "left"}, "annotations": {"note": "mind the fan"},
            },
            "spec": {"taints": taints},
        });
        let (patch, params) = (Patch::Merge(patch), PatchParams::default());
        stage.nodes().patch(name, &params, &patch).await?;
        Ok(())
    })
    .await
}

fn carries_mark_of_people(node: &Node) -> bool {
    let label = node
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("rack"));
    let note = node
        .metadata
        .annotations
        .as_ref()
        .and_then(|notes| notes.get("note"));
    label.is_some_and(|rack| rack == "left")
        && note.is_some_and(|note| note == "mind the fan")
        && has_taint(node, "slow-disk")
}

type Writes = BTreeMap<String, u64>;

/// The counters of writes, without Leases and Events, once they have stood still for a while.
async fn settled_writes(stage: &ClusterStage) -> Result<Writes> {
    // Longer than the coordinator waits with anything that it has to write.
    const STILL: Duration = Duration::from_secs(2);
    let mut last = (Writes::new(), Instant::now());
    wait::until(LIMIT, "the writes to settle", async || {
        let mut writes = stage.api_writes().await?;
        writes.retain(|kind, _| kind != "lease" && kind != "event");
        if writes != last.0 {
            last = (writes.clone(), Instant::now());
        }
        ensure!(last.1.elapsed() >= STILL, "{writes:?}");
        Ok(writes)
    })
    .await
}

#[expect(clippy::print_stderr, reason = "a figure for people, never asserted")]
fn tell_writes(before: &Writes, after: &Writes) {
    let grown = |(kind, count): (&String, &u64)| {
        let count = count - before.get(kind).copied().unwrap_or_default();
        (count > 0).then(|| (kind.clone(), count))
    };
    let grown: Writes = after.iter().filter_map(grown).collect();
    let sum: u64 = grown.values().sum();
    eprintln!("API writes per power-on, Leases and Events apart: {sum} {grown:?}");
}
