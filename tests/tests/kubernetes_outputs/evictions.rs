//! Pods that are asked to leave, by an API server that keeps their budgets.

use coordinator_core::{DrainState, Eviction, EvictionOutcome, PodRef};
use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::api::PostParams;

use super::*;

/// Its machine is being drained: nobody else's pods are asked to leave.
fn draining() -> View {
    let mut view = people::shown();
    for machine in view.machines.values_mut() {
        Arc::make_mut(machine).drain = Some(DrainState::Evicting);
    }
    view
}

fn pods(stage: &Stage) -> Api<Pod> {
    Api::namespaced(stage.client.clone(), "lab")
}

/// A pod that runs: one that does not yet is in no budget's care.
async fn running_pod(stage: &Stage, name: &str, app: &str) -> Result<PodRef> {
    let pod = json!({
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"nodeName": "nuc1", "containers": [{"name": "c", "image": "none"}]},
    });
    stage.create("v1", "Pod", Some("lab"), pod).await?;
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let runs = pods(stage)
        .patch_status(name, &PatchParams::default(), &Patch::Merge(ready))
        .await?;
    Ok(PodRef {
        namespace: "lab".into(),
        name: name.into(),
        uid: runs.metadata.uid.context("uid")?,
    })
}

/// A budget for the pods of an app, as the disruption controller has judged it.
async fn budget(stage: &Stage, name: &str, app: &str) -> Result<()> {
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(stage.client.clone(), "lab");
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": app}}});
    let made = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
    budgets.create(&PostParams::default(), &made).await?;
    allow(stage, name, 0).await
}

async fn allow(stage: &Stage, name: &str, disruptions: i32) -> Result<()> {
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(stage.client.clone(), "lab");
    let status = json!({"observedGeneration": 1, "disruptionsAllowed": disruptions, "currentHealthy": 1 + disruptions,
        "desiredHealthy": 1, "expectedPods": 1 + disruptions});
    let patch = Patch::Merge(json!({"status": status}));
    budgets
        .patch_status(name, &PatchParams::default(), &patch)
        .await?;
    // The eviction reads it from a cache of its own.
    wait::until(LIMIT, "the budget is as it was judged", async || {
        let read = budgets.get(name).await?;
        let allowed = read.status.and_then(|status| status.disruptions_allowed);
        ensure!(allowed == Some(disruptions), "{allowed:?}");
        Ok(())
    })
    .await
}

async fn evict(shell: &Shell, pods: Vec<PodRef>) -> Result<Vec<Eviction>> {
    let action = Action::Evict {
        machine: nuc1(),
        pods,
    };
    shell
        .answer(action, |fact| match fact {
            Fact::Evicted { pods, .. } => Some(pods.clone()),
            _ => None,
        })
        .await
}

async fn outcome(shell: &Shell, pod: &PodRef) -> Result<EvictionOutcome> {
    let told = evict(shell, vec![pod.clone()]).await?;
    ensure!(told.len() == 1 && told[0].pod == *pod, "{told:?}");
    Ok(told[0].outcome.clone())
}

async fn is_ending(stage: &Stage, name: &str) -> Result<bool> {
    let pod = pods(stage).get_opt(name).await?;
    Ok(pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()))
}

#[tokio::test]
async fn a_budget_keeps_a_pod_is_named_and_lets_it_go_once_it_allows() -> Result<()> {
    let stage = Stage::set().await?;
    let web = running_pod(&stage, "web-0", "web").await?;
    budget(&stage, "web-budget", "web").await?;
    let (shell, _running) = stage.leader().await?;
    shell.show(draining());
    wait::until(LIMIT, "the budget to be known", async || {
        let kept = outcome(&shell, &web).await?;
        let EvictionOutcome::Withheld { budget, .. } = &kept else {
            bail!("{kept:?}")
        };
        let expected = "The disruption budget web-budget needs 1 healthy pods and has 1 currently";
        ensure!(budget == expected, "{budget}");
        Ok(())
    })
    .await?;
    ensure!(!is_ending(&stage, "web-0").await?);
    allow(&stage, "web-budget", 1).await?;
    wait::until(LIMIT, "it may go", async || {
        let told = outcome(&shell, &web).await?;
        ensure!(told == EvictionOutcome::Accepted, "{told:?}");
        Ok(())
    })
    .await?;
    ensure!(is_ending(&stage, "web-0").await?);
    Ok(())
}

#[tokio::test]
async fn a_pod_that_took_the_place_of_another_is_not_evicted() -> Result<()> {
    let stage = Stage::set().await?;
    let web = running_pod(&stage, "web-0", "web").await?;
    let (shell, _running) = stage.leader().await?;
    shell.show(draining());
    let before = PodRef {
        uid: "00000000-0000-4000-8000-000000000001".into(),
        ..web.clone()
    };
    let gone = PodRef {
        name: "nobody".into(),
        ..web.clone()
    };
    let told = evict(&shell, vec![before, gone]).await?;
    let outcomes: Vec<_> = told.into_iter().map(|told| told.outcome).collect();
    ensure!(
        outcomes == [EvictionOutcome::Gone, EvictionOutcome::Gone],
        "{outcomes:?}"
    );
    ensure!(!is_ending(&stage, "web-0").await?, "another uid was meant");
    ensure!(outcome(&shell, &web).await? == EvictionOutcome::Accepted);
    Ok(())
}

#[tokio::test]
async fn a_pod_in_the_care_of_two_budgets_cannot_be_evicted_and_that_is_told() -> Result<()> {
    let stage = Stage::set().await?;
    let web = running_pod(&stage, "web-0", "web").await?;
    budget(&stage, "one", "web").await?;
    budget(&stage, "two", "web").await?;
    let (shell, _running) = stage.leader().await?;
    shell.show(draining());
    wait::until(LIMIT, "both budgets to be known", async || {
        let told = outcome(&shell, &web).await?;
        let EvictionOutcome::Misconfigured(words) = &told else {
            bail!("{told:?}")
        };
        ensure!(
            words.contains("more than one PodDisruptionBudget"),
            "{words}"
        );
        Ok(())
    })
    .await?;
    ensure!(!is_ending(&stage, "web-0").await?);
    Ok(())
}

#[tokio::test]
async fn a_pod_whose_machine_is_not_drained_any_more_is_left_alone() -> Result<()> {
    let stage = Stage::set().await?;
    let web = running_pod(&stage, "web-0", "web").await?;
    let (shell, _running) = stage.leader().await?;
    shell.show(people::shown());
    let told = outcome(&shell, &web).await?;
    let EvictionOutcome::Unanswered { fault, .. } = &told else {
        bail!("{told:?}")
    };
    ensure!(fault.contains("not drained"), "{fault}");
    ensure!(!is_ending(&stage, "web-0").await?);
    Ok(())
}
