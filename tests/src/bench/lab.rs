//! A standalone coordinator with a generated lab, at a real mosquitto.
//! In: how the broker is reached, and changed time limits. Out: handles to call and measure it.
//! Holds: groups of 50 machines each; every machine is woken by magic packet.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::{
    harness::{Broker, Mosquitto, Process, Transport, WorkDir, programs, wait},
    recorder::Mac,
};

/// Groups in a lab of a thousand machines.
pub(super) const GROUPS: usize = 20;
/// Machines in each.
pub(super) const MEMBERS: usize = 50;
/// The name of the agent that wakes them.
pub(super) const RELAY: &str = "relay";
/// For whatever must come up, among 15,000 machines too.
pub(super) const LIMIT: Duration = Duration::from_secs(300);
/// Nobody listens there, unless a benchmark does.
const DISCARD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), 9);

/// A machine of the lab.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// Name of the machine, of its agent and of its core Node.
    pub(super) name: String,
    pub(super) mac: Mac,
}

/// Every machine of so many groups, group by group.
pub(super) fn machines(groups: usize) -> Vec<Machine> {
    (0..groups).flat_map(members).collect()
}

fn members(group: usize) -> impl Iterator<Item = Machine> {
    (0..MEMBERS).map(move |member| {
        let [.., high, low] = (group * MEMBERS + member).to_be_bytes();
        Machine {
            name: format!("m{group:02}-{member:02}"),
            mac: Mac([0x52, 0x54, 0, 0, high, low]),
        }
    })
}

/// The id of a group.
pub(super) fn group_id(number: usize) -> String {
    format!("default/{}", group_name(number))
}

/// What differs between the labs of the benchmarks.
pub(super) struct Plan {
    /// How many groups.
    pub(super) groups: usize,
    /// How the broker is reached.
    pub(super) transport: Transport,
    /// Where magic packets go; nowhere if none are expected.
    pub(super) wake: Option<SocketAddrV4>,
    /// Changed time limits of the coordinator.
    pub(super) timing: &'static [&'static str],
}

/// The running lab, without agents.
pub(super) struct Lab {
    pub(super) coordinator: Process,
    pub(super) broker: Mosquitto,
    grpc: String,
    admin: String,
    work: WorkDir,
}

impl Lab {
    /// Starts broker and coordinator.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub(super) async fn start(plan: Plan) -> Result<Self> {
        // Somebody else in this process may have installed it before.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut agents: Vec<String> = machines(plan.groups).into_iter().map(|m| m.name).collect();
        agents.push(RELAY.to_owned());
        let broker = Mosquitto::start_with(Broker {
            transport: plan.transport,
            agents,
            ..Broker::default()
        })
        .await?;
        let work = WorkDir::new("bench")?;
        for group in 0..plan.groups {
            let documents = documents(group, plan.wake.unwrap_or(DISCARD));
            work.write(&format!("lab/{}.yaml", group_name(group)), documents)?;
        }
        let ports = work.file("ports.json");
        let command = coordinator(&work, &broker, &ports, plan.timing)?;
        let mut coordinator = Process::start(&work, "coordinator", &command)?;
        let [grpc, admin] = wait::until(LIMIT, "the coordinator tells its ports", async || {
            coordinator.check_alive()?;
            read_ports(&ports)
        })
        .await?;
        Ok(Self {
            coordinator,
            broker,
            grpc,
            admin,
            work,
        })
    }

    /// One connection to the gRPC API.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) async fn connect(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc))?;
        let channel = endpoint.tcp_nodelay(true).connect().await;
        channel.context("connect to the coordinator")
    }

    /// The text of one of the coordinator's pages.
    ///
    /// # Errors
    /// When it does not answer.
    async fn page(&self, path: &str) -> Result<String> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let page = http.get(format!("http://{}{path}", self.admin)).send();
        let page = page.await.with_context(|| format!("ask for {path}"))?;
        page.text().await.with_context(|| format!("read {path}"))
    }

    /// Starts a real agent as relay and waits until it is heard.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) async fn start_relay(&self) -> Result<Process> {
        let key = wait::until(LIMIT, "the coordinator's key", async || {
            let state: Value = serde_json::from_str(&self.page("/state").await?)?;
            let key = state["coordinatorKey"].as_str().map(str::to_owned);
            key.context("not yet")
        })
        .await?;
        let login = self.broker.agent(RELAY)?;
        self.work.write("relay/password", &login.password)?;
        let mut config = format!(
            "id = {RELAY:?}\nbroker = {:?}\ncoordinator_key = {key:?}\nstate_dir = \"state\"\n",
            self.broker.url(),
        );
        if let Some(ca) = self.broker.ca_file() {
            config += &format!("ca_file = {ca:?}\n");
        }
        config += "[relay]\n";
        let config = self.work.write("relay/agent.toml", config)?;
        let mut command = Command::new(programs::ours("homelab-agent")?);
        command.arg("run").arg("--config").arg(config);
        let mut relay = Process::start(&self.work, RELAY, &command)?;
        wait::until(LIMIT, "the relay is heard", async || {
            relay.check_alive()?;
            let metrics = self.page("/metrics").await?;
            let heard = metrics
                .lines()
                .any(|line| line == "homelab_autoscaler_agents_live 1");
            anyhow::ensure!(heard, "not yet");
            Ok(())
        })
        .await?;
        Ok(relay)
    }
}

fn coordinator(
    work: &WorkDir,
    broker: &Mosquitto,
    ports: &Path,
    timing: &[&str],
) -> Result<Command> {
    let login = broker.coordinator();
    let password = work.write("coordinator.password", &login.password)?;
    let url = broker.url().replace("://", &format!("://{}@", login.user));
    let mut command = Command::new(programs::ours("homelab-coordinator")?);
    command.arg("run").arg("--lab").arg(work.file("lab"));
    command.arg("--state").arg(work.file("state"));
    command.arg("--socket").arg(work.file("coordinator.sock"));
    command.arg("--ports-file").arg(ports);
    command.args(["--grpc-address", "127.0.0.1:0"]);
    command.args(["--admin-address", "127.0.0.1:0", "--broker", &url]);
    command.arg("--broker-password-file").arg(password);
    if let Some(ca) = broker.ca_file() {
        command.arg("--broker-ca-file").arg(ca);
    }
    for change in timing {
        command.args(["--timing", change]);
    }
    Ok(command)
}

fn read_ports(file: &Path) -> Result<[String; 2]> {
    let text = fs::read_to_string(file).context("read the ports file")?;
    let ports: Value = serde_json::from_str(&text).context("parse the ports file")?;
    let port = |name: &str| {
        let address = ports[name].as_str().map(str::to_owned);
        address.with_context(|| format!("no {name} address"))
    };
    Ok([port("grpc")?, port("admin")?])
}

fn group_name(number: usize) -> String {
    format!("g{number:02}")
}

/// A group whose machines are the autoscaler's as soon as they are seen running, with everything that reads ask for.
fn documents(group: usize, wake: SocketAddrV4) -> String {
    let head = "---\napiVersion: homelab-autoscaler.dev/v1alpha1\n";
    let name = group_name(group);
    let mut text = format!(
        "{head}kind: Group\nmetadata: {{name: {name}}}\nspec:\n  requireProof: false\n  \
         template: {{capacity: {{cpu: \"8\", memory: 32Gi}}}}\n  scaleDown: {{unneededDuration: 10m}}\n"
    );
    for machine in members(group) {
        text += &format!(
            "{head}kind: Node\nmetadata: {{name: {}}}\nspec:\n  group: {name}\n  \
             wakeOnLAN: {{mac: \"{}\", broadcast: \"{}\", ports: [{}]}}\n",
            machine.name,
            machine.mac,
            wake.ip(),
            wake.port(),
        );
    }
    text
}
