//! Giving running machines back: fenced before the answer, stopped after it, gone once they are surely off.

use anyhow::{Result, ensure};
use futures::future::join_all;
use tests::{
    cluster_stage::{POWER_OFF, Plan, objects::has_taint},
    harness::wait,
    hollow::Power,
    recorder::Wish,
};

use super::floor::{Group, LIMIT, alone, on_shelf, plan, shared};

/// Waits until nothing of a machine is left but the machine.
async fn until_gone(group: &Group<'_>, machine: &str) -> Result<()> {
    wait::until(LIMIT, "the machine is gone", async || {
        let listed = group.deleting().await?;
        ensure!(!listed.iter().any(|name| name == machine), "{listed:?}");
        ensure!(group.stage.nodes().get_opt(machine).await?.is_none());
        Ok(())
    })
    .await
}

#[test]
fn c21_deleted_machine_is_fenced_and_out_of_the_target_before_the_answer() -> Result<()> {
    shared(async |stage| {
        let group = on_shelf(stage, "c21", &["c21a"]).await?;
        group.all_running().await?;
        stage.recorder.ask("c21a", Wish::Off);
        group.delete("c21a").await?;
        let node = stage.nodes().get("c21a").await?;
        let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable);
        ensure!(
            has_taint(&node, POWER_OFF) && cordoned == Some(true),
            "{node:?}"
        );
        ensure!(group.target().await? == 0);
        ensure!(group.deleting().await? == ["c21a"]);
        group.hollow["c21a"].until(Power::Off, LIMIT).await?;
        until_gone(&group, "c21a").await?;
        ensure!(stage.recorder.stops("c21a") == 1);
        Ok(())
    })
}

#[test]
fn c22_repeated_deletion_is_answered_without_effect_also_after_a_restart() -> Result<()> {
    const MACHINES: &[&str] = &["c22a", "c22b"];
    let lab = Plan {
        others: &[],
        guests: MACHINES,
        ..Plan::quick(Vec::new())
    };
    alone(lab, async |stage| {
        stage.recorder.ask_any(MACHINES, 2, Wish::On);
        let hollow = {
            let mut group = on_shelf(stage, "c22", MACHINES).await?;
            group.all_running().await?;
            stage.recorder.ask("c22a", Wish::Off);
            for _ in 0..3 {
                group.delete("c22a").await?;
                ensure!(group.target().await? == 1);
            }
            until_gone(&group, "c22a").await?;
            group.delete("c22a").await?;
            ensure!(group.target().await? == 1);
            std::mem::take(&mut group.hollow)
        };
        stage.kill_coordinator();
        stage.start_coordinator().await?;
        let caller = stage.caller()?;
        caller.delete("c22", "c22a").await?;
        ensure!(caller.look("c22").await? == 1);
        ensure!(hollow["c22b"].power() == Power::On);
        ensure!(stage.recorder.stops("c22a") == 1 && stage.recorder.stops("c22b") == 0);
        Ok(())
    })
}

#[test]
fn c23_ten_deletions_at_once_take_ten_off_the_target_each_once() -> Result<()> {
    shared(async |stage| {
        let machines = &[
            "c23a", "c23b", "c23c", "c23d", "c23e", "c23f", "c23g", "c23h", "c23i", "c23j",
        ];
        let group = on_shelf(stage, "c23", machines).await?;
        group.all_running().await?;
        for machine in machines {
            stage.recorder.ask(machine, Wish::Off);
        }
        let answers = join_all(machines.iter().map(|machine| group.delete(machine))).await;
        for answer in answers {
            answer?;
        }
        ensure!(group.target().await? == 0);
        for machine in machines {
            until_gone(&group, machine).await?;
            let stops = stage.recorder.stops(machine);
            ensure!(stops == 1, "{machine}: {stops} stops");
        }
        Ok(())
    })
}

#[test]
fn c27_machine_leaves_the_list_once_it_is_off_and_its_node_goes_after_that() -> Result<()> {
    let lab = Plan {
        others: &[],
        ..Plan::quick(vec![plan("c27", &["c27a"])])
    };
    alone(lab, async |stage| {
        let group = Group {
            caller: stage.caller()?,
            name: "c27",
            machines: &["c27a"],
            hollow: std::mem::take(&mut stage.machines),
            stage,
        };
        group.all_running().await?;
        group.stage.recorder.ask("c27a", Wish::Off);
        group.delete("c27a").await?;
        wait::until(LIMIT, "it is off and its Node is gone", async || {
            // In this order: what is seen later may only have gone further.
            let node = group.stage.nodes().get_opt("c27a").await?;
            let deleting = group.deleting().await?;
            let power = group.hollow["c27a"].power();
            let still_on = power != Power::Off;
            ensure!(node.is_some() || !still_on, "its Node went first");
            ensure!(!deleting.is_empty() || !still_on, "it left the list first");
            ensure!(node.is_none() && deleting.is_empty(), "not yet");
            Ok(())
        })
        .await
    })
}
