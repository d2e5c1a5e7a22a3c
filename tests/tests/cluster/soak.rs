//! Calls that fail one by one while machines come and go.

use super::*;
use tests::unsteady::UnsteadyLine;

const MACHINES: &[&str] = &["u1", "u2", "u3"];
/// What an autoscaler asks in each loop, also while there is nothing to do.
const IN_EACH_LOOP: &[&str] = &[
    "Refresh",
    "NodeGroups",
    "NodeGroupForNode",
    "NodeGroupTargetSize",
];

#[tokio::test(flavor = "multi_thread")]
async fn c50_every_call_may_fail_and_machines_still_come_and_go_without_a_wake_too_many()
-> Result<()> {
    let plan = Plan::quick(vec![group("packet", Woken::Packet, MACHINES)]);
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let line = UnsteadyLine::to(stage.channel()?).await?;
    line.fail(IN_EACH_LOOP);
    line.fail(&["NodeGroupNodes", "NodeGroupTemplateNodeInfo", "GPULabel"]);
    let mut autoscaler = stage.autoscaler_at(&line.address())?;
    line.until_failed(LIMIT).await?;
    autoscaler.until_loops(2).await?;
    ensure!(stage.recorder.totals().wakes == 0, "nobody needs a machine");

    // A wake whose answer was lost counts as failed with the autoscaler: it may ask for one machine more.
    line.fail(&["NodeGroupIncreaseSize"]);
    stage.recorder.ask_any(MACHINES, 2, Wish::On);
    stage.create_pod("web", "3").await?;
    let node = stage.until_pod_runs("web").await?;
    stage.until_phase(&node, "Running").await?;
    line.fail(IN_EACH_LOOP);
    line.fail(&["NodeGroupGetOptions"]);
    line.until_failed(LIMIT).await?;
    autoscaler.until_loops(5).await?;
    let wakes = stage.recorder.totals().wakes;
    ensure!((1..=2).contains(&wakes), "{wakes} wakes");

    for name in MACHINES {
        stage.recorder.ask(name, Wish::Off);
    }
    line.fail(&["NodeGroupDeleteNodes"]);
    stage.delete_pod("web").await?;
    for name in MACHINES {
        stage.until_no_node(name).await?;
        stage.machines[*name].until(Power::Off, LIMIT).await?;
    }
    line.until_failed(LIMIT).await?;
    ensure!(stage.caller()?.look("packet").await? == 0);
    let totals = stage.recorder.totals();
    ensure!((totals.wakes, totals.stops) == (wakes, wakes), "{totals:?}");
    let unasked = stage.recorder.unasked_effects(GRACE);
    ensure!(unasked.is_empty(), "unasked: {unasked:?}");
    Ok(())
}
