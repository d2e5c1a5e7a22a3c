//! Machines that do not come: told while they are still being created, left out afterwards, another one in their place.

use anyhow::{Context, Result, ensure};
use coordinator_crds::ConditionStatus;
use proto_autoscaler::{InstanceErrorInfo, instance_status::InstanceState};
use serde_json::json;
use tests::{cluster_stage::Plan, harness::wait};
use tonic::Code;

use super::{
    floor::{
        Behind, Group, LIMIT, alone, begun, behind_bmcs, group as add, packets, plan, refused,
        shared, state_of,
    },
    told::{until_condition_of_machine, until_warned},
};

/// The classes that the autoscaler tells apart.
const OUT_OF_RESOURCES: i32 = 1;
const OTHER: i32 = 99;

/// Waits until a machine that is being created is listed with an error.
pub(crate) async fn until_failed(group: &Group<'_>, machine: &str) -> Result<InstanceErrorInfo> {
    let id = group.caller.provider_id(machine);
    wait::until(LIMIT, "the failure is told", async || {
        let instances = group.instances().await?;
        let listed = instances.into_iter().find(|one| one.id == id);
        let listed = listed.context("it is listed")?;
        let state = state_of(&listed);
        ensure!(state == InstanceState::InstanceCreating, "{listed:?}");
        let status = listed.status.context("a status")?;
        status.error_info.context("no error yet")
    })
    .await
}

#[test]
fn c33_machine_without_a_sign_of_life_is_told_as_timed_out_while_it_is_created() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c33", &["c33a"]);
        // Long enough for a packet to leave on a busy machine.
        let impatient = json!({"timeouts": {"boot": "15s"}});
        plan.otherwise.insert("c33a", impatient);
        let group = add(stage, plan, Behind::Nothing).await?;
        group.increase(1).await?;
        let error = until_failed(&group, "c33a").await?;
        ensure!(error.error_code == "BOOT_TIMEOUT", "{error:?}");
        ensure!(error.instance_error_class == OTHER, "{error:?}");
        ensure!(
            error.error_message.contains("No sign of life in 15s"),
            "{error:?}"
        );
        group.until_packets(&["c33a"]).await?;
        // It counts until it is given back.
        ensure!(group.target().await? == 1);
        group.agrees().await
    })
}

#[test]
fn c34_machine_that_nobody_can_wake_is_left_out_and_another_one_is_chosen() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c34", &["c34a", "c34b"]);
        let unreachable = json!({"timeouts": {"boot": "3s"}, "wakeOnLAN": {"segment": "garage"}});
        plan.otherwise.insert("c34a", unreachable);
        let group = add(stage, plan, Behind::Nothing).await?;
        group.increase(1).await?;
        let error = until_failed(&group, "c34a").await?;
        ensure!(error.error_code == "NO_RELAY", "{error:?}");
        ensure!(error.instance_error_class == OUT_OF_RESOURCES, "{error:?}");
        let fake = group.caller.fake_node("c34a", "create-error");
        group.caller.delete_nodes(group.name, vec![fake]).await?;
        ensure!(group.target().await? == 0 && group.instances().await?.is_empty());
        let left_out = ("Quarantined", ConditionStatus::True, "NoRelay");
        until_condition_of_machine(stage, "c34a", left_out).await?;
        let row = group.row().await?;
        ensure!(row.max_size == 1, "{row:?}");
        group.caller.refresh().await?;
        refused(group.increase(2).await, Code::ResourceExhausted)?;
        group.increase(1).await?;
        ensure!(group.creating().await? == ["c34b"]);
        group.agrees().await
    })
}

#[test]
fn c34_relay_that_falls_silent_after_an_increase_is_told_as_a_lack_of_resources() -> Result<()> {
    let silenced = plan("c34late", &["c34r", "c34s"]);
    let mut lab = Plan {
        others: &[],
        ..Plan::quick(Vec::new()).soon_silent()
    };
    // Long enough between two wakes to stop the relay there.
    let timing = ["wake_stagger=30s", "relay_wait=2s"];
    lab.timing.extend(timing.map(str::to_owned));
    alone(lab, async |stage| {
        {
            let group = add(stage, silenced.clone(), Behind::Nothing).await?;
            group.increase(2).await?;
            group.until_packets(&["c34r"]).await?;
        }
        stage.stop_relay();
        let group = begun(stage, &silenced)?;
        let error = until_failed(&group, "c34s").await?;
        ensure!(error.error_code == "NO_RELAY", "{error:?}");
        ensure!(error.instance_error_class == OUT_OF_RESOURCES, "{error:?}");
        ensure!(error.error_message.contains("relay"), "{error:?}");
        until_warned(group.stage, "c34s", "NoRelay").await?;
        ensure!(packets(&group.stage.recorder.records(), "c34s") == 0);
        // A wake that has left may still have its effect: that machine has its whole boot timeout.
        ensure!(group.target().await? == 2 && group.creating().await? == ["c34r", "c34s"]);
        let failed = group.instances().await?.into_iter().filter(|one| {
            let status = one.status.as_ref();
            status.is_some_and(|status| status.error_info.is_some())
        });
        ensure!(failed.count() == 1);
        let fake = group.caller.fake_node("c34s", "create-error");
        group.caller.delete_nodes(group.name, vec![fake]).await?;
        ensure!(group.creating().await? == ["c34r"]);
        group.until_max_size(1).await?;
        group.agrees().await
    })
}

#[test]
fn c34_bmc_that_refuses_is_told_as_a_lack_of_resources() -> Result<()> {
    let mut group = plan("c34bmc", &["c34x"]);
    // Its boot timeout is longer than this test waits.
    let unknown = json!({"redfish": {"system": "no-such-system"}});
    group.otherwise.insert("c34x", unknown);
    let mut lab = behind_bmcs(group.clone());
    // Its BMC may take its time to say no.
    lab.timing.push("accept=60s".to_owned());
    alone(lab, async |stage| {
        let group = begun(stage, &group)?;
        group.increase(1).await?;
        let error = until_failed(&group, "c34x").await?;
        ensure!(error.error_code == "WAKE_REFUSED", "{error:?}");
        ensure!(error.instance_error_class == OUT_OF_RESOURCES, "{error:?}");
        let fake = group.caller.fake_node("c34x", "create-error");
        group.caller.delete_nodes(group.name, vec![fake]).await?;
        ensure!(group.target().await? == 0);
        ensure!(group.stage.recorder.wakes("c34x") == 0);
        Ok(())
    })
}
