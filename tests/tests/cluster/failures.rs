//! The coordinator, the API server and the broker die in the middle of the work; the end is the same.

use super::*;
use tests::dice::Dice;

const NAMES: &[&str] = &["k1", "k2"];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_twenty_random_instants_the_same_end_is_reached_without_a_second_effect()
-> Result<()> {
    let mut plan = Plan {
        // A process that was killed holds the Lease until it runs out.
        election: Election("6s", "5s", "500ms"),
        ..Plan::quick(vec![group("packet", Woken::Packet, NAMES)])
    };
    plan.timing.push("wake_repeat=3s".to_owned());
    let mut stage = ClusterStage::start(plan, PLANES.own().await?).await?;
    // A fixed seed: the instants differ from kill to kill, not from run to run.
    let mut dice = Dice::new(0);
    for round in 1..=5 {
        stage.expect_one_of("packet");
        stage.caller()?.increase("packet", 1).await?;
        interrupt(&mut stage, dice.within_ms(1_500)).await?;
        interrupt(&mut stage, dice.within_ms(1_500)).await?;
        let node = until_one_runs(&stage).await?;
        let caller = stage.caller()?;
        let size = caller.look("packet").await?;
        ensure!(
            size == 1,
            "{size}, {:?}",
            stage.groups().get("packet").await?.status
        );
        stage.recorder.ask(&node, Wish::Off);
        caller.delete("packet", &node).await?;
        interrupt(&mut stage, dice.within_ms(2_000)).await?;
        interrupt(&mut stage, dice.within_ms(4_000)).await?;
        stage.machines[&node].until(Power::Off, LIMIT).await?;
        stage.until_no_node(&node).await?;
        stage.until_phase(&node, "Sleeping").await?;
        ensure!(stage.caller()?.look("packet").await? == 0);
        let totals = stage.recorder.totals();
        ensure!(
            (totals.wakes, totals.stops) == (round, round),
            "round {round}: {totals:?}"
        );
        let unasked = stage.recorder.unasked_effects(GRACE);
        ensure!(unasked.is_empty(), "round {round}: {unasked:?}");
    }
    Ok(())
}

/// Lets time pass, kills the coordinator, starts another.
async fn interrupt(stage: &mut ClusterStage, after: Duration) -> Result<()> {
    // The instant of the kill is the input of this test: no condition stands for it.
    tokio::time::timeout(after, std::future::pending::<()>())
        .await
        .ok();
    stage.kill_coordinator();
    stage.start_coordinator().await
}

async fn until_one_runs(stage: &ClusterStage) -> Result<String> {
    let running = |state: &Value| {
        let runs = |name: &&&str| state["machines"][**name]["phase"] == "Running";
        NAMES.iter().find(runs).map(|name| (*name).to_owned())
    };
    let state = stage
        .until("a machine runs", |state| running(state).is_some())
        .await?;
    let node = running(&state).unwrap_or_default();
    let joined = stage.until_node(&node, "a Node with its provider id", |node| {
        is_ready(node) && provider_id_of(node).is_some()
    });
    joined.await?;
    Ok(node)
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_and_api_server_come_back_in_the_middle_of_a_wake() -> Result<()> {
    let plan = Plan {
        // Long enough for the API server to start again on a busy machine.
        election: Election("120s", "100s", "1s"),
        ..Plan::quick(vec![group("packet", Woken::Packet, NAMES)])
    };
    let mut stage = ClusterStage::start(plan, PLANES.own().await?).await?;
    stage.until_readyz("[+] broker: connected").await?;
    stage.until_readyz("[+] cluster: connected").await?;
    let mut autoscaler = stage.autoscaler()?;
    stage.expect_one_of("packet");
    stage.create_pod("web", "3").await?;
    until_a_packet(&stage).await?;
    stage.mosquitto.kill();
    stage.until_readyz("[-] broker: not connected").await?;
    stage.until_readyz("[+] cluster: connected").await?;
    stage.plane.kill_api_server();
    stage.until_readyz("[-] cluster: not connected").await?;
    let page = stage.page("/readyz?verbose").await?;
    ensure!(page.contains("[-] broker: not connected"), "{page}");
    stage.machines["k1"].until(Power::On, LIMIT).await?;
    stage.plane.start_api_server().await?;
    stage.until_readyz("[+] cluster: connected").await?;
    stage.mosquitto.start_again().await?;
    stage.until_readyz("[+] broker: connected").await?;
    let node = until_one_runs(&stage).await?;
    ensure!(node == "k1", "{node}");
    stage.until_readyz("ready").await?;
    let host = stage.until_pod_runs("web").await?;
    let complaints = autoscaler.failures(Excuse::Nothing)?;
    ensure!(host == "k1", "{host}: {complaints:?}");
    autoscaler.until_loops(5).await?;
    ensure!(stage.caller()?.look("packet").await? == 1);
    effects_are(&stage, "k1", 1, 0)?;
    ensure!(stage.recorder.totals().wakes == 1);
    grown_by_one_in_spite_of_outages(&mut autoscaler).await
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinator_killed_while_a_machine_boots_and_while_it_stops_moves_it_once() -> Result<()> {
    let plan = Plan {
        // A process that was killed holds the Lease until it runs out.
        election: Election("6s", "5s", "500ms"),
        ..Plan::quick(vec![group("packet", Woken::Packet, NAMES)])
    };
    let mut stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let groups = Trail::<Group>::follow(stage.groups()).await?;
    let mut autoscaler = stage.autoscaler()?;
    stage.expect_one_of("packet");
    stage.create_pod("web", "3").await?;
    until_a_packet(&stage).await?;
    stage.kill_coordinator();
    stage.start_coordinator().await?;
    ensure!(stage.until_pod_runs("web").await? == "k1");
    autoscaler.until_loops(5).await?;
    let size = stage.caller()?.look("packet").await?;
    let told = stage.machine_objects().get("k1").await?.status;
    ensure!(size == 1, "{size}, {told:?}");

    stage.recorder.ask("k1", Wish::Off);
    stage.delete_pod("web").await?;
    let ordered = groups.first(LIMIT, "no wish any more", |group| {
        let status = group.status.as_ref();
        let wanted = status.and_then(|status| status.wanted.as_ref());
        wanted.is_some_and(|wanted| wanted.sequence > 1 && wanted.machines.is_empty())
    });
    ordered.await?;
    stage.kill_coordinator();
    stage.start_coordinator().await?;
    stage.machines["k1"].until(Power::Off, LIMIT).await?;
    stage.until_no_node("k1").await?;
    stage.until_phase("k1", "Sleeping").await?;
    autoscaler.until_loops(5).await?;
    ensure!(stage.caller()?.look("packet").await? == 0);
    effects_are(&stage, "k1", 1, 1)?;
    ensure!(stage.recorder.totals().wakes == 1);
    grown_by_one_in_spite_of_outages(&mut autoscaler).await
}

async fn until_a_packet(stage: &ClusterStage) -> Result<()> {
    let packet = |effect: &Effect| matches!(effect, Effect::MagicPacketTrain { .. });
    let sent = stage.recorder.until(LIMIT, "a packet", |records| {
        let mut effects = records.iter().map(|record| &record.effect);
        effects.any(packet).then_some(())
    });
    sent.await.map(drop)
}

/// A removal whose answer was lost counts as failed with the autoscaler, so only what it asked for is compared.
async fn grown_by_one_in_spite_of_outages(autoscaler: &mut Autoscaler) -> Result<()> {
    let failures = autoscaler.failures(Excuse::Outages)?;
    ensure!(failures.is_empty(), "{failures:?}");
    let seen = autoscaler.changes().await?;
    ensure!(seen.grown == 1, "{seen:?}");
    Ok(())
}
