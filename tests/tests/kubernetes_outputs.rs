//! The outputs and inputs of Kubernetes mode against a real API server.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test waits for one fact among all"
)]

#[path = "kubernetes_outputs/deploy.rs"]
mod deploy;
#[path = "kubernetes_outputs/evictions.rs"]
mod evictions;
#[path = "kubernetes_outputs/leading.rs"]
mod leading;
#[path = "kubernetes_outputs/nodes.rs"]
mod nodes;
#[path = "kubernetes_outputs/people.rs"]
mod people;
#[path = "kubernetes_outputs/stage.rs"]
mod stage;

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use coordinator::documents;
use coordinator_core::{
    Action, Cordon, Event, Fact, GroupId, GroupRecord, GroupView, MachineId, MachineRecord,
    MachineView, NodeObjectPolicy, NodePatch, Operation, OperationKind, PhaseName, PowerRecord,
    PowerState, Severity, StoreFault, Subject, TaintChange, Token, View, Wish,
};
use coordinator_crds::Group;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap, events::v1};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde::Deserialize as _;
use serde_json::json;
use stage::{LIMIT, OWN, Shell, Stage};
use tests::harness::wait;

fn workers() -> GroupId {
    GroupId::new("lab/workers")
}

fn nuc1() -> MachineId {
    MachineId::new("nuc1")
}

/// What became of a commit: the sequence, or what stands there instead.
async fn commit(shell: &Shell, expected: u64, wanted: &[&str]) -> Result<Result<u64, String>> {
    let record = GroupRecord {
        wanted: wanted.iter().map(|name| MachineId::new(name)).collect(),
        sequence: expected + 1,
        last_increase: None,
    };
    let action = Action::Commit {
        group: workers(),
        expected,
        record,
        deadline_ms: None,
    };
    shell
        .answer(action, |fact| match fact {
            Fact::Committed { sequence, .. } => Some(Ok(*sequence)),
            Fact::CommitLost { record, .. } => Some(Err(format!("lost to {}", record.sequence))),
            Fact::CommitFailed { fault, .. } => Some(Err(format!("{fault:?}"))),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_wish_is_stored_by_compare_and_swap_whatever_shape_the_group_has() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    let (shell, _running) = stage.leader().await?;
    ensure!(
        commit(&shell, 0, &["a"]).await? == Ok(1),
        "a group without status"
    );
    ensure!(commit(&shell, 1, &["a", "b"]).await? == Ok(2));
    ensure!(commit(&shell, 1, &["c"]).await? == Err("lost to 2".into()));
    let stored = stage
        .groups()
        .get("workers")
        .await?
        .status
        .context("status")?;
    ensure!(stored.target_size == Some(2));
    ensure!(stored.wanted.context("wanted")?.machines == ["a", "b"]);

    // Somebody else moves the sequence while we hold the old one.
    let foreign = Patch::Merge(json!({"status": {"wanted": {"sequence": 9, "machines": []}}}));
    stage
        .groups()
        .patch_status("workers", &PatchParams::default(), &foreign)
        .await?;
    ensure!(commit(&shell, 2, &["d"]).await? == Err("lost to 9".into()));

    // Made anew under the same name: the wish of the old one is not its wish.
    stage
        .groups()
        .delete("workers", &DeleteParams::default())
        .await?;
    ensure!(commit(&shell, 9, &["e"]).await?.is_err());
    Ok(())
}

#[tokio::test]
async fn nothing_is_written_without_a_mandate() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    let (shell, _running) = stage.leader().await?;
    shell.mandate.extend(0);
    ensure!(commit(&shell, 0, &["a"]).await? == Err(format!("{:?}", StoreFault::Unavailable)));
    ensure!(stage.groups().get("workers").await?.status.is_none());
    Ok(())
}

fn record(seq: u32, operation: bool) -> Box<MachineRecord> {
    let token = Token { epoch: 1, seq };
    Box::new(MachineRecord {
        token,
        operation: operation.then(|| {
            Box::new(Operation {
                id: "01JD0000000000000000000000".into(),
                kind: OperationKind::Wake,
                token,
                boot_id: None,
                started_at_ms: 1_795_000_000_000,
                by: "test".into(),
                ordered_at_ms: None,
                going_down: false,
            })
        }),
        power: PowerRecord {
            state: PowerState::Running,
            witness: None,
            since_ms: 1_795_000_000_000,
        },
        ..MachineRecord::default()
    })
}

/// Stores a record; why that failed, if it did.
async fn store(
    shell: &Shell,
    version: u64,
    record: Box<MachineRecord>,
) -> Result<Option<StoreFault>> {
    let action = Action::Record {
        machine: nuc1(),
        version,
        record,
    };
    shell
        .answer(action, |fact| match fact {
            Fact::Recorded {
                version: stored, ..
            } if *stored == version => Some(None),
            Fact::RecordFailed { fault, .. } => Some(Some(*fault)),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_record_survives_in_the_status_and_a_higher_token_ends_the_leadership() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    let (shell, running) = stage.leader().await?;
    ensure!(store(&shell, 1, record(3, true)).await?.is_none());
    ensure!(store(&shell, 2, record(4, false)).await?.is_none());
    let status = stage
        .machines()
        .get("nuc1")
        .await?
        .status
        .context("status")?;
    ensure!(documents::machine_record(Some(&status)) == *record(4, false));

    // A later leader has raised the token: what we hold is old, and whoever holds it does not lead.
    let theirs = json!({"token": {"epoch": 2, "seq": 0}});
    stage.write_status("nuc1", theirs).await?;
    shell
        .fact("the foreign write", |fact| match fact {
            Fact::MachineStored { record, .. } if record.token.epoch == 2 => Some(()),
            _ => None,
        })
        .await?;
    let failed = store(&shell, 3, record(5, true)).await?;
    ensure!(failed == Some(StoreFault::Unavailable), "{failed:?}");
    shell
        .fact("to follow", |fact| {
            matches!(fact, Fact::Following).then_some(())
        })
        .await?;
    ensure!(tokio::time::timeout(LIMIT, running.end).await??.is_err());
    let status = stage.machines().get("nuc1").await?.status;
    let token = documents::machine_record(status.as_ref()).token;
    ensure!(token == Token { epoch: 2, seq: 0 }, "it was written over");

    // The next start reads it all again.
    let successor = stage.shell("successor");
    let _running = successor.run();
    let epoch = successor
        .fact("to lead above every token", |fact| match fact {
            Fact::Leading { epoch } => Some(*epoch),
            _ => None,
        })
        .await?;
    ensure!(epoch > 2, "epoch {epoch}");
    Ok(())
}

#[tokio::test]
async fn a_record_that_the_schema_refuses_is_told_with_the_servers_words() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    let (shell, _running) = stage.leader().await?;
    let too_long = MachineRecord {
        boot_id: Some("b".repeat(65).into()),
        ..*record(1, false)
    };
    let failed = store(&shell, 1, Box::new(too_long)).await?;
    ensure!(failed == Some(StoreFault::Refused), "{failed:?}");
    has_event(&stage, "RecordRefused").await
}

async fn has_event(stage: &Stage, reason: &str) -> Result<()> {
    let events: Api<v1::Event> = Api::namespaced(stage.client.clone(), "lab");
    wait::until(LIMIT, reason, async || {
        let told = events.list(&ListParams::default()).await?;
        let found = told
            .items
            .iter()
            .any(|event| event.reason.as_deref() == Some(reason));
        ensure!(found, "{} other events", told.items.len());
        Ok(())
    })
    .await
}
