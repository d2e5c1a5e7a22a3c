//! Machines that people switch, and machines that fail: what is seen of them is what counts.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use proto_autoscaler::instance_status::InstanceState;
use tests::{cluster_stage::Plan, harness::wait, hollow::Power, recorder::Wish};

use super::floor::{LIMIT, alone, asleep, begun, behind_bmcs, plan, state_of};

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

        // There is no room for another one: it is left alone.
        group.hollow["c44b"].press_button();
        group.stage.until_phase("c44b", "Running").await?;
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
        group.stage.until_no_node("c44a").await?;
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
        group.stage.until_no_node("c44b").await?;
        group.agrees().await?;
        let left = group.instances().await?;
        ensure!(left.is_empty(), "{left:?}");
        let recorder = &group.stage.recorder;
        for machine in group.machines {
            let moved = (recorder.wakes(machine), recorder.stops(machine));
            ensure!(moved == (0, 0), "{machine}: {moved:?}");
        }
        ensure!(group.hollow["c44a"].power() == Power::Off);
        Ok(())
    })
}
