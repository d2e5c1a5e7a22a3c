//! What people read and write: status, requests, Events, objects of another shape.

use super::*;

#[tokio::test]
async fn requests_of_people_are_put_to_the_core_and_taken_off_the_object() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    let (shell, _running) = stage.leader().await?;
    let ask = |id: &str| json!({"ask": {"id": id, "verb": "Retry", "by": "ann"}});
    stage.write_status("nuc1", ask("one")).await?;
    shell
        .fact("the request", |fact| {
            matches!(fact, Fact::Asked { .. }).then_some(())
        })
        .await?;
    let taken = MachineRecord {
        last_ask: Some("one".into()),
        ..*record(1, false)
    };
    ensure!(store(&shell, 1, Box::new(taken)).await?.is_none());
    let status = stage
        .machines()
        .get("nuc1")
        .await?
        .status
        .context("status")?;
    ensure!(status.ask.is_none() && status.last_ask_id.as_deref() == Some("one"));

    stage.write_status("nuc1", ask("refuse-me")).await?;
    wait::until(LIMIT, "the refused request to go", async || {
        let status = stage
            .machines()
            .get("nuc1")
            .await?
            .status
            .context("status")?;
        ensure!(status.ask.is_none(), "{:?}", status.ask);
        ensure!(status.last_ask_id.as_deref() == Some("one"));
        Ok(())
    })
    .await?;
    has_event(&stage, "RequestRefused").await
}

#[tokio::test]
async fn keys_and_events_find_their_objects() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    let (shell, _running) = stage.leader().await?;
    for agent in ["nuc1", "pi"] {
        shell.perform(Action::RecordAgent {
            agent: coordinator_core::AgentId::new(agent),
            key: format!("ed25519:{agent}"),
        });
    }
    shell.perform(Action::Event(Event {
        about: Subject::Group(workers()),
        severity: Severity::Warning,
        reason: "MassSilence",
        message: "half of the group fell silent".into(),
        operation: None,
    }));
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), OWN);
    wait::until(LIMIT, "the keys", async || {
        let data = maps
            .get("homelab-autoscaler-agents")
            .await?
            .data
            .unwrap_or_default();
        for (name, value) in [("key.pi", "ed25519:pi"), ("coordinatorKey", "ed25519:test")] {
            if data.get(name).map(String::as_str) != Some(value) {
                bail!("{data:?}");
            }
        }
        Ok(())
    })
    .await?;
    // The key of a machine's own agent rides with the next write.
    ensure!(store(&shell, 1, record(3, true)).await?.is_none());
    let status = stage.machines().get("nuc1").await?.status;
    ensure!(
        documents::pinned_key(status.as_ref()) == Some("ed25519:nuc1"),
        "{status:?}"
    );
    has_event(&stage, "MassSilence").await
}

#[tokio::test]
async fn an_object_of_another_shape_stops_no_watch_and_says_so() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    let (shell, _running) = stage.leader().await?;
    // A later version of the definition allows what this program does not know.
    let definitions: Api<kube::core::DynamicObject> = Api::all_with(
        stage.client.clone(),
        &kube::core::ApiResource::erase::<
            k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
        >(&()),
    );
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let lax = serde_json::from_value(json!([{
        "op": "replace", "path": path,
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }]))?;
    definitions
        .patch(
            "homelabgroups.homelab-autoscaler.dev",
            &PatchParams::default(),
            &Patch::<()>::Json(lax),
        )
        .await?;
    let odd = json!({"metadata": {"name": "odd"}, "spec": {"mode": "Telepathy"}});
    wait::until(LIMIT, "the lax definition", async || {
        stage
            .create(
                coordinator_crds::API_VERSION,
                "Group",
                Some("lab"),
                odd.clone(),
            )
            .await
    })
    .await?;
    stage.group("plain").await?;
    shell
        .fact("the sound group behind the odd one", |fact| match fact {
            Fact::GroupApplied(spec) if spec.id == GroupId::new("lab/plain") => Some(()),
            _ => None,
        })
        .await?;
    let raw: Api<kube::core::DynamicObject> = Api::namespaced_with(
        stage.client.clone(),
        "lab",
        &kube::core::ApiResource::erase::<Group>(&()),
    );
    wait::until(LIMIT, "condition InvalidSpec", async || {
        let object = raw.get("odd").await?;
        let told = object.data["status"]["conditions"].to_string();
        ensure!(
            told.contains("InvalidSpec") && told.contains("Telepathy"),
            "{told}"
        );
        Ok(())
    })
    .await
}

pub(crate) fn shown() -> View {
    let machine = MachineView {
        id: nuc1(),
        namespace: "lab".into(),
        group: workers(),
        node_name: "nuc1".into(),
        agent: coordinator_core::AgentId::new("nuc1"),
        wanted: Wish::Running,
        power: PowerRecord::default(),
        phase: PhaseName::Waking,
        since_ms: 1_795_000_000_000,
        why: "WakeUnanswered",
        message: "no heartbeat yet".into(),
        by: "".into(),
        drain: None,
        provider_id: "".into(),
        proven_at_ms: None,
        deadline_ms: None,
        quarantined_until_ms: None,
        max_sizes: None,
        instead: Vec::new(),
        wake_armed: None,
        ready: false,
        concerns: coordinator_core::Concerns::new(),
        fault: Some("DuplicateMAC: spec.wakeOnLAN.mac: nuc2 has it too".into()),
    };
    let group = GroupView {
        id: workers(),
        autoscaled: true,
        min_size: 0,
        max_size: 1,
        target: 1,
        ready: 0,
        sequence: 0,
        instances: Vec::new(),
        template: None,
        scale_down: None,
        energy: None,
        node_object_policy: NodeObjectPolicy::Delete,
        debug: String::new(),
        frozen: false,
        concerns: coordinator_core::Concerns::new(),
    };
    View {
        serving: true,
        cluster_up: true,
        groups: [(workers(), Arc::new(group))].into(),
        machines: [(nuc1(), Arc::new(machine))].into(),
        ..View::default()
    }
}

#[tokio::test]
async fn people_read_in_the_status_what_the_view_says() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    let (shell, _running) = stage.leader().await?;
    shell.show(shown());
    wait::until(LIMIT, "the status of both", async || {
        let machine = stage
            .machines()
            .get("nuc1")
            .await?
            .status
            .context("machine")?;
        ensure!(machine.phase.as_deref() == Some("Waking"), "{machine:?}");
        let conflict = machine
            .conditions
            .iter()
            .find(|found| found.type_ == "Conflict");
        ensure!(conflict.is_some_and(|found| found.reason == "DuplicateMAC"));
        let group = stage
            .groups()
            .get("workers")
            .await?
            .status
            .context("group")?;
        ensure!(
            group.max_size == Some(1) && group.transitioning == Some(1),
            "{group:?}"
        );
        Ok(())
    })
    .await?;
    has_event(&stage, "FaultyDeclaration").await?;
    // A wish stored later finds a status that is there already.
    ensure!(commit(&shell, 0, &["nuc1"]).await? == Ok(1));

    // Nothing that is shown depends on it.
    let slower = json!({"spec": {"timeouts": {"boot": "11m"}}});
    let machines = stage.machines();
    machines
        .patch("nuc1", &PatchParams::default(), &Patch::Merge(slower))
        .await?;
    wait::until(LIMIT, "the edit in the status", async || {
        let machine = machines.get("nuc1").await?;
        let declared = machine.metadata.generation;
        let described = machine.status.context("status")?.observed_generation;
        ensure!(
            declared == Some(2) && described == declared,
            "{described:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_made_anew_is_described_though_nothing_else_has_changed() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    let (shell, _running) = stage.leader().await?;
    shell.show(shown());
    let (groups, machines) = (stage.groups(), stage.machines());
    let described = async || {
        let group = groups.get_opt("workers").await?.and_then(|it| it.status);
        let machine = machines.get_opt("nuc1").await?.and_then(|it| it.status);
        ensure!(group.context("group")?.max_size == Some(1));
        ensure!(machine.context("machine")?.phase.as_deref() == Some("Waking"));
        Ok(())
    };
    wait::until(LIMIT, "the status of both", described).await?;
    let old = machines.get("nuc1").await?.metadata.uid;
    groups.delete("workers", &DeleteParams::default()).await?;
    machines.delete("nuc1", &DeleteParams::default()).await?;
    wait::until(LIMIT, "both to go", async || {
        ensure!(groups.get_opt("workers").await?.is_none());
        ensure!(machines.get_opt("nuc1").await?.is_none());
        Ok(())
    })
    .await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    ensure!(machines.get("nuc1").await?.metadata.uid != old);
    wait::until(LIMIT, "the status of both new ones", described).await
}

#[tokio::test]
async fn somebody_elses_lock_is_honoured_until_it_goes() -> Result<()> {
    let stage = Stage::set().await?;
    stage.group("workers").await?;
    stage.machine("nuc1").await?;
    let (shell, _running) = stage.leader().await?;
    let annotate = async |annotations| {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let machines = stage.machines();
        machines
            .patch("nuc1", &PatchParams::default(), &patch)
            .await
    };
    let declared = |fact: &Fact| match fact {
        Fact::MachineApplied(spec) => Some(spec.fault.clone()),
        _ => None,
    };
    annotate(json!({
        "homelab-autoscaler.dev/operation-lock": "firmware-update",
        "homelab-autoscaler.dev/lock-owner": "ann",
        "homelab-autoscaler.dev/lock-timestamp": "2026-11-21T10:00:00Z",
    }))
    .await?;
    let fault = shell.fact("the lock", declared).await?.unwrap_or_default();
    ensure!(
        fault.starts_with("Locked: ann holds it for firmware-update since 2026-11-21T10:00:00Z"),
        "{fault}"
    );
    annotate(json!({"homelab-autoscaler.dev/operation-lock": null})).await?;
    let fault = shell.fact("its end", declared).await?;
    ensure!(fault.is_none(), "{fault:?}");
    Ok(())
}
