//! The price expander of a real cluster-autoscaler; the model compares no prices.

use super::*;

/// A group of one machine that draws so much.
fn drawing(mut group: GroupPlan, watts: u32, cpu: &str) -> GroupPlan {
    group.spec["template"]["capacity"]["cpu"] = cpu.into();
    group.spec["energy"] = json!({"watts": watts, "perKWh": "0.32", "timeZone": "Europe/Berlin",
        "windows": [{"from": "22:00", "to": "06:00", "perKWh": "0.19"}]});
    group
}

#[tokio::test(flavor = "multi_thread")]
async fn price_expander_wakes_the_machine_that_draws_less() -> Result<()> {
    // Every other expander prefers the one of which less is left over.
    let plan = Plan::quick(vec![
        drawing(group("dear", Woken::Packet, &["dear1"]), 300, "4"),
        drawing(group("cheap", Woken::Packet, &["cheap1"]), 30, "6"),
    ]);
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let Some(mut autoscaler) = stage.real_autoscaler(&["--expander=price"])? else {
        eprintln!("no real autoscaler is named: its price expander was not tested");
        return Ok(());
    };
    autoscaler.until_loops(2).await?;
    stage.expect_one_of("cheap");
    stage.create_pod("web", "3").await?;
    let node = stage.until_pod_runs("web").await?;
    ensure!(node == "cheap1", "{node}");
    stage.until_phase("cheap1", "Running").await?;
    autoscaler.until_loops(5).await?;
    effects_are(&stage, "dear1", 0, 0)?;
    effects_are(&stage, "cheap1", 1, 0)?;
    changed(&mut autoscaler, 1, 0).await
}
