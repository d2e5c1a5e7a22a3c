//! Against a coordinator in a cluster, by a kubeconfig.

use std::collections::BTreeMap;

use super::{front::Front, *};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use tests::{
    cluster_stage::{Election, GroupPlan, OWN, Plan, Woken},
    harness::wait,
};

/// The tests take turns on one control plane.
static PLANES: Planes = Planes::new();
/// The ConfigMap and the Secret of the agents.
const AGENTS: &str = "homelab-autoscaler-agents";

pub(super) async fn start() -> Result<(ClusterStage, Ctl)> {
    let group = GroupPlan {
        name: "workers",
        woken: Woken::Packet,
        machines: &["nuc1"],
        spec: json!({"template": {"capacity": {"cpu": "4", "memory": "8Gi"}}}),
        otherwise: BTreeMap::new(),
    };
    let plan = Plan {
        guests: &[NEWCOMER],
        // A process that was killed holds the Lease until it runs out.
        election: Election("6s", "5s", "500ms"),
        ..Plan::quick(vec![group])
    };
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let ctl = Ctl::at("--kubeconfig", stage.plane.kubeconfig_path())?;
    Ok((stage, ctl))
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_is_overridden_and_proven_by_hand() -> Result<()> {
    let (mut stage, ctl) = start().await?;
    ctl.refuses_wrong_words()?;
    ctl.fails(
        &["power", "on", "nuc7"],
        1,
        "NotFound: there is no Node nuc7",
    )?;
    let first = ctl.row("nuc1")?;
    ensure!(first[..2] == ["nuc1", "workers"], "{first:?}");
    ctl.confirms_off("nuc1").await?;
    stage.until_phase("nuc1", "Sleeping").await?;
    let starts_from_running = "a proof starts from running";
    ctl.fails(&["prove", "nuc1"], 1, starts_from_running)?;
    ctl.prints(&["power", "retry", "nuc1"], "asked: nuc1 is tried again\n")?;

    let on = ctl.does(&["power", "on", "nuc1", "--for", "2h"])?;
    ensure!(on.starts_with("asked: nuc1 is to run until 20"), "{on}");
    stage.until_phase("nuc1", "Running").await?;
    wait::until(LIMIT, "the override in status", async || {
        let held = override_of(&ctl.machine("nuc1")?);
        ensure!(
            held == (json!("AlwaysOn"), json!("user ann"), true),
            "{held:?}"
        );
        Ok(())
    })
    .await?;
    let asked = "asked: nuc1 is stopped once and woken once\n";
    let released = "asked: nuc1 is its group's again\n";
    ctl.prints(&["power", "release", "nuc1"], released)?;
    ctl.prints(&["prove", "nuc1"], asked)?;
    wait::until(LIMIT, "one stop and one more wake", async || {
        let seen = (stage.recorder.wakes("nuc1"), stage.recorder.stops("nuc1"));
        ensure!(seen == (2, 1), "{seen:?}");
        Ok(())
    })
    .await?;
    stage.until_phase("nuc1", "Running").await?;
    ctl.prints(&["power", "off", "nuc1"], "asked: nuc1 is to be off\n")?;
    stage.until_phase("nuc1", "Sleeping").await?;
    ctl.prints(&["power", "release", "nuc1"], released)?;

    stage.kill_coordinator();
    let later = "the coordinator has not taken it within 10 s";
    ctl.fails(&["power", "on", "nuc1"], 75, later)?;
    let waits = "PowerOn by user ann waits to be taken";
    ctl.fails(&["power", "off", "nuc1"], 75, waits)?;
    stage.start_coordinator().await?;
    stage.until_phase("nuc1", "Running").await?;
    let seen = (stage.recorder.wakes("nuc1"), stage.recorder.stops("nuc1"));
    ensure!(seen == (3, 2), "{seen:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomer_is_configured_heard_and_declared_by_what_is_printed() -> Result<()> {
    let (stage, ctl) = start().await?;
    let no_broker = "ConfigMap homelab-autoscaler-system/homelab-autoscaler-agents has no broker";
    ctl.fails(&["agent", "config", NEWCOMER], 1, no_broker)?;
    tell_of_the_broker(&stage).await?;
    let printed = wait::until(LIMIT, "the coordinator's key", async || {
        ctl.does(&["agent", "config", NEWCOMER])
    })
    .await?;
    let secret = stage.mosquitto.agent(NEWCOMER)?.password;
    ensure!(
        printed.contains(&format!("printf %s '{secret}'")),
        "{printed}"
    );
    ensure!(
        ctl.does(&["agent", "config", NEWCOMER, "--into", "nuc9"])?
            .is_empty()
    );
    let config = std::fs::read_to_string(ctl.home.file("nuc9/agent.toml"))?;
    ensure!(!config.contains(&secret), "{config}");
    let password = ctl.home.file("nuc9/password");
    ensure!(std::fs::read_to_string(&password)? == format!("{secret}\n"));

    // An agent finds its password beside its TOML; this one's TOML lies in its machine's folder.
    let config = format!("{config}password_file = {password:?}\n");
    let _nuc9 = newcomer(&config, &stage.recorder).await?;
    let heard = |state: &Value| state["agents"][NEWCOMER]["macs"][0].is_string();
    stage.until("the newcomer is heard", heard).await?;
    ctl.fails(&["node", "init", NEWCOMER], 1, "no agent nuc9 was heard")?;
    let front = Front::start(&stage.plane, stage.admin()).await?;
    let ctl = Ctl::at("--kubeconfig", front.kubeconfig())?;
    ctl.prints(&["node", "init", NEWCOMER], &newcomers_node())?;
    let declared: coordinator_crds::Node = serde_norway::from_str(&newcomers_node())?;
    let machines = stage.machine_objects();
    machines.create(&PostParams::default(), &declared).await?;
    stage.until_phase(NEWCOMER, "Running").await?;
    ctl.fails(
        &["node", "init", NEWCOMER],
        1,
        "there is a Node nuc9 already",
    )
}

/// What whoever installs the coordinator writes beside it.
async fn tell_of_the_broker(stage: &ClusterStage) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(stage.client(), OWN);
    let broker = Patch::Merge(json!({"data": {"broker": stage.mosquitto.url()}}));
    maps.patch(AGENTS, &PatchParams::default(), &broker).await?;
    let password = stage.mosquitto.agent(NEWCOMER)?.password;
    let entry = (
        format!("{NEWCOMER}.password"),
        ByteString(password.into_bytes()),
    );
    let mut secret = Secret {
        data: Some([entry].into()),
        ..Secret::default()
    };
    secret.metadata.name = Some(AGENTS.to_owned());
    let secrets: Api<Secret> = Api::namespaced(stage.client(), OWN);
    secrets.create(&PostParams::default(), &secret).await?;
    Ok(())
}
