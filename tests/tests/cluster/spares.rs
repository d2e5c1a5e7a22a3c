//! Machines that nobody needs, and machines that nobody has woken.

use super::*;
use tests::recorder::Totals;

const SPARES: &[&str] = &["s1", "s2", "s3", "s4", "s5", "s6"];

#[tokio::test(flavor = "multi_thread")]
async fn c49_cluster_with_more_spares_than_nodes_is_healthy_and_wakes_one_for_one_pod() -> Result<()>
{
    let plan = Plan {
        others: &["small1", "small2"],
        ..Plan::quick(vec![group("spares", Woken::Packet, SPARES)])
    };
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let mut autoscaler = stage.autoscaler()?;
    autoscaler.until_loops(2).await?;
    stage.expect_one_of("spares");
    stage.create_pod("web", "3").await?;
    let node = stage.until_pod_runs("web").await?;
    stage.until_phase(&node, "Running").await?;
    // Loops more, in which it could change its mind.
    autoscaler.until_loops(10).await?;
    changed(&mut autoscaler, 1, 0).await?;
    let Totals { wakes, stops, .. } = stage.recorder.totals();
    ensure!((wakes, stops) == (1, 0), "{wakes} wakes, {stops} stops");
    ensure!(the_one_that_is_on(&stage, SPARES)? == node);
    effects_are(&stage, &node, 1, 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn c49_retained_spares_leave_the_cluster_healthy() -> Result<()> {
    let mut spares = retained(group("spares", Woken::Packet, SPARES));
    spares.spec["requireProof"] = false.into();
    let plan = Plan {
        others: &["small1", "small2"],
        starts: Power::On,
        ..Plan::quick(vec![spares])
    };
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let caller = stage.caller()?;
    for name in SPARES {
        stage.until_phase(name, "Running").await?;
        wait::until(LIMIT, "the autoscaler may have it", async || {
            let group = caller.group_of(name).await?;
            ensure!(group == group_id("spares"), "{group:?}");
            Ok(())
        })
        .await?;
        stage.recorder.ask(name, Wish::Off);
        caller.delete("spares", name).await?;
    }
    for name in SPARES {
        stage.machines[*name].until(Power::Off, LIMIT).await?;
        let suspended = |node: &Node| condition(node, "Suspended").as_deref() == Some("True");
        stage
            .until_node(name, "a suspended Node", suspended)
            .await?;
    }
    let mut autoscaler = stage.autoscaler()?;
    autoscaler.until_loops(2).await?;
    stage.expect_one_of("spares");
    stage.create_pod("web", "3").await?;
    let node = stage.until_pod_runs("web").await?;
    stage.until_phase(&node, "Running").await?;
    autoscaler.until_loops(10).await?;
    changed(&mut autoscaler, 1, 0).await?;
    let Totals { wakes, stops, .. } = stage.recorder.totals();
    ensure!((wakes, stops) == (1, 6), "{wakes} wakes, {stops} stops");
    effects_are(&stage, &node, 1, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_are_on_at_installation_are_left_on() -> Result<()> {
    const MACHINES: &[&str] = &["old1", "old2", "old3"];
    let plan = Plan {
        starts: Power::On,
        ..Plan::quick(vec![group("found", Woken::Packet, MACHINES)])
    };
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let caller = stage.caller()?;
    for name in MACHINES {
        stage.until_phase(name, "Running").await?;
    }
    let mut autoscaler = stage.autoscaler()?;
    // Far longer than it lets an idle Node be.
    autoscaler.until_loops(20).await?;
    changed(&mut autoscaler, 0, 0).await?;
    for name in MACHINES {
        ensure!(
            caller.group_of(name).await?.is_empty(),
            "{name} is unproven"
        );
        let refused = caller.delete("found", name).await;
        ensure!(refused.is_err(), "{name} has never been woken by us");
        let node = stage
            .until_node(name, "a Node that is ready", is_ready)
            .await?;
        ensure!(!has_taint(&node, POWER_OFF), "{node:?}");
        ensure!(stage.machines[*name].power() == Power::On);
        effects_are(&stage, name, 0, 0)?;
    }
    Ok(())
}
