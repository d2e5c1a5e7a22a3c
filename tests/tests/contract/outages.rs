//! What is answered while a part is away: from memory, truly, and without a change that could be lost.

use std::{cell::Cell, error::Error as _, fmt::Debug};

use anyhow::{Context as _, Result, ensure};
use proto_autoscaler::Instance;
use serde_json::{Value, json};
use tests::{
    caller::Caller,
    cluster_stage::{ClusterStage, Election, GroupPlan, Plan, Woken},
    hollow::Power,
    recorder::{Effect, Wish},
};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::{
    floor::{Behind, LIMIT, alone, apart, asleep, behind_bmcs, group, on_paper, plan, refused},
    reads::{CHANGE, PATIENCE, TRIES, Told, within},
};

const FIFTY: &[&str] = &[
    "m00", "m01", "m02", "m03", "m04", "m05", "m06", "m07", "m08", "m09", "m10", "m11", "m12",
    "m13", "m14", "m15", "m16", "m17", "m18", "m19", "m20", "m21", "m22", "m23", "m24", "m25",
    "m26", "m27", "m28", "m29", "m30", "m31", "m32", "m33", "m34", "m35", "m36", "m37", "m38",
    "m39", "m40", "m41", "m42", "m43", "m44", "m45", "m46", "m47", "m48", "m49",
];

fn lab() -> Plan {
    Plan {
        others: &[],
        // Long enough for the API server to start again on a busy machine.
        election: Election("120s", "100s", "1s"),
        ..Plan::quick(Vec::new())
    }
}

#[test]
fn c01_reads_are_answered_from_memory_and_sizes_stay_while_api_server_agents_and_bmc_are_away()
-> Result<()> {
    let behind_bmc = behind_bmcs(plan("c01bmc", &["c01a"]));
    let lab = Plan {
        groups: behind_bmc.groups,
        ..lab().soon_silent()
    };
    apart(lab, async |stage| {
        stage.until_phase("c01a", "Sleeping").await?;
        let before = {
            let mut plan = plan("c01", FIFTY);
            plan.spec["scaleDown"] = json!({"unneededDuration": "2m"});
            plan.spec["energy"] = json!({"watts": 100, "perKWh": "0.3"});
            let group = group(stage, plan, Behind::Nothing).await?;
            group.increase(2).await?;
            Told::of(&group.caller, "c01", "m00").await?
        };
        ensure!(
            before.groups.len() == 2 && before.group_of.id == "lab/c01",
            "{before:?}"
        );
        ensure!(before.target == 2 && before.instances.len() == 2);
        stage.until_readyz("[+] cluster: connected").await?;
        stage.plane.kill_api_server();
        stage.until_readyz("[-] cluster: not connected").await?;
        let caller = stage.caller()?;
        let same = async || {
            let told = Told::of(&caller, "c01", "m00").await?;
            ensure!(told == before, "{told:?}");
            anyhow::Ok(())
        };
        same().await?;
        stage.sushy.as_ref().context("a BMC runs")?.pause()?;
        stage.stop_relay();
        let silent = |state: &Value| state["agents"]["relay"]["live"] == false;
        stage.until("no agent is heard", silent).await?;
        same().await?;
        within(CHANGE, "a refused increase", async || {
            refused(caller.increase("c01", 1).await, Code::Unavailable)
        })
        .await?;
        within(CHANGE, "a refused deletion", async || {
            refused(caller.delete("c01", "m00").await, Code::Unavailable)
        })
        .await?;
        within(CHANGE, "a refused decrease", async || {
            refused(caller.decrease("c01", -1).await, Code::Unavailable)
        })
        .await?;
        same().await?;
        stage.plane.start_api_server().await?;
        stage.until_readyz("[+] cluster: connected").await?;
        same().await
    })
}

#[test]
fn c02_groups_sizes_and_instances_are_never_empty_while_the_coordinator_starts() -> Result<()> {
    let lab = Plan {
        election: Election("6s", "5s", "500ms"),
        ..lab()
    };
    alone(lab, async |stage| {
        on_paper(stage, "c02", &["c02a"]).await?.increase(1).await?;
        let caller = stage.caller()?;
        ensure!(whole(&caller, "c02").await?, "it serves");
        stage.kill_coordinator();
        let is_up = Cell::new(false);
        let starting = async {
            stage.start_coordinator().await?;
            is_up.set(true);
            anyhow::Ok(())
        };
        let asking = async {
            // One round at least begins after its start and is answered whole.
            loop {
                let is_last = is_up.get();
                if whole(&caller, "c02").await? && is_last {
                    return anyhow::Ok(());
                }
                tokio::task::yield_now().await;
            }
        };
        let both = async { tokio::try_join!(starting, asking).map(drop) };
        timeout(LIMIT, both).await.context("it serves again")?
    })
}

/// Makes the reads of a loop's begin, for a group with one wish; whether all were answered. Whatever is answered must be true.
async fn whole(caller: &Caller, group: &str) -> Result<bool> {
    let answered = [
        true_or_away(caller.refresh().await, |()| true)?,
        true_or_away(caller.groups().await, |groups| groups.len() == 1)?,
        true_or_away(caller.target(group).await, |target| *target == 1)?,
        true_or_away(caller.instances(group).await, |listed| listed.len() == 1)?,
    ];
    Ok(answered == [true; 4])
}

/// Whether a call was answered. A coordinator that does not serve says so, or cannot be reached.
fn true_or_away<T: Debug>(answer: Result<T, Status>, is_true: impl Fn(&T) -> bool) -> Result<bool> {
    match answer {
        Ok(told) => {
            ensure!(is_true(&told), "{told:?}");
            Ok(true)
        }
        // A status with a source was made on this side, of a connection that broke.
        Err(status) => {
            let is_away = status.source().is_some() || status.code() == Code::Unavailable;
            ensure!(is_away, "{status:?}");
            Ok(false)
        }
    }
}

/// Machines on paper, enough for each increase that may be tried.
fn many(name: &'static str, woken: Woken) -> GroupPlan {
    GroupPlan {
        woken,
        ..plan(name, &FIFTY[..TRIES])
    }
}

/// Increases of a group are answered in the time that the contract grants.
async fn increases_are_answered_in_time(stage: &ClusterStage, plan: GroupPlan) -> Result<()> {
    let group = group(stage, plan, Behind::Nothing).await?;
    let mut asked = 0;
    within(CHANGE, "an increase", async || {
        // Whoever has not looked in between asks for the same once more.
        let before = group.caller.look(group.name).await?;
        ensure!(before == asked, "{before}");
        asked += 1;
        Ok(group.increase(1).await?)
    })
    .await?;
    ensure!(group.target().await? == asked);
    group.agrees().await
}

#[test]
fn c16_increase_is_answered_before_the_power_moves_and_survives_a_crash_in_between() -> Result<()> {
    let lab = Plan {
        election: Election("6s", "5s", "500ms"),
        guests: &["c16a"],
        ..lab()
    };
    alone(lab, async |stage| {
        stage.stop_relay();
        let silent = |state: &Value| state["agents"]["relay"]["live"] == false;
        stage.until("nobody can wake", silent).await?;
        let hollow = {
            let mut group = group(stage, plan("c16", &["c16a"]), Behind::Hollow).await?;
            stage.recorder.ask("c16a", Wish::On);
            // The first one is asked for while nothing has failed yet that could be learned from.
            timeout(PATIENCE, group.increase(1)).await??;
            ensure!(group.creating().await? == ["c16a"]);
            std::mem::take(&mut group.hollow)
        };
        increases_are_answered_in_time(stage, many("c16many", Woken::Packet)).await?;
        ensure!(stage.recorder.trains("c16a") == 0);
        stage.kill_coordinator();
        stage.start_coordinator().await?;
        let caller = stage.caller()?;
        ensure!(caller.look("c16").await? == 1);
        stage.start_relay()?;
        let on = |effect: &Effect| matches!(effect, Effect::PowerOn { .. });
        let woken = stage.recorder.until(LIMIT, "power", |records| {
            let mut effects = records.iter().map(|record| &record.effect);
            effects.any(on).then_some(())
        });
        woken.await?;
        stage.until_phase("c16a", "Running").await?;
        ensure!(stage.recorder.wakes("c16a") == 1);
        drop(hollow);
        Ok(())
    })
}

#[test]
fn c16_increase_is_answered_while_the_bmc_takes_connections_and_answers_on_none() -> Result<()> {
    let group = plan("c16bmc", &["c16b"]);
    let mut lab = behind_bmcs(group.clone());
    // Whoever waited for the BMC would wait for much longer than an answer may take.
    lab.timing.push("accept=60s".to_owned());
    alone(lab, async |stage| {
        let group = asleep(stage, &group).await?;
        let stage = group.stage;
        let bmc = stage.sushy.as_ref().context("a BMC runs")?;
        stage.recorder.ask("c16b", Wish::On);
        bmc.pause()?;
        timeout(PATIENCE, group.increase(1)).await??;
        let told = async || {
            ensure!(group.target().await? == 1);
            ensure!(group.creating().await? == ["c16b"]);
            ensure!(group.caller.group_of("c16b").await? == "lab/c16bmc");
            anyhow::Ok(())
        };
        told().await?;
        let asked = |state: &Value| state["machines"]["c16b"]["why"] == "WakeSent";
        stage.until("the BMC is asked", asked).await?;
        told().await?;
        increases_are_answered_in_time(stage, many("c16more", Woken::Redfish)).await?;
        ensure!(stage.recorder.wakes("c16b") == 0);
        bmc.resume()?;
        group.until_running(&["c16b"]).await?;
        ensure!(stage.recorder.wakes("c16b") == 1);
        Ok(())
    })
}

#[test]
fn c46_coordinator_killed_after_an_answer_goes_on_with_the_same_machines_and_moves_each_once()
-> Result<()> {
    const MACHINES: &[&str] = &["c46a", "c46b"];
    let lab = Plan {
        election: Election("6s", "5s", "500ms"),
        guests: MACHINES,
        ..lab()
    };
    alone(lab, async |stage| {
        stage.stop_relay();
        let hollow = {
            let mut group = group(stage, plan("c46", MACHINES), Behind::Hollow).await?;
            stage.recorder.ask_any(MACHINES, 2, Wish::On);
            group.increase(2).await?;
            std::mem::take(&mut group.hollow)
        };
        let promised = stage.caller()?.instances("c46").await?;
        for has_relay in [false, true] {
            stage.kill_coordinator();
            stage.start_coordinator().await?;
            let caller = stage.caller()?;
            ensure!(caller.look("c46").await? == 2);
            let listed = caller.instances("c46").await?;
            let same = |one: &Instance| listed.iter().any(|other| other.id == one.id);
            ensure!(
                listed.len() == 2 && promised.iter().all(same),
                "{promised:?}: {listed:?}"
            );
            if !has_relay {
                stage.start_relay()?;
            }
        }
        for machine in MACHINES {
            stage.until_phase(machine, "Running").await?;
            let wakes = stage.recorder.wakes(machine);
            ensure!(wakes == 1, "{machine}: {wakes} wakes");
        }
        stage.recorder.ask("c46a", Wish::Off);
        stage.caller()?.delete("c46", "c46a").await?;
        stage.kill_coordinator();
        stage.start_coordinator().await?;
        ensure!(stage.caller()?.look("c46").await? == 1);
        stage.until_no_node("c46a").await?;
        stage.until_phase("c46a", "Sleeping").await?;
        hollow["c46a"].until(Power::Off, LIMIT).await?;
        ensure!(stage.caller()?.look("c46").await? == 1);
        let stops = (stage.recorder.stops("c46a"), stage.recorder.stops("c46b"));
        ensure!(stops == (1, 0), "{stops:?}");
        drop(hollow);
        Ok(())
    })
}
