//! Asking for machines: at once, all or nothing, and never twice.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use futures::future::join_all;
use proto_autoscaler::{NodeGroupIncreaseSizeRequest, instance_status::InstanceState};
use serde_json::json;
use tests::{
    cluster_stage::{Election, Plan},
    harness::wait,
    recorder::Wish,
};
use tonic::{Code, Request};

use super::{
    failures::until_failed,
    floor::{Behind, LIMIT, alone, group, on_paper, on_shelf, plan, refused, shared},
};

#[test]
fn c12_target_is_the_number_of_instances_that_are_not_deleting() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c12", &["c12a", "c12b", "c12c", "c12d"]);
        let hopeless = json!({"timeouts": {"boot": "3s"}, "wakeOnLAN": {"segment": "garage"}});
        plan.otherwise.insert("c12d", hopeless);
        let group = group(stage, plan, Behind::Nothing).await?;
        group.agrees().await?;
        group.increase(4).await?;
        group.agrees().await?;
        until_failed(&group, "c12d").await?;
        group.agrees().await?;
        ensure!(group.target().await? == 4);
        group.delete("c12b").await?;
        group.agrees().await?;
        group.caller.decrease(group.name, -1).await?;
        group.agrees().await?;
        ensure!(group.target().await? == 2);
        Ok(())
    })
}

#[test]
fn c15_increase_by_three_lists_three_new_ids_that_stay_until_nodes_register_with_them() -> Result<()>
{
    shared(async |stage| {
        let group = on_paper(stage, "c15", &["c15a", "c15b", "c15c", "c15d"]).await?;
        group.increase(1).await?;
        let first = group.creating().await?;
        group.caller.refresh().await?;
        group.increase(3).await?;
        ensure!(group.target().await? == 4);
        let all = group.creating().await?;
        ensure!(all.len() == 4 && all.contains(&first[0]), "{all:?}");
        let distinct: BTreeSet<&String> = all.iter().collect();
        ensure!(distinct.len() == 4, "{all:?}");
        for _ in 0..20 {
            group.caller.refresh().await?;
            ensure!(group.creating().await? == all);
        }
        Ok(())
    })
}

#[test]
fn c15_promised_id_is_the_one_that_the_node_gets() -> Result<()> {
    shared(async |stage| {
        let group = on_shelf(stage, "c15r", &["c15x"]).await?;
        stage.recorder.ask("c15x", Wish::On);
        group.increase(1).await?;
        let promised = group.instances().await?;
        group.until_running(&["c15x"]).await?;
        let node = stage.nodes().get("c15x").await?;
        let provider_id = node.spec.and_then(|spec| spec.provider_id);
        ensure!(
            provider_id.as_ref() == Some(&promised[0].id),
            "{promised:?}"
        );
        Ok(())
    })
}

#[test]
fn c17_wrong_deltas_are_refused_and_change_nothing() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c17", &["c17a", "c17b"]).await?;
        for delta in [0, -1, i32::MIN] {
            refused(group.increase(delta).await, Code::InvalidArgument)?;
        }
        for delta in [3, i32::MAX] {
            let above = group.increase(delta).await;
            let code = above.as_ref().err().map(tonic::Status::code);
            let fits = [Code::FailedPrecondition, Code::ResourceExhausted];
            ensure!(code.is_some_and(|code| fits.contains(&code)), "{above:?}");
        }
        let unknown = group.caller.increase("nowhere", 1).await;
        refused(unknown, Code::NotFound)?;
        ensure!(group.target().await? == 0 && group.instances().await?.is_empty());
        group.edit(serde_json::json!({"maxSize": 1})).await?;
        group.until_max_size(1).await?;
        group.increase(1).await?;
        group.caller.refresh().await?;
        refused(group.increase(1).await, Code::FailedPrecondition)?;
        ensure!(group.target().await? == 1);
        Ok(())
    })
}

#[test]
fn c18_two_increases_with_a_look_between_are_two_wishes() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c18", &["c18a", "c18b", "c18c"]).await?;
        group.increase(1).await?;
        ensure!(group.target().await? == 1);
        group.increase(1).await?;
        ensure!(group.target().await? == 2);
        group.caller.refresh().await?;
        group.increase(1).await?;
        ensure!(group.target().await? == 3);
        let creating = group.creating().await?;
        ensure!(creating == ["c18a", "c18b", "c18c"], "{creating:?}");
        Ok(())
    })
}

#[test]
fn c18_two_increases_by_different_deltas_at_once_both_apply() -> Result<()> {
    shared(async |stage| {
        let machines = &["c18g", "c18h", "c18i", "c18j"];
        let group = on_paper(stage, "c18different", machines).await?;
        let (one, two) = tokio::join!(group.increase(1), group.increase(2));
        one?;
        two?;
        ensure!(group.target().await? == 3);
        Ok(())
    })
}

#[test]
fn c18_five_identical_increases_at_once_are_one_wish_with_five_answers() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c18same", &["c18k", "c18l", "c18m"]).await?;
        let answers = join_all((0..5).map(|_| group.increase(1))).await;
        for answer in answers {
            answer?;
        }
        ensure!(group.target().await? == 1);
        Ok(())
    })
}

#[test]
fn c20_increase_whose_deadline_has_passed_changes_nothing() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c20", &["c20a", "c20b", "c20c"]).await?;
        let mut late = Request::new(NodeGroupIncreaseSizeRequest {
            delta: 1,
            id: group.caller.group_id(group.name),
        });
        // A nanosecond, set by hand: the client itself waits as long as it takes.
        late.metadata_mut().insert("grpc-timeout", "1n".parse()?);
        let mut client = group.caller.client.clone();
        let late = client.node_group_increase_size(late).await;
        let code = late.as_ref().err().map(tonic::Status::code);
        let fits = [Code::DeadlineExceeded, Code::Cancelled];
        ensure!(code.is_some_and(|code| fits.contains(&code)), "{late:?}");
        ensure!(group.target().await? == 0);
        // A wish after it is the only one.
        group.increase(2).await?;
        ensure!(group.target().await? == 2);
        group.agrees().await
    })
}

#[test]
fn c20_increase_whose_deadline_passes_after_its_commit_is_listed_and_not_repeated() -> Result<()> {
    let lab = Plan {
        others: &[],
        // Much longer than the answers are held back.
        election: Election("40s", "30s", "1s"),
        ..Plan::quick(Vec::new())
    };
    alone(lab, async |stage| {
        on_paper(stage, "c20kept", &["c20d", "c20e", "c20f"]).await?;
        let (replica, cable) = stage.start_replica_on_cable().await?;
        stage.coordinator.stop().await?;
        let serving = |state: &serde_json::Value| state["serving"] == true;
        replica.coordinator.until("it leads", serving).await?;
        let caller = replica.caller()?;
        caller.refresh().await?;
        cable.hold_answers();
        let mut late = Request::new(NodeGroupIncreaseSizeRequest {
            delta: 1,
            id: caller.group_id("c20kept"),
        });
        late.set_timeout(Duration::from_secs(2));
        let late = caller.client.clone().node_group_increase_size(late).await;
        let code = late.as_ref().err().map(tonic::Status::code);
        let fits = [Code::DeadlineExceeded, Code::Cancelled];
        ensure!(code.is_some_and(|code| fits.contains(&code)), "{late:?}");
        let stored = async || {
            let status = stage.groups().get("c20kept").await?.status;
            let wanted = status.and_then(|status| status.wanted);
            anyhow::Ok(wanted.map_or(0, |wanted| wanted.machines.len()))
        };
        ensure!(stored().await? == 1, "it was committed in time");
        // While nobody knows, target and list say the same all the same.
        let target = caller.target("c20kept").await?;
        let listed = caller.instances("c20kept").await?.len();
        ensure!(usize::try_from(target)? == listed, "{target}, {listed}");

        cable.let_answers_through();
        let creating = async || {
            let state = InstanceState::InstanceCreating;
            anyhow::Ok(caller.listed("c20kept", state).await?)
        };
        wait::until(LIMIT, "the machine is listed", async || {
            let creating = creating().await?;
            ensure!(creating == ["c20d"], "{creating:?}");
            Ok(())
        })
        .await?;
        ensure!(caller.look("c20kept").await? == 1);
        // The autoscaler asks again, having looked: for another one.
        caller.increase("c20kept", 1).await?;
        ensure!(caller.target("c20kept").await? == 2 && stored().await? == 2);
        ensure!(creating().await? == ["c20d", "c20e"]);
        Ok(())
    })
}
