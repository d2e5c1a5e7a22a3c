//! Machines that people switch, and machines that fail: what is seen of them is what counts.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use coordinator_crds::ConditionStatus;
use proto_autoscaler::instance_status::InstanceState;
use tests::{
    cluster_stage::Plan,
    harness::wait,
    hollow::Power,
    recorder::{Effect, Record, Wish},
    stage::mac,
};
use tonic::Code;

use super::{
    floor::{LIMIT, alone, asleep, begun, behind_bmcs, packets, plan, state_of},
    told::{times_told, until_condition_of_group, until_told, until_warned},
};

#[test]
fn c06_maximum_does_not_fall_below_the_target_while_a_running_machine_is_not_heard() -> Result<()> {
    let group = plan("c06", &["c06a", "c06b"]);
    let lab = Plan {
        others: &[],
        ..Plan::quick(vec![group.clone()]).soon_silent()
    };
    alone(lab, async |stage| {
        let group = begun(stage, &group)?;
        let stage = group.stage;
        stage.recorder.ask_any(group.machines, 2, Wish::On);
        group.all_running().await?;
        let mut sizes = BTreeSet::new();
        let mut until_phase = async |phase: &str| {
            wait::until(LIMIT, phase, async || {
                let state = stage.state().await?;
                // In this order: what is told after the phase was seen counts as told in it.
                sizes.insert((group.target().await?, group.row().await?.max_size));
                let seen = &state["machines"]["c06a"]["phase"];
                ensure!(seen == phase, "{seen}");
                Ok(())
            })
            .await
        };
        group.hollow["c06a"].crash();
        until_phase("Unknown").await?;
        group.hollow["c06a"].press_button();
        until_phase("Running").await?;
        ensure!(sizes == BTreeSet::from([(2, 2)]), "{sizes:?}");
        Ok(())
    })
}

/// Where among the records one of this kind stands first.
fn first(records: &[Record], is_it: impl Fn(&Effect) -> bool) -> Option<usize> {
    records.iter().position(|record| is_it(&record.effect))
}

#[test]
fn c06_machines_that_fall_silent_together_keep_their_places_and_are_woken_one_by_one_after_a_hold()
-> Result<()> {
    const CUT: [&str; 2] = ["c06d", "c06e"];
    let group = plan("c06cut", &["c06c", "c06d", "c06e"]);
    let mut lab = Plan {
        others: &[],
        ..Plan::quick(vec![group.clone()]).soon_silent()
    };
    // Each much longer than what happens in it takes: looking at the group, and the boot of a machine.
    let timing = ["power_cut_hold=60s", "power_cut_stagger=20s"];
    lab.timing.extend(timing.map(str::to_owned));
    alone(lab, async |stage| {
        let group = begun(stage, &group)?;
        let (stage, recorder) = (group.stage, &group.stage.recorder);
        recorder.ask_any(group.machines, 3, Wish::On);
        group.all_running().await?;
        let before = recorder.records().len();
        let sent = || CUT.map(|machine| packets(&recorder.records(), machine));
        let sent_before = sent();
        for machine in CUT {
            group.hollow[machine].crash();
        }
        let kind = "MassSilence";
        let told = (kind, ConditionStatus::True, kind);
        until_condition_of_group(stage, group.name, told).await?;
        let refusal = group.increase(1).await.err().context("it is refused")?;
        ensure!(
            refusal.code() == Code::FailedPrecondition && refusal.message().contains("frozen"),
            "{refusal:?}"
        );
        let warning = until_warned(stage, group.name, kind).await?;
        ensure!(warning.contains("2 machines fell silent"), "{warning}");
        let id = group.caller.group_id(group.name);
        let mut held = Vec::new();
        wait::until(LIMIT, "the end of the hold", async || {
            // In this order: what was seen before a frozen group was happened in the hold.
            let seen = (sent(), group.target().await?, group.row().await?.max_size);
            let state = stage.state().await?;
            let frozen = state["groups"][&id]["frozen"] == true;
            if frozen {
                held.push(seen);
            }
            ensure!(!frozen, "{seen:?}");
            Ok(())
        })
        .await?;
        ensure!(
            !held.is_empty() && held.iter().all(|seen| *seen == (sent_before, 3, 3)),
            "{held:?}"
        );
        let times = times_told(stage, group.name, kind).await?;
        ensure!(times == 1, "told {times} times");

        recorder.ask_any(&CUT, 2, Wish::On);
        group.until_running(&CUT).await?;
        let records = recorder.records().split_off(before);
        let packet = |machine: &str| {
            let is_its = |effect: &Effect| matches!(effect, Effect::MagicPacketTrain { mac: of, .. } if *of == mac(machine));
            first(&records, is_its)
        };
        let boot = |name: &str| {
            let is_its = |effect: &Effect| matches!(effect, Effect::BootDone { machine, .. } if machine == name);
            first(&records, is_its)
        };
        let mut turns = CUT;
        turns.sort_by_key(|machine| packet(machine));
        let (up, next) = (boot(turns[0]), packet(turns[1]));
        ensure!(up.is_some() && up < next, "{records:?}");
        for (machine, wakes) in [("c06c", 1), ("c06d", 2), ("c06e", 2)] {
            let moved = (recorder.wakes(machine), recorder.stops(machine));
            ensure!(moved == (wakes, 0), "{machine}: {moved:?}");
        }
        group.agrees().await
    })
}

#[test]
fn c44_machine_switched_on_by_hand_counts_until_it_has_failed_or_is_switched_off_by_hand()
-> Result<()> {
    let mut group = plan("c44", &["c44a", "c44b"]);
    group.spec["requireProof"] = false.into();
    group.spec["maxSize"] = 1.into();
    alone(behind_bmcs(group.clone()).soon_silent(), async |stage| {
        let group = asleep(stage, &group).await?;
        group.hollow["c44a"].press_button();
        group.until_running(&["c44a"]).await?;
        ensure!(group.target().await? == 1);
        group.agrees().await?;
        let stage = group.stage;
        until_told(stage, "c44a", ("Normal", "SeenRunning")).await?;

        // There is no room for another one: it is left alone.
        group.hollow["c44b"].press_button();
        stage.until_phase("c44b", "Running").await?;
        until_told(stage, "c44b", ("Normal", "SeenRunning")).await?;
        let foreign = group.caller.group_of("c44b").await?;
        ensure!(
            foreign.is_empty() && group.target().await? == 1,
            "{foreign}"
        );

        group.hollow["c44a"].crash();
        wait::until(LIMIT, "the other one takes its place", async || {
            let instances = group.instances().await?;
            let listed: Vec<_> = instances
                .iter()
                .filter(|one| state_of(one) != InstanceState::InstanceDeleting)
                .filter_map(|one| group.caller.machine_of(&one.id))
                .collect();
            ensure!(listed == ["c44b"], "{instances:?}");
            Ok(())
        })
        .await?;
        let told = until_warned(stage, "c44a", "LostPower").await?;
        ensure!(told.contains("Off without our order"), "{told}");
        stage.until_no_node("c44a").await?;
        ensure!(group.target().await? == 1);
        group.agrees().await?;

        group.until_running(&["c44b"]).await?;
        group.hollow["c44b"].press_button();
        wait::until(LIMIT, "nothing counts any more", async || {
            let target = group.target().await?;
            ensure!(target == 0, "{target}");
            Ok(())
        })
        .await?;
        ensure!(group.hollow["c44b"].power() == Power::Off);
        let told = until_warned(stage, "c44b", "LostPower").await?;
        ensure!(told.contains("Off without our order"), "{told}");
        stage.until_no_node("c44b").await?;
        group.agrees().await?;
        let left = group.instances().await?;
        ensure!(left.is_empty(), "{left:?}");
        let recorder = &stage.recorder;
        for machine in group.machines {
            let moved = (recorder.wakes(machine), recorder.stops(machine));
            ensure!(moved == (0, 0), "{machine}: {moved:?}");
            let times = times_told(stage, machine, "LostPower").await?;
            ensure!(times == 1, "{machine}: told {times} times");
        }
        ensure!(group.hollow["c44a"].power() == Power::Off);
        Ok(())
    })
}
