//! The coordinator, the API server and the broker die in the middle of the work; the end is the same.

use super::*;

const NAMES: &[&str] = &["k1", "k2"];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_twenty_random_instants_the_same_end_is_reached_without_a_second_effect()
-> Result<()> {
    let mut plan = Plan {
        // A process that was killed holds the Lease until it runs out.
        election: Election("3s", "2s", "300ms"),
        ..Plan::quick(vec![group("packet", Woken::Packet, NAMES)])
    };
    plan.timing.push("wake_repeat=3s".to_owned());
    let mut stage = ClusterStage::start(plan, PLANES.own().await?).await?;
    // A fixed seed: the instants differ from kill to kill, not from run to run.
    let mut dice = 0x9E37_79B9_7F4A_7C15_u64;
    let mut roll = |most_ms: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        Duration::from_millis(dice % most_ms)
    };
    for round in 1..=5 {
        stage.expect_one_of("packet");
        increase(&mut Client::new(stage.channel()?), "packet", 1).await?;
        interrupt(&mut stage, roll(1_500)).await?;
        interrupt(&mut stage, roll(1_500)).await?;
        let node = until_one_runs(&stage).await?;
        let mut client = Client::new(stage.channel()?);
        let size = target(&mut client, "packet").await?;
        ensure!(
            size == 1,
            "{size}, {:?}",
            stage.groups().get("packet").await?.status
        );
        stage.recorder.ask(&node, Wish::Off);
        delete(&mut client, "packet", &node).await?;
        interrupt(&mut stage, roll(2_000)).await?;
        interrupt(&mut stage, roll(4_000)).await?;
        stage.until_no_node(&node).await?;
        stage.until_phase(&node, "Sleeping").await?;
        ensure!(target(&mut Client::new(stage.channel()?), "packet").await? == 0);
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
        election: Election("120s", "100s", "500ms"),
        ..Plan::quick(vec![group("packet", Woken::Packet, NAMES)])
    };
    let mut stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    stage.until_readyz("[+] broker: connected").await?;
    stage.until_readyz("[+] cluster: connected").await?;
    let mut client = Client::new(stage.channel()?);
    stage.expect_one_of("packet");
    increase(&mut client, "packet", 1).await?;
    let woken = stage.recorder.until(LIMIT, "a packet", |records| {
        let packet = |effect: &Effect| matches!(effect, Effect::MagicPacketTrain { .. });
        records
            .iter()
            .any(|record| packet(&record.effect))
            .then_some(())
    });
    woken.await?;
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
    ensure!(target(&mut client, "packet").await? == 1);
    effects_are(&stage, "k1", 1, 0)?;
    ensure!(stage.recorder.totals().wakes == 1);
    Ok(())
}
