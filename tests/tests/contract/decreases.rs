//! Fewer machines: only such as have not joined, and in any order with deletions.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::recorder::Wish;
use tonic::Code;

use super::floor::{Behind, group, half_hollow, on_paper, plan, refused, shared};

#[test]
fn c29_decrease_cancels_the_newest_machines_that_have_not_joined_and_no_others() -> Result<()> {
    shared(async |stage| {
        let machines = (&["c29a"][..], &["c29a", "c29b", "c29c"][..]);
        let group = half_hollow(stage, "c29", machines).await?;
        stage.recorder.ask("c29a", Wish::On);
        group.increase(1).await?;
        group.until_running(&["c29a"]).await?;
        group.caller.refresh().await?;
        group.increase(2).await?;
        ensure!(group.creating().await? == ["c29b", "c29c"]);
        // One whose packet has not left yet would be given back before a newer one.
        group.until_packets(&["c29b", "c29c"]).await?;
        group.caller.decrease(group.name, -1).await?;
        ensure!(group.target().await? == 2);
        ensure!(group.creating().await? == ["c29b"]);
        group.agrees().await?;
        group.caller.decrease(group.name, i32::MIN).await?;
        ensure!(group.target().await? == 1 && group.creating().await?.is_empty());
        ensure!(group.running().await? == ["c29a"]);
        group.agrees().await
    })
}

#[test]
fn c29_decrease_cancels_a_machine_that_nobody_could_wake_before_a_newer_one_that_boots()
-> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c29power", &["c29x", "c29y", "c29z"]);
        let unreachable = json!({"wakeOnLAN": {"segment": "garage"}});
        plan.otherwise.insert("c29y", unreachable);
        let group = group(stage, plan, Behind::Nothing).await?;
        group.increase(3).await?;
        group.until_packets(&["c29x", "c29z"]).await?;
        for left in [&["c29x", "c29z"][..], &["c29x"], &[]] {
            group.caller.decrease(group.name, -1).await?;
            ensure!(group.creating().await? == left, "{left:?} were due");
            ensure!(group.target().await? == i32::try_from(left.len())?);
            group.agrees().await?;
        }
        Ok(())
    })
}

#[test]
fn c30_decrease_by_the_whole_increase_leaves_the_two_that_have_joined() -> Result<()> {
    shared(async |stage| {
        let joined = &["c30a", "c30b"];
        let machines = (&joined[..], &["c30a", "c30b", "c30c"][..]);
        let group = half_hollow(stage, "c30", machines).await?;
        stage.recorder.ask_any(joined, 2, Wish::On);
        group.increase(3).await?;
        group.until_running(joined).await?;
        group.caller.decrease(group.name, -3).await?;
        ensure!(group.target().await? == 2);
        ensure!(group.running().await? == joined);
        // Nothing is left to cancel.
        group.caller.decrease(group.name, -3).await?;
        ensure!(group.target().await? == 2 && group.running().await? == joined);
        for machine in joined {
            ensure!(stage.recorder.stops(machine) == 0, "{machine} was stopped");
        }
        group.agrees().await
    })
}

#[test]
fn c31_decrease_that_does_not_decrease_is_refused_and_changes_nothing() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c31", &["c31a"]).await?;
        group.increase(1).await?;
        for delta in [0, 1, i32::MAX] {
            let answer = group.caller.decrease(group.name, delta).await;
            refused(answer, Code::InvalidArgument)?;
        }
        refused(group.caller.decrease("nowhere", -1).await, Code::NotFound)?;
        ensure!(group.target().await? == 1 && group.creating().await? == ["c31a"]);
        Ok(())
    })
}

#[test]
fn c32_decrease_and_deletion_of_one_machine_in_either_order_lower_the_target_once() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c32", &["c32a", "c32b"]).await?;
        group.increase(2).await?;
        group.until_packets(&["c32a", "c32b"]).await?;
        group.caller.decrease(group.name, -1).await?;
        ensure!(group.creating().await? == ["c32a"]);
        let of = |machine| vec![group.caller.fake_node(machine, "unregistered")];
        group.caller.delete_nodes(group.name, of("c32b")).await?;
        ensure!(group.target().await? == 1 && group.creating().await? == ["c32a"]);
        group.agrees().await?;
        group.caller.delete_nodes(group.name, of("c32a")).await?;
        ensure!(group.target().await? == 0);
        group.caller.decrease(group.name, -1).await?;
        ensure!(group.target().await? == 0 && group.creating().await?.is_empty());
        group.agrees().await
    })
}
