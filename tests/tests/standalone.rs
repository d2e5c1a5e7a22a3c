//! The main job without Kubernetes, on real programs: gRPC in, packets and Redfish out, heartbeats back.

use std::time::Duration;

use anyhow::{Result, ensure};
use proto_autoscaler::instance_status::InstanceState;
use tests::{
    ca_model::{CaModel, Options, cluster::toy, resources::Resources},
    caller::Caller,
    dice::Dice,
    harness::wait,
    hollow::Power,
    recorder::{Recorder, Wish},
    stage::{self, GroupPlan, Plan, Stage, Woken},
    workload::Workload,
};

const LIMIT: Duration = Duration::from_secs(120);
const TEMPLATE: &str = "  template: {capacity: {cpu: \"4\", memory: 8Gi}}";
const PACKET: &str = "packet";
const BMC: &str = "bmc";

fn packet(machines: &'static [&'static str]) -> GroupPlan {
    GroupPlan {
        name: "packet",
        woken: Woken::Packet,
        machines,
        spec: TEMPLATE,
    }
}

fn bmc(machines: &'static [&'static str]) -> GroupPlan {
    GroupPlan {
        name: "bmc",
        woken: Woken::Bmc,
        machines,
        spec: TEMPLATE,
    }
}

async fn until_running(caller: &Caller, group: &str, count: usize) -> Result<Vec<String>> {
    wait::until(LIMIT, "the machines are listed as running", async || {
        let running = caller.listed(group, InstanceState::InstanceRunning).await?;
        ensure!(running.len() == count, "running: {running:?}");
        Ok(running)
    })
    .await
}

async fn until_gone(caller: &Caller, group: &str) -> Result<()> {
    wait::until(LIMIT, "nothing is deleting any more", async || {
        let deleting = caller
            .listed(group, InstanceState::InstanceDeleting)
            .await?;
        ensure!(deleting.is_empty(), "deleting: {deleting:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn increase_by_three_wakes_exactly_three_and_each_delete_stops_one() -> Result<()> {
    let plan = Plan::quick(vec![packet(&["a1", "a2", "a3", "a4", "a5"])]);
    let stage = Stage::start(plan, Recorder::in_memory()).await?;
    let caller = stage.caller()?;
    stage
        .recorder
        .ask_any(&["a1", "a2", "a3", "a4", "a5"], 3, Wish::On);
    caller.increase(PACKET, 3).await?;
    assert_eq!(caller.look(PACKET).await?, 3);
    let running = until_running(&caller, PACKET, 3).await?;
    assert_eq!(stage.recorder.totals().wakes, 3);
    for name in &running {
        stage.recorder.ask(name, Wish::Off);
        caller.delete(PACKET, name).await?;
    }
    assert_eq!(caller.look(PACKET).await?, 0);
    until_gone(&caller, PACKET).await?;
    for name in &running {
        stage.machines[name].until(Power::Off, LIMIT).await?;
        assert_eq!(
            (stage.recorder.wakes(name), stage.recorder.stops(name)),
            (1, 1),
            "{name}"
        );
    }
    assert_eq!(stage.recorder.unasked_effects(Duration::from_secs(10)), []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_identical_concurrent_calls_wake_one_machine() -> Result<()> {
    let plan = Plan::quick(vec![packet(&["b1", "b2", "b3"])]);
    let stage = Stage::start(plan, Recorder::in_memory()).await?;
    let caller = stage.caller()?;
    let calls = (0..5).map(|_| {
        let caller = caller.clone();
        async move { caller.increase(PACKET, 1).await }
    });
    for answer in futures::future::join_all(calls).await {
        answer?;
    }
    assert_eq!(caller.look(PACKET).await?, 1);
    until_running(&caller, PACKET, 1).await?;
    assert_eq!(stage.recorder.totals().wakes, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redfish_machines_are_woken_stopped_and_confirmed_off_by_their_bmc() -> Result<()> {
    let stage = Stage::start(Plan::quick(vec![bmc(&["c1", "c2"])]), Recorder::in_memory()).await?;
    let caller = stage.caller()?;
    stage
        .until("the BMCs are read", |state| {
            state["machines"]["c1"]["phase"] == "Sleeping"
        })
        .await?;
    caller.increase(BMC, 1).await?;
    let running = until_running(&caller, BMC, 1).await?;
    assert_eq!(stage.recorder.resets(&running[0], "On"), 1);
    caller.delete(BMC, &running[0]).await?;
    until_gone(&caller, BMC).await?;
    let state = stage.state().await?;
    assert_eq!(
        state["machines"][&running[0]]["powerInferred"], false,
        "off was read, not concluded"
    );
    assert_eq!(stage.recorder.resets(&running[0], "ForceOff"), 0);
    assert_eq!(stage.recorder.stops(&running[0]), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_are_on_already_are_left_alone() -> Result<()> {
    let stage = Stage::start(
        Plan::quick(vec![packet(&["d1", "d2", "d3"])]),
        Recorder::in_memory(),
    )
    .await?;
    let caller = stage.caller()?;
    for machine in stage.machines.values() {
        machine.press_button();
    }
    for name in ["d1", "d2", "d3"] {
        stage
            .until("it is seen", |state| {
                state["machines"][name]["phase"] == "Running"
            })
            .await?;
        let refused = caller.delete(PACKET, name).await;
        assert!(refused.is_err(), "{name} has never been woken by us");
    }
    assert_eq!(caller.look(PACKET).await?, 0);
    assert!(
        stage
            .machines
            .values()
            .all(|machine| machine.power() == Power::On)
    );
    assert_eq!(stage.recorder.totals().stops, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_rises_and_falls_moves_only_what_it_asked_for() -> Result<()> {
    let stage = Stage::start(
        Plan::quick(vec![packet(&["e1", "e2"]), bmc(&["e3"])]),
        Recorder::in_memory(),
    )
    .await?;
    let slot = Resources {
        cpu_milli: 3_000,
        memory: 4 << 30,
        pods: 1,
    };
    let offer = Resources {
        cpu_milli: 4_000,
        memory: 8 << 30,
        pods: 110,
    };
    // The autoscaler starts again when the demand has fallen, so that the time until then plays no part.
    let ask_for = |script: &str| {
        let nodes = toy::listed_as_running(stage.channel()?, offer);
        let toy = toy::Toy::new(script.parse::<Workload>()?, slot, nodes);
        let options = Options {
            unneeded_time: Duration::from_secs(2),
            ..Options::default()
        };
        anyhow::Ok(CaModel::over(stage.channel()?, toy, options).spawn())
    };
    let rising = ask_for("0s:2")?;
    wait::until(LIMIT, "two machines run", async || {
        let state = stage.state().await?;
        let runs = |name: &&str| state["machines"][*name]["phase"] == "Running";
        let running = ["e1", "e2", "e3"].iter().filter(|name| runs(name)).count();
        ensure!(running == 2, "{running} run");
        Ok(())
    })
    .await?;
    rising.stop();
    let falling = ask_for("0s:0")?;
    wait::until(LIMIT, "both were stopped again", async || {
        let totals = stage.recorder.totals();
        ensure!(totals.wakes == 2 && totals.stops == 2, "{totals:?}");
        Ok(())
    })
    .await?;
    let members = |group: &str| match group {
        "default/packet" => vec!["e1".to_owned(), "e2".to_owned()],
        _ => vec!["e3".to_owned()],
    };
    for model in [rising, falling] {
        for ask in model.calls.asks(stage::machine_of, members) {
            stage.recorder.ask_at(ask);
        }
        assert_eq!(model.events.failures(), []);
    }
    assert_eq!(stage.recorder.unasked_effects(Duration::from_secs(10)), []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_instants_the_same_end_is_reached_without_a_second_effect() -> Result<()> {
    kill_rounds(["f1", "f2"], packet(&["f1", "f2"]), 0xBB72_8D28_3026_A108).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_other_random_instants_machines_with_a_bmc_reach_the_same_end_too() -> Result<()>
{
    kill_rounds(["g1", "g2"], bmc(&["g1", "g2"]), 0).await
}

/// Ten kills: one in each of five wakes and one in each of five stops.
async fn kill_rounds(names: [&str; 2], group: GroupPlan, seed: u64) -> Result<()> {
    let id = group.name;
    let plan = Plan {
        // A boot goes on while the coordinator is away, and a stop takes its time on a busy machine.
        timeouts: "{boot: 3m, stop: 30s, offHold: 10s}",
        ..Plan::quick(vec![group])
    };
    let mut stage = Stage::start(plan, Recorder::in_memory()).await?;
    // A fixed seed: the instants differ from round to round, not from run to run.
    let mut dice = Dice::new(seed);
    for round in 1..=5 {
        let caller = stage.caller()?;
        caller.increase(id, 1).await?;
        interrupt(&mut stage, dice.within_ms(2_500)).await?;
        let caller = stage.caller()?;
        let running = until_running(&caller, id, 1).await?;
        caller.look(id).await?;
        caller.delete(id, &running[0]).await?;
        interrupt(&mut stage, dice.within_ms(6_000)).await?;
        let caller = stage.caller()?;
        stage.machines[&running[0]].until(Power::Off, LIMIT).await?;
        until_gone(&caller, id).await?;
        assert_eq!(caller.look(id).await?, 0);
        let sum = |count: fn(&Recorder, &str) -> usize| {
            names
                .iter()
                .map(|name| count(&stage.recorder, name))
                .sum::<usize>()
        };
        let effects = (sum(Recorder::wakes), sum(Recorder::stops));
        assert_eq!(
            effects,
            (round, round),
            "after round {round}: {:?}",
            stage.recorder.records()
        );
    }
    Ok(())
}

/// Lets time pass, kills the coordinator, starts it again.
async fn interrupt(stage: &mut Stage, after: Duration) -> Result<()> {
    // The instant of the kill is the input of this test: no condition stands for it.
    tokio::time::timeout(after, std::future::pending::<()>())
        .await
        .ok();
    stage.kill_coordinator();
    stage.start_coordinator().await
}
