//! Giving running machines back: fenced before the answer, stopped after it, gone once they are surely off.

use anyhow::{Result, ensure};
use coordinator_crds::ConditionStatus;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use tests::{
    cluster_stage::{Election, POWER_OFF, Plan, objects::has_taint},
    harness::wait,
    hollow::{Faults, Power},
    recorder::{Effect, Record, Wish},
};

use super::{
    floor::{Group, LIMIT, alone, asleep, begun, behind_bmcs, on_shelf, plan, shared},
    held::HeldStatus,
    returns::{Marks, TO_BE_DELETED, mark},
    told::{until_condition_of_machine, until_warned},
};

/// How often a machine has been told to shut down.
fn shutdowns(records: &[Record], of: &str) -> usize {
    let told = |record: &&Record| {
        let effect = &record.effect;
        matches!(effect, Effect::ShutdownAsked { machine, .. } if machine == of)
    };
    records.iter().filter(told).count()
}

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
fn c21_machine_is_told_to_shut_down_only_once_the_smaller_wish_is_stored() -> Result<()> {
    shared(async |stage| {
        let group = on_shelf(stage, "c21held", &["c21b"]).await?;
        let other = on_shelf(stage, "c21other", &["c21c"]).await?;
        other.increase(1).await?;
        group.all_running().await?;
        other.until_running(&["c21c"]).await?;
        for machine in ["c21b", "c21c"] {
            stage.recorder.ask(machine, Wish::Off);
        }
        let held = HeldStatus::begin(stage, group.name).await?;
        let (caller, name) = (group.caller.clone(), group.name);
        let deletion = tokio::spawn(async move { caller.delete(name, "c21b").await });
        let fenced = |node: &Node| has_taint(node, POWER_OFF);
        stage.until_node("c21b", "a fence", fenced).await?;
        other.delete("c21c").await?;
        let told = |records: &[Record]| (shutdowns(records, "c21c") == 1).then_some(());
        let what = "one that was asked for later is told";
        stage.recorder.until(LIMIT, what, told).await?;
        // In this order: what was not stored after it was told was not stored when it was told.
        let told = shutdowns(&stage.recorder.records(), "c21b");
        let status = stage.groups().get(group.name).await?.status;
        let wanted = status.and_then(|status| status.wanted);
        let is_stored = wanted.is_some_and(|wanted| wanted.machines.is_empty());
        ensure!(told == 0 || is_stored, "it was told {told} times");

        held.release().await?;
        // On a busy machine the other one may have taken longer than a call may: then this one failed.
        let _repeated_in_any_case = deletion.await?;
        wait::until(LIMIT, "it is given back", async || {
            Ok(group.delete("c21b").await?)
        })
        .await?;
        group.hollow["c21b"].until(Power::Off, LIMIT).await?;
        let told = shutdowns(&stage.recorder.records(), "c21b");
        ensure!(told == 1, "it was told {told} times");
        group.agrees().await
    })
}

#[test]
fn c22_repeated_deletion_is_answered_without_effect_also_after_a_restart() -> Result<()> {
    const MACHINES: &[&str] = &["c22a", "c22b"];
    let lab = Plan {
        others: &[],
        guests: MACHINES,
        // A process that was killed holds the Lease until it runs out.
        election: Election("6s", "5s", "500ms"),
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
            group.hollow["c22a"].until(Power::Off, LIMIT).await?;
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
            group.hollow[*machine].until(Power::Off, LIMIT).await?;
            until_gone(&group, machine).await?;
            let stops = stage.recorder.stops(machine);
            ensure!(stops == 1, "{machine}: {stops} stops");
        }
        Ok(())
    })
}

#[test]
fn c27_machine_leaves_the_list_once_it_is_off_and_its_node_goes_after_that() -> Result<()> {
    let mut group = plan("c27", &["c27a"]);
    // Whoever waits so long for one that goes down within a second has not only guessed.
    let patient = json!({"timeouts": {"offHold": "10s"}});
    group.otherwise.insert("c27a", patient);
    let lab = Plan {
        others: &[],
        ..Plan::quick(vec![group.clone()])
    };
    alone(lab, async |stage| {
        let group = begun(stage, &group)?;
        group.all_running().await?;
        group.stage.recorder.ask("c27a", Wish::Off);
        group.delete("c27a").await?;
        let mut too_early = Vec::new();
        wait::until(LIMIT, "it is off and its Node is gone", async || {
            // In this order: what is seen later may only have gone further.
            let has_node = group.stage.nodes().get_opt("c27a").await?.is_some();
            let is_listed = group.deleting().await? == ["c27a"];
            let power = group.hollow["c27a"].power();
            if power != Power::Off && !(has_node && is_listed) {
                too_early.push((has_node, is_listed, power));
            }
            ensure!(!has_node && !is_listed, "{has_node}, {is_listed}");
            Ok(())
        })
        .await?;
        ensure!(too_early.is_empty(), "Node, list, power: {too_early:?}");
        Ok(())
    })
}

/// Its agent is told to shut it down, and nothing comes of it.
fn deaf() -> Faults {
    Faults {
        ignores_shutdown: true,
        ..Faults::default()
    }
}

#[test]
fn c28_stop_that_is_not_confirmed_in_time_is_told_and_pressed_home_where_that_is_allowed()
-> Result<()> {
    let mut group = plan("c28", &["c28a", "c28b"]);
    for (machine, force_off) in [("c28a", "AfterTimeout"), ("c28b", "Never")] {
        let spec = json!({"timeouts": {"stop": "3s"}, "forceOff": force_off});
        group.otherwise.insert(machine, spec);
    }
    alone(behind_bmcs(group.clone()), async |stage| {
        let group = asleep(stage, &group).await?;
        group.all_running().await?;
        for machine in group.machines {
            group.hollow[*machine].set_faults(deaf());
            group.delete(machine).await?;
        }
        ensure!(group.target().await? == 0);
        let mut ran_again = Vec::new();
        wait::until(LIMIT, "the one that may be cut is off", async || {
            ran_again.extend(group.running().await?);
            let deleting = group.deleting().await?;
            ensure!(deleting == ["c28b"], "{deleting:?}");
            Ok(())
        })
        .await?;
        ensure!(ran_again.is_empty(), "{ran_again:?}");
        group.hollow["c28a"].until(Power::Off, LIMIT).await?;
        until_gone(&group, "c28a").await?;
        let (stage, late) = (group.stage, "StopTimedOut");
        for machine in group.machines {
            until_warned(stage, machine, late).await?;
        }
        let unready = ("Ready", ConditionStatus::False, late);
        until_condition_of_machine(stage, "c28b", unready).await?;
        let cuts = ["c28a", "c28b"].map(|name| stage.recorder.resets(name, "observed Off"));
        ensure!(cuts == [1, 0], "{cuts:?}");
        ensure!(group.deleting().await? == ["c28b"]);
        ensure!(stage.nodes().get_opt("c28b").await?.is_some());
        group.agrees().await
    })
}

#[test]
fn c45_machine_that_goes_down_keeps_our_taint_when_a_restarted_autoscaler_takes_its_own_away()
-> Result<()> {
    shared(async |stage| {
        let group = on_shelf(stage, "c45", &["c45a"]).await?;
        group.all_running().await?;
        group.hollow["c45a"].set_faults(deaf());
        mark(stage, "c45a", Marks::Set(&[TO_BE_DELETED])).await?;
        group.delete("c45a").await?;
        let told = |records: &[Record]| (shutdowns(records, "c45a") == 1).then_some(());
        stage.recorder.until(LIMIT, "it is told", told).await?;
        mark(stage, "c45a", Marks::Cleared(&[TO_BE_DELETED])).await?;
        group.delete("c45a").await?;
        ensure!(group.target().await? == 0 && group.deleting().await? == ["c45a"]);
        let node = stage.nodes().get("c45a").await?;
        ensure!(
            has_taint(&node, POWER_OFF) && !has_taint(&node, TO_BE_DELETED),
            "{node:?}"
        );
        group.hollow["c45a"].set_faults(Faults::default());
        group.hollow["c45a"].press_button();
        let mut unfenced = false;
        wait::until(LIMIT, "it is off and its Node is gone", async || {
            let node = stage.nodes().get_opt("c45a").await?;
            unfenced |= node
                .as_ref()
                .is_some_and(|node| !has_taint(node, POWER_OFF));
            ensure!(node.is_none(), "{node:?}");
            Ok(())
        })
        .await?;
        ensure!(!unfenced, "pods could have come");
        until_gone(&group, "c45a").await?;
        let told = shutdowns(&stage.recorder.records(), "c45a");
        ensure!(told == 1, "it was told {told} times");
        Ok(())
    })
}
