//! One leader at a time.

use super::*;

#[tokio::test]
async fn one_of_two_leads_and_the_other_follows_at_once_when_it_stops() -> Result<()> {
    let stage = Stage::set().await?;
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), OWN);
    let epoch = |fact: &Fact| match fact {
        Fact::Leading { epoch } => Some(*epoch),
        _ => None,
    };
    let (first, second) = (stage.shell("a"), stage.shell("b"));
    let leading = first.run();
    let before = first.fact("the first to lead", epoch).await?;
    let _waiting = second.run();
    second
        .fact("the second to load", |fact| {
            matches!(fact, Fact::Loaded).then_some(())
        })
        .await?;
    ensure!(!second.mandate.holds());
    leading.stop.send(()).ok();
    leading.end.await??;
    ensure!(!first.mandate.holds());
    first
        .fact("the first to follow", |fact| {
            matches!(fact, Fact::Following).then_some(())
        })
        .await?;
    let after = second.fact("the second to lead", epoch).await?;
    ensure!(after > before, "{before} then {after}");
    let lease = leases
        .get("homelab-autoscaler")
        .await?
        .spec
        .context("spec")?;
    ensure!(
        lease
            .holder_identity
            .is_some_and(|holder| holder.starts_with("b_"))
    );
    ensure!(lease.lease_transitions == Some(i32::try_from(after)?));
    Ok(())
}

#[tokio::test]
async fn a_leader_whose_lease_is_taken_ends_at_once() -> Result<()> {
    let stage = Stage::set().await?;
    let (shell, running) = stage.leader().await?;
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), OWN);
    let thief =
        Patch::Merge(json!({"spec": {"holderIdentity": "thief_1", "leaseTransitions": 40}}));
    leases
        .patch("homelab-autoscaler", &PatchParams::default(), &thief)
        .await?;
    let ended = tokio::time::timeout(LIMIT, running.end).await??;
    ensure!(ended.is_err() && !shell.mandate.holds());
    let lease = leases
        .get("homelab-autoscaler")
        .await?
        .spec
        .context("spec")?;
    ensure!(
        lease.holder_identity.as_deref() == Some("thief_1"),
        "it is not released by the loser"
    );
    Ok(())
}

#[tokio::test]
async fn without_an_api_server_a_commit_fails_in_time_and_the_leadership_ends() -> Result<()> {
    let mut stage = Stage::set().await?;
    stage.group("workers").await?;
    let (shell, running) = stage.leader().await?;
    stage.plane.kill_api_server();
    ensure!(commit(&shell, 0, &["a"]).await? == Err("Unavailable".into()));
    shell
        .fact("the word that the cluster is away", |fact| {
            matches!(fact, Fact::Cluster { up: false }).then_some(())
        })
        .await?;
    shell
        .fact("to follow", |fact| {
            matches!(fact, Fact::Following).then_some(())
        })
        .await?;
    ensure!(tokio::time::timeout(LIMIT, running.end).await??.is_err());
    Ok(())
}
