//! What is listed: groups and their sizes, the autoscaler's cheap calls, machines that sleep.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use kube::api::{Patch, PatchParams};
use proto_autoscaler::{CleanupRequest, Instance, instance_status::InstanceState};
use serde_json::json;
use tests::{
    harness::wait,
    hollow::{Faults, Power},
    recorder::{Effect, Record, Wish},
    stage::mac,
};

use super::floor::{Behind, LIMIT, group, half_hollow, on_paper, on_shelf, plan, shared, state_of};

#[test]
fn c03_refresh_shows_edits_and_moves_no_machine() -> Result<()> {
    shared(async |stage| {
        let machines = (&["c03a"][..], &["c03a", "c03b", "c03c"][..]);
        let group = half_hollow(stage, "c03", machines).await?;
        stage.recorder.ask("c03a", Wish::On);
        group.increase(1).await?;
        group.until_running(&["c03a"]).await?;
        let before = stage.recorder.records().len();
        for _ in 0..100 {
            group.caller.refresh().await?;
        }
        group.edit(json!({"maxSize": 2})).await?;
        wait::until(LIMIT, "the edit is shown", async || {
            group.caller.refresh().await?;
            let row = group.row().await?;
            ensure!(row.max_size == 2, "{row:?}");
            Ok(())
        })
        .await?;
        let records = stage.recorder.records();
        let of_group = |record: &&Record| match &record.effect {
            Effect::MagicPacketTrain { mac: of, .. } => {
                group.machines.iter().any(|name| mac(name) == *of)
            }
            // They have no BMC.
            Effect::StrayDatagram { .. } | Effect::BmcReset { .. } => false,
            Effect::ShutdownAsked { machine, .. }
            | Effect::PowerOn { machine, .. }
            | Effect::BootDone { machine, .. }
            | Effect::PowerOff { machine, .. } => group.machines.contains(&machine.as_str()),
        };
        let moved: Vec<_> = records[before..].iter().filter(of_group).collect();
        ensure!(moved.is_empty() && group.target().await? == 1, "{moved:?}");
        ensure!(group.running().await? == ["c03a"]);
        // What is looked for is what wishes lead to.
        group.increase(1).await?;
        group.until_packets(&["c03b"]).await?;
        stage.recorder.ask("c03a", Wish::Off);
        group.delete("c03a").await?;
        group.hollow["c03a"].until(Power::Off, LIMIT).await
    })
}

#[test]
fn c04_cleanup_changes_nothing_and_the_next_call_works() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c04", &["c04a", "c04b"]).await?;
        group.increase(1).await?;
        let before = group.instances().await?;
        let mut client = group.caller.client.clone();
        client.cleanup(CleanupRequest {}).await?;
        client.cleanup(CleanupRequest {}).await?;
        ensure!(group.instances().await? == before, "{before:?}");
        ensure!(group.target().await? == 1);
        Ok(())
    })
}

#[test]
fn c05_ids_are_unique_and_sizes_are_those_of_the_group_capped_by_usable_machines() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c05", &["c05a", "c05b", "c05c"]);
        plan.spec["minSize"] = 0.into();
        let group = group(stage, plan, Behind::Nothing).await?;
        let max_is = async |size: i32| {
            wait::until(LIMIT, "the maximum", async || {
                let row = group.row().await?;
                ensure!((row.min_size, row.max_size) == (0, size), "{row:?}");
                Ok(())
            })
            .await
        };
        max_is(3).await?;
        let unmanaged = Patch::Merge(json!({"spec": {"power": "Unmanaged"}}));
        let machines = stage.machine_objects();
        machines
            .patch("c05c", &PatchParams::default(), &unmanaged)
            .await?;
        max_is(2).await?;
        group.edit(json!({"maxSize": 1})).await?;
        max_is(1).await?;
        group.edit(json!({"maxSize": 9})).await?;
        max_is(2).await?;
        let listed = group.caller.groups().await?;
        let ids: BTreeSet<&str> = listed.iter().map(|row| row.id.as_str()).collect();
        ensure!(
            ids.len() == listed.len() && ids.contains("lab/c05"),
            "{ids:?}"
        );
        Ok(())
    })
}

#[test]
fn c14_idle_group_has_target_zero_an_empty_list_and_no_nodes() -> Result<()> {
    shared(async |stage| {
        let group = on_shelf(stage, "c14", &["c14a", "c14b"]).await?;
        let mut nodes_of_idle = Vec::new();
        let mut look = async || {
            ensure!(group.target().await? == 0);
            let left = group.instances().await?;
            ensure!(left.is_empty(), "{left:?}");
            for machine in group.machines {
                nodes_of_idle.extend(stage.nodes().get_opt(machine).await?);
            }
            anyhow::Ok(())
        };
        look().await?;
        stage.recorder.ask("c14a", Wish::On);
        group.increase(1).await?;
        group.until_running(&["c14a"]).await?;
        stage.recorder.ask("c14a", Wish::Off);
        group.delete("c14a").await?;
        wait::until(LIMIT, "it is idle again", &mut look).await?;
        ensure!(group.hollow["c14a"].power() == Power::Off);
        ensure!(nodes_of_idle.is_empty(), "{nodes_of_idle:?}");
        Ok(())
    })
}

/// Whether the autoscaler can take what is told of an instance.
fn is_sound(instance: &Instance) -> bool {
    let may_fail = match state_of(instance) {
        InstanceState::Unspecified => return false,
        InstanceState::InstanceCreating => true,
        InstanceState::InstanceRunning | InstanceState::InstanceDeleting => false,
    };
    may_fail || !has_failed(instance)
}

fn has_failed(instance: &Instance) -> bool {
    let status = instance.status.as_ref();
    status.is_some_and(|status| status.error_info.is_some())
}

#[test]
fn c35_state_is_always_told_and_only_what_is_created_has_errors() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c35", &["c35a", "c35b", "c35c"]);
        plan.spec["requireProof"] = false.into();
        // Two do not come in time. Then somebody presses the button of one, which counts all the same; the other is given back.
        let late = ["c35b", "c35c"];
        for machine in late {
            let impatient = json!({"timeouts": {"boot": "3s"}});
            plan.otherwise.insert(machine, impatient);
        }
        let group = group(stage, plan, Behind::Hollow).await?;
        for machine in late {
            group.hollow[machine].set_faults(Faults {
                ignores_wake: true,
                ..Faults::default()
            });
        }
        let mut unsound = Vec::new();
        let mut until = async |what: &str, fits: &dyn Fn(&[Instance]) -> bool| {
            wait::until(LIMIT, what, async || {
                let listed = group.instances().await?;
                unsound.extend(listed.iter().filter(|one| !is_sound(one)).cloned());
                ensure!(fits(&listed), "{listed:?}");
                Ok(())
            })
            .await
        };
        let told = |listed: &[Instance], machine: &str| {
            let id = group.caller.provider_id(machine);
            let found = listed.iter().find(|one| one.id == id);
            found.map(state_of)
        };

        stage.recorder.ask("c35a", Wish::On);
        group.increase(3).await?;
        until("all are created", &|listed| listed.len() == 3).await?;
        until("one runs and two have failed", &|listed| {
            let runs = told(listed, "c35a") == Some(InstanceState::InstanceRunning);
            runs && listed.iter().filter(|one| has_failed(one)).count() == 2
        })
        .await?;
        group.delete("c35c").await?;
        until("what had failed and was given back is gone", &|listed| {
            told(listed, "c35c").is_none()
        })
        .await?;
        group.hollow["c35b"].set_faults(Faults::default());
        group.hollow["c35b"].press_button();
        until("the one that had failed runs", &|listed| {
            told(listed, "c35b") == Some(InstanceState::InstanceRunning)
        })
        .await?;
        for machine in ["c35a", "c35b"] {
            stage.recorder.ask(machine, Wish::Off);
            group.delete(machine).await?;
            until("it is deleted", &|listed| {
                told(listed, machine) == Some(InstanceState::InstanceDeleting)
            })
            .await?;
        }
        until("both are off", &<[Instance]>::is_empty).await?;
        ensure!(unsound.is_empty(), "{unsound:?}");
        Ok(())
    })
}
