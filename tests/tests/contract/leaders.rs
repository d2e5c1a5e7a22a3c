//! Several coordinators in one cluster: one of them answers, and whoever follows it goes on where it was.

use std::error::Error as _;

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use proto_autoscaler::{Instance, NodeGroup};
use serde_json::json;
use tests::{
    caller::Caller,
    cluster_stage::{Election, LAB, OWN, Plan, Replica},
    harness::{Coordinator, wait},
    recorder::Wish,
};
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{Code, Status};

use super::floor::{LIMIT, alone, on_paper, on_shelf};

fn lab(guests: &'static [&'static str]) -> Plan {
    let mut lab = Plan {
        others: &[],
        guests,
        // Long enough that a busy machine renews in time, short enough to be waited for.
        election: Election("9s", "7s", "1s"),
        ..Plan::quick(Vec::new())
    };
    // While a Lease runs out nobody listens to agents; their word must still count after that.
    lab.timing.push("grace=20s".to_owned());
    lab
}

/// What the autoscaler is told of every group: its row, its target, its instances.
async fn told(caller: &Caller) -> Result<Vec<(NodeGroup, i32, Vec<Instance>)>, Status> {
    let mut told = Vec::new();
    for row in caller.groups().await? {
        let name = row.id.rsplit('/').next().unwrap_or_default().to_owned();
        let target = caller.target(&name).await?;
        let instances = caller.instances(&name).await?;
        // The sentence is for people.
        let debug = String::new();
        told.push((NodeGroup { debug, ..row }, target, instances));
    }
    Ok(told)
}

/// It was this coordinator that said so: a status with a source was made on our side, of a connection that broke.
fn unavailable<T: std::fmt::Debug>(answer: Result<T, Status>) -> Result<()> {
    match answer {
        Err(status) if status.code() == Code::Unavailable && status.source().is_none() => Ok(()),
        other => bail!("Unavailable was due: {other:?}"),
    }
}

/// It is not ready, and answers nobody.
async fn follows(coordinator: &Coordinator) -> Result<()> {
    ensure!(!coordinator.is_ready().await?, "a follower is not ready");
    let caller = Caller::new(coordinator.channel()?, LAB);
    unavailable(caller.refresh().await)?;
    unavailable(caller.groups().await)?;
    unavailable(caller.target("c19").await)?;
    unavailable(caller.instances("c19").await)?;
    unavailable(caller.group_of("c19a").await)?;
    unavailable(caller.increase("c19", 1).await)?;
    unavailable(caller.delete("c19", "c19a").await)?;
    unavailable(caller.decrease("c19", -1).await)
}

/// Waits until one of them leads; there is never more than one.
async fn leader_of(replicas: &[Replica]) -> Result<usize> {
    let ready = wait::until(LIMIT, "a leader", async || {
        let mut ready = Vec::new();
        for (number, replica) in replicas.iter().enumerate() {
            if replica.coordinator.is_ready().await? {
                ready.push(number);
            }
        }
        ensure!(!ready.is_empty(), "nobody leads");
        Ok(ready)
    });
    match ready.await?[..] {
        [one] => Ok(one),
        ref several => bail!("{several:?} are ready"),
    }
}

#[test]
fn c19_only_the_leader_is_ready_and_who_follows_it_tells_the_same_target_list_and_ids() -> Result<()>
{
    alone(lab(&["c19a"]), async |stage| {
        let hollow = {
            let mut group = on_shelf(stage, "c19", &["c19a"]).await?;
            stage.recorder.ask("c19a", Wish::On);
            group.all_running().await?;
            std::mem::take(&mut group.hollow)
        };
        on_paper(stage, "c19paper", &["c19b", "c19c", "c19d"])
            .await?
            .increase(1)
            .await?;
        let mut replicas = Vec::new();
        for _ in 0..2 {
            replicas.push(stage.start_replica(&[]).await?);
        }
        ensure!(stage.coordinator.is_ready().await?);
        for replica in &replicas {
            follows(&replica.coordinator).await?;
        }
        let before = told(&stage.caller()?).await?;
        stage.kill_coordinator();

        let second = replicas.remove(leader_of(&replicas).await?);
        let caller = second.caller()?;
        let after = told(&caller).await?;
        ensure!(after == before, "{before:?}: {after:?}");
        follows(&replicas[0].coordinator).await?;
        caller.refresh().await?;
        caller.increase("c19paper", 2).await?;
        caller.decrease("c19paper", -1).await?;
        let before = told(&caller).await?;
        ensure!(before.iter().any(|(_, target, _)| *target == 2));
        drop(second);

        leader_of(&replicas).await?;
        let after = told(&replicas[0].caller()?).await?;
        ensure!(after == before, "{before:?}: {after:?}");
        let seen = (stage.recorder.wakes("c19a"), stage.recorder.stops("c19a"));
        ensure!(seen == (1, 0), "{seen:?}");
        drop(hollow);
        Ok(())
    })
}

#[test]
fn c19_leader_that_stood_still_for_longer_than_its_lease_answers_nothing_when_it_goes_on()
-> Result<()> {
    alone(lab(&[]), async |stage| {
        let machines = &["c19e", "c19f", "c19g"];
        on_paper(stage, "c19still", machines)
            .await?
            .increase(1)
            .await?;
        let replicas = [stage.start_replica(&[]).await?];
        let old = stage.caller()?;
        let before = told(&old).await?;
        stage.coordinator.pause()?;
        // They lie in its connection while it stands still, and are the first that it reads.
        let (reader, writer) = (old.clone(), old.clone());
        let read = tokio::spawn(async move { reader.groups().await });
        let written = tokio::spawn(async move { writer.increase("c19still", 1).await });
        leader_of(&replicas).await?;
        stage.coordinator.resume()?;
        unavailable(read.await?)?;
        unavailable(written.await?)?;
        stage.coordinator.until_ended().await?;
        let after = told(&replicas[0].caller()?).await?;
        ensure!(after == before, "{before:?}: {after:?}");
        Ok(())
    })
}

/// Asks again and again until it is told to end.
struct Asking {
    end: oneshot::Sender<()>,
    answers: JoinHandle<Vec<Result<(), Status>>>,
}

impl Asking {
    fn begin(caller: Caller) -> Self {
        let (end, mut ended) = oneshot::channel::<()>();
        let answers = tokio::spawn(async move {
            let mut answers = Vec::new();
            while ended.try_recv().is_err() {
                answers.push(caller.groups().await.map(drop));
                tokio::task::yield_now().await;
            }
            answers
        });
        Self { end, answers }
    }

    /// There were answers, then refusals, and never an answer again. What it refused itself was Unavailable; after its end
    /// there is only a connection that broke.
    async fn answers_had_an_end(self) -> Result<()> {
        let _asker_has_ended = self.end.send(());
        let answers = self.answers.await?;
        let answered = answers.iter().take_while(|answer| answer.is_ok()).count();
        ensure!(
            answered > 0 && answered < answers.len(),
            "{answered} answered"
        );
        for answer in answers.into_iter().skip(answered) {
            let broke = answer
                .as_ref()
                .is_err_and(|status| status.source().is_some());
            if !broke {
                unavailable(answer)?;
            }
        }
        Ok(())
    }
}

#[test]
fn c19_leader_whose_lease_somebody_took_answers_nothing_once_it_knows() -> Result<()> {
    alone(lab(&[]), async |stage| {
        on_paper(stage, "c19taken", &["c19h", "c19i"])
            .await?
            .increase(1)
            .await?;
        let replicas = [stage.start_replica(&[]).await?];
        let before = told(&stage.caller()?).await?;
        let asking = Asking::begin(stage.caller()?);
        let leases: Api<Lease> = Api::namespaced(stage.client(), OWN);
        let taken = Patch::Merge(json!({"spec": {"holderIdentity": "somebody"}}));
        let params = PatchParams::default();
        leases.patch("homelab-autoscaler", &params, &taken).await?;
        stage.coordinator.until_ended().await?;
        asking.answers_had_an_end().await?;
        leader_of(&replicas).await?;
        let after = told(&replicas[0].caller()?).await?;
        ensure!(after == before, "{before:?}: {after:?}");
        Ok(())
    })
}

#[test]
fn c19_leader_cut_off_from_the_api_server_changes_nothing_and_answers_until_its_lease_ends()
-> Result<()> {
    alone(lab(&[]), async |stage| {
        on_paper(stage, "c19cut", &["c19j", "c19k", "c19l"])
            .await?
            .increase(1)
            .await?;
        let (mut old, cable) = stage.start_replica_on_cable().await?;
        stage.kill_coordinator();
        let serving = |state: &serde_json::Value| state["serving"] == true;
        old.coordinator.until("it leads", serving).await?;
        let replicas = [stage.start_replica(&[]).await?];
        let caller = old.caller()?;
        let before = told(&caller).await?;
        let asking = Asking::begin(caller.clone());
        cable.cut();
        unavailable(caller.increase("c19cut", 1).await)?;
        old.coordinator.until_ended().await?;
        asking.answers_had_an_end().await?;
        leader_of(&replicas).await?;
        let after = told(&replicas[0].caller()?).await?;
        ensure!(after == before, "{before:?}: {after:?}");
        Ok(())
    })
}
