//! The harness against the real programs it starts.

use std::{
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{from_value, json};
use tests::harness::{
    Broker, ControlPlane, Login, Mosquitto, Parts, Persistence, Power, Sushy, SushyOptions, System,
    Transport, wait,
};

/// Far longer than any of these takes on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Registers a Node that is ready, as a kubelet would.
async fn ready_node(client: &Client, name: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = json!({ "metadata": { "name": name } });
    nodes
        .create(&PostParams::default(), &from_value(node)?)
        .await?;
    let status = json!({ "status": {
        "capacity": { "cpu": "4", "memory": "8Gi", "pods": "110" },
        "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" },
        "conditions": [{ "type": "Ready", "status": "True", "reason": "Test", "message": "up" }],
    }});
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

#[tokio::test]
async fn scheduler_binds_a_pod_to_a_registered_node() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    ready_node(&client, "nuc1").await?;
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let pod = json!({
        "metadata": { "name": "web" },
        "spec": { "containers": [{ "name": "web", "image": "none" }] },
    });
    pods.create(&PostParams::default(), &from_value(pod)?)
        .await?;
    wait::until(LIMIT, "the pod to be bound", async || {
        let pod = pods.get("web").await?;
        match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
            Some("nuc1") => Ok(()),
            other => bail!("bound to {other:?}: {:?}", pod.status),
        }
    })
    .await
}

#[tokio::test]
async fn api_server_comes_back_at_the_same_address_with_its_objects() -> Result<()> {
    let mut plane = ControlPlane::start_with(Parts::API_ONLY).await?;
    let client = plane.client().await?;
    ready_node(&client, "nas").await?;
    let nodes: Api<Node> = Api::all(client);
    plane.kill_api_server();
    ensure!(nodes.get("nas").await.is_err(), "answered after its death");
    plane.start_api_server().await?;
    nodes.get("nas").await?;
    plane.stop_api_server().await?;
    ensure!(nodes.get("nas").await.is_err(), "answered after its end");
    Ok(())
}

#[tokio::test]
async fn custom_resources_are_served() -> Result<()> {
    let plane = ControlPlane::start_with(Parts::API_ONLY).await?;
    plane.apply_crds().await?;
    let client = plane.client().await?;
    let groups: Api<coordinator_crds::Group> = Api::all(client.clone());
    let nodes: Api<coordinator_crds::Node> = Api::all(client);
    ensure!(groups.list(&ListParams::default()).await?.items.is_empty());
    ensure!(nodes.list(&ListParams::default()).await?.items.is_empty());
    Ok(())
}

/// The arguments by which mosquitto's own clients reach the broker as this user.
fn client(program: &str, broker: &Mosquitto, login: &Login) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "-V",
            "5",
            "-h",
            "127.0.0.1",
            "-p",
            &broker.port().to_string(),
        ])
        .args(["-u", &login.user, "-P", &login.password, "-q", "1"]);
    if let Some(ca) = broker.ca_file() {
        command.arg("--cafile").arg(ca);
    }
    command
}

async fn run(mut command: Command) -> Result<Output> {
    let output = tokio::task::spawn_blocking(move || command.output())
        .await?
        .context("run a client of Debian's package mosquitto-clients")?;
    Ok(output)
}

async fn publish(broker: &Mosquitto, login: &Login, topic: &str, text: &str) -> Result<bool> {
    let mut command = client("mosquitto_pub", broker, login);
    command.args(["-r", "-t", topic, "-m", text]);
    let output = run(command).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(output.status.success() && !said.contains("Not authorized"))
}

/// The retained message of a topic, or nothing after a second.
async fn retained(broker: &Mosquitto, login: &Login, topic: &str) -> Result<String> {
    let mut command = client("mosquitto_sub", broker, login);
    command.args(["-C", "1", "-W", "2", "-t", topic]);
    let output = run(command).await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

async fn round_trip(transport: Transport) -> Result<()> {
    let broker = Mosquitto::start_with(Broker {
        transport,
        agents: vec!["nuc1".into(), "pi".into()],
        ..Broker::default()
    })
    .await?;
    let (nuc1, status) = (broker.agent("nuc1")?, "hla/v1/a/nuc1/status");
    ensure!(publish(&broker, &nuc1, status, "here").await?);
    ensure!(retained(&broker, &broker.coordinator(), status).await? == "here");
    ensure!(retained(&broker, &broker.observer()?, status).await? == "here");
    let stranger = Login {
        user: "nuc1".into(),
        password: "guessed".into(),
    };
    ensure!(!publish(&broker, &stranger, status, "forged").await?);
    ensure!(retained(&broker, &nuc1, status).await? == "here");
    Ok(())
}

#[tokio::test]
async fn messages_pass_through_the_plain_broker() -> Result<()> {
    round_trip(Transport::Plain).await
}

#[tokio::test]
async fn messages_pass_through_the_broker_with_tls() -> Result<()> {
    round_trip(Transport::Tls).await
}

#[tokio::test]
async fn agent_can_neither_speak_for_another_nor_command_it() -> Result<()> {
    let broker = Mosquitto::start(&["nuc1", "pi"]).await?;
    let pi = broker.agent("pi")?;
    for topic in [
        "hla/v1/a/nuc1/status",
        "hla/v1/a/nuc1/cmd",
        "hla/v1/a/pi/cmd",
    ] {
        ensure!(!publish(&broker, &pi, topic, "forged").await?, "{topic}");
    }
    let command = "hla/v1/a/nuc1/cmd";
    ensure!(publish(&broker, &broker.coordinator(), command, "order").await?);
    ensure!(retained(&broker, &broker.agent("nuc1")?, command).await? == "order");
    ensure!(retained(&broker, &pi, command).await?.is_empty());
    Ok(())
}

async fn after_a_kill(persistence: Persistence) -> Result<String> {
    let mut broker = Mosquitto::start_with(Broker {
        persistence,
        agents: vec!["nuc1".into()],
        ..Broker::default()
    })
    .await?;
    let (nuc1, topic) = (broker.agent("nuc1")?, "hla/v1/a/nuc1/inv");
    let address = broker.url();
    ensure!(publish(&broker, &nuc1, topic, "kept").await?);
    if persistence == Persistence::On {
        broker.save().await?;
    }
    broker.kill();
    ensure!(!publish(&broker, &nuc1, topic, "lost").await?);
    broker.start_again().await?;
    ensure!(broker.url() == address);
    retained(&broker, &broker.coordinator(), topic).await
}

#[tokio::test]
async fn killed_broker_remembers_what_it_saved() -> Result<()> {
    ensure!(after_a_kill(Persistence::On).await? == "kept");
    Ok(())
}

#[tokio::test]
async fn killed_broker_without_persistence_forgets() -> Result<()> {
    ensure!(after_a_kill(Persistence::Off).await?.is_empty());
    Ok(())
}

fn systems() -> Vec<System> {
    [("nuc1", 1, Power::Off), ("nuc2", 2, Power::On)]
        .map(|(name, number, power)| System {
            uuid: format!("00000000-0000-4000-8000-00000000000{number}"),
            name: name.to_owned(),
            mac: format!("52:54:00:00:00:0{number}"),
            power,
        })
        .to_vec()
}

#[tokio::test]
async fn emulated_bmc_switches_one_system_and_leaves_the_other() -> Result<()> {
    let systems = systems();
    let bmc = Sushy::start(&systems).await?;
    let (first, second) = (&systems[0].uuid, &systems[1].uuid);
    ensure!(bmc.power(first).await? == Power::Off);
    ensure!(bmc.power(second).await? == Power::On);
    bmc.reset(first, "On").await?;
    wait::until(LIMIT, "nuc1 to be on", async || {
        let power = bmc.power(first).await?;
        ensure!(power == Power::On, "{power:?}");
        Ok(())
    })
    .await?;
    bmc.reset(first, "ForceOff").await?;
    wait::until(LIMIT, "nuc1 to be off", async || {
        let power = bmc.power(first).await?;
        ensure!(power == Power::Off, "{power:?}");
        Ok(())
    })
    .await?;
    ensure!(bmc.power(second).await? == Power::On);
    ensure!(bmc.reset(first, "Jump").await.is_err());
    Ok(())
}

#[tokio::test]
async fn emulated_bmc_with_tls_asks_for_its_password() -> Result<()> {
    let systems = systems();
    let options = SushyOptions {
        login: Some(("admin".into(), "pass:w0rd".into())),
        tls: true,
    };
    let bmc = Sushy::start_with(&systems, options).await?;
    ensure!(bmc.power(&systems[1].uuid).await? == Power::On);
    let ca = std::fs::read(bmc.ca_file().context("has TLS")?)?;
    let stranger = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca)?])
        .build()?;
    let path = format!("{}/redfish/v1/Systems", bmc.address());
    let answer = stranger.get(path).send().await?;
    ensure!(answer.status() == reqwest::StatusCode::UNAUTHORIZED);
    Ok(())
}
