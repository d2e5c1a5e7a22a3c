//! A whole lab without Kubernetes: the coordinator's own program, a relay, hollow machines, a recorder.
//! In: a description of the machines. Out: a running lab on loopback, with handles to push and watch it.
//! Holds: every port is chosen by the system; all of it is gone when the value is dropped.
//! Not here: who asks for machines (`ca_model`), and scenarios in a cluster.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::{
    harness::{Process, WorkDir, programs, wait},
    hollow::{AgentSpec, Bmc, HollowMachine, MachineSpec},
    mock_bmc::{BmcOptions, MockBmc},
    recorder::{Mac, Recorder},
};

/// Time for a program of ours to come up, also on a busy machine.
const START: Duration = Duration::from_secs(60);
/// The namespace that machines without one get.
const NAMESPACE: &str = "default";

/// How machines of a group are woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// By magic packet.
    Packet,
    /// By the mock BMC.
    Bmc,
}

/// One group of machines.
#[derive(Debug, Clone)]
pub struct GroupPlan {
    /// Its name.
    pub name: &'static str,
    /// How its machines are woken.
    pub woken: Woken,
    /// Its machines.
    pub machines: &'static [&'static str],
    /// YAML lines of its spec, each indented by two spaces.
    pub spec: &'static str,
}

/// The lab to build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Groups and machines.
    pub groups: Vec<GroupPlan>,
    /// From power on to a running agent.
    pub boot: Duration,
    /// From the shutdown order to power off.
    pub shutdown: Duration,
    /// Changes of the coordinator's time limits.
    pub timing: Vec<String>,
    /// Between heartbeats of every agent.
    pub heartbeat: &'static str,
    /// A machine's `timeouts`, as YAML.
    pub timeouts: &'static str,
    /// A broker that runs already, instead of the embedded one.
    pub broker: Option<ExternalBroker>,
}

/// A broker outside of the coordinator, with one user for everybody.
#[derive(Debug, Clone)]
pub struct ExternalBroker {
    /// For the coordinator, `mqtt://user@host:port`.
    pub coordinator: (String, String),
    /// For each agent: user name and password.
    pub agents: BTreeMap<String, String>,
    /// Without a user.
    pub url: String,
}

impl Plan {
    /// Machines that boot in a second, with every wait shortened to match.
    #[must_use]
    pub fn quick(groups: Vec<GroupPlan>) -> Self {
        let timing = [
            "agent_silent=4s",
            "ping_wait=1s",
            "accept=2s",
            "wake_stagger=200ms",
            "wake_repeat=3s",
            "bmc_poll=500ms",
            "off_reads_apart=500ms",
            "settle=0s",
            "grace=5s",
            "store_retry=500ms",
        ];
        Self {
            groups,
            boot: Duration::from_secs(1),
            shutdown: Duration::from_millis(500),
            timing: timing.map(str::to_owned).to_vec(),
            heartbeat: "1s",
            timeouts: "{boot: 30s, stop: 30s, offHold: 3s}",
            broker: None,
        }
    }
}

/// Where the coordinator answers.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Its gRPC API.
    pub grpc: String,
    /// Its pages.
    pub admin: String,
    /// The broker.
    pub broker: String,
}

/// The running lab.
#[derive(Debug)]
pub struct Stage {
    /// What really happened.
    pub recorder: Recorder,
    /// The machines, by name.
    pub machines: BTreeMap<String, HollowMachine>,
    /// The mock BMC behind every machine that has one.
    pub bmc: MockBmc,
    plan: Plan,
    coordinator: Option<Process>,
    relay: Option<Process>,
    ports: Ports,
    wake: SocketAddrV4,
    http: reqwest::Client,
    work: WorkDir,
}

impl Stage {
    /// Builds the lab and waits until the coordinator serves and the relay is heard.
    ///
    /// # Errors
    /// When a program is missing or does not come up.
    pub async fn start(plan: Plan, recorder: Recorder) -> Result<Self> {
        // Somebody else in this process may have installed it before.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let work = WorkDir::new("stage")?;
        let broadcast = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), 0);
        let wake = recorder.sniff(broadcast)?;
        let systems = names(&plan, Woken::Bmc).map(str::to_owned).collect();
        let login = Some(("power".to_owned(), "secret".to_owned()));
        let bmc = MockBmc::start(BmcOptions { login, systems }, recorder.clone()).await?;
        work.write("lab/lab.yaml", lab(&plan, wake, &bmc.url()))?;
        let mut stage = Self {
            recorder,
            machines: BTreeMap::new(),
            bmc,
            plan,
            coordinator: None,
            relay: None,
            ports: Ports {
                grpc: String::new(),
                admin: String::new(),
                broker: String::new(),
            },
            wake,
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .context("make an HTTP client")?,
            work,
        };
        stage
            .start_coordinator("127.0.0.1:0", "127.0.0.1:0")
            .await?;
        let key = stage.coordinator_key().await?;
        stage.start_relay(&key)?;
        stage.start_machines(&key).await?;
        stage
            .until("the relay is heard", |state| {
                state["agents"]["relay"]["live"] == true
            })
            .await?;
        Ok(stage)
    }

    async fn start_coordinator(&mut self, grpc: &str, broker: &str) -> Result<()> {
        let ports_file = self.work.file("ports.json");
        if ports_file.exists() {
            std::fs::remove_file(&ports_file).context("remove the old ports file")?;
        }
        let mut command = Command::new(programs::ours("homelab-coordinator")?);
        command.arg("run").arg("--lab").arg(self.work.file("lab"));
        command.arg("--state").arg(self.work.file("state"));
        command.arg("--socket").arg(self.socket());
        command.arg("--ports-file").arg(&ports_file);
        command.args(["--grpc-address", grpc, "--admin-address", "127.0.0.1:0"]);
        match &self.plan.broker {
            None => command.args(["--embedded-broker", broker]),
            Some(broker) => {
                let password = self
                    .work
                    .write("coordinator.password", &broker.coordinator.1)?;
                command
                    .args(["--broker", &broker.coordinator.0])
                    .arg("--broker-password-file")
                    .arg(password)
            }
        };
        for change in &self.plan.timing {
            command.args(["--timing", change]);
        }
        let mut process = Process::start(&self.work, "coordinator", &command)?;
        self.ports = wait::until(START, "the coordinator tells its ports", async || {
            process.check_alive()?;
            read_ports(&ports_file)
        })
        .await?;
        self.coordinator = Some(process);
        self.until("the coordinator serves", |state| state["serving"] == true)
            .await?;
        Ok(())
    }

    fn start_relay(&mut self, key: &str) -> Result<()> {
        let authority = self.bmc.url();
        self.work.write("relay/credentials/bmc.username", "power")?;
        self.work
            .write("relay/credentials/bmc.password", "secret")?;
        self.work.write("relay/credentials/bmc.hosts", authority)?;
        let config = format!(
            "{}state_dir = {:?}\n[relay]\ncredentials = {:?}\n",
            self.agent_config("relay", key)?,
            self.work.file("relay/state"),
            self.work.file("relay/credentials"),
        );
        let config = self.work.write("relay/agent.toml", config)?;
        let mut command = Command::new(programs::ours("homelab-agent")?);
        command.arg("run").arg("--config").arg(config);
        self.relay = Some(Process::start(&self.work, "relay", &command)?);
        Ok(())
    }

    fn agent_config(&self, name: &str, key: &str) -> Result<String> {
        let (broker, password) = match &self.plan.broker {
            None => (self.ports.broker.clone(), String::new()),
            Some(broker) => {
                let password = broker
                    .agents
                    .get(name)
                    .with_context(|| format!("{name} has no password"))?;
                let file = self.work.write(&format!("{name}.password"), password)?;
                (broker.url.clone(), format!("password_file = {file:?}\n"))
            }
        };
        Ok(format!(
            "id = {name:?}\nbroker = {broker:?}\ncoordinator_key = {key:?}\nheartbeat = {:?}\n{password}",
            self.plan.heartbeat,
        ))
    }

    async fn start_machines(&mut self, key: &str) -> Result<()> {
        for group in self.plan.groups.clone() {
            for name in group.machines {
                let mut spec = MachineSpec::new(name, mac(name));
                match group.woken {
                    Woken::Packet => spec.wake.push(self.wake),
                    Woken::Bmc => {
                        let bmc = self.bmc.clone();
                        spec.bmc = Some(Bmc::Mock {
                            bmc,
                            system: (*name).to_owned(),
                        });
                    }
                }
                spec.boot = self.plan.boot;
                spec.shutdown = self.plan.shutdown;
                let config = self.agent_config(name, key)?;
                let config = format!("{config}power_acts_per_hour = 10000\n");
                spec.agent = Some(AgentSpec {
                    program: programs::ours("homelab-agent")?,
                    host_program: programs::ours("hollow-host")?,
                    config: config.parse().context("the machine's configuration")?,
                    environment: Vec::new(),
                });
                let machine = HollowMachine::start(spec, &self.recorder).await?;
                self.machines.insert((*name).to_owned(), machine);
            }
        }
        Ok(())
    }

    /// Where the coordinator answers now.
    #[must_use]
    pub const fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The coordinator's local socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.work.file("coordinator.sock")
    }

    /// The folder with the lab's documents.
    #[must_use]
    pub fn lab_folder(&self) -> PathBuf {
        self.work.file("lab")
    }

    /// A connection to the gRPC API, made at its first call and again whenever it broke.
    ///
    /// # Errors
    /// Never for an address that the coordinator has told.
    pub fn channel(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.ports.grpc))?;
        Ok(endpoint.connect_lazy())
    }

    /// The coordinator's `/state` page.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn state(&self) -> Result<Value> {
        let page = self
            .http
            .get(format!("http://{}/state", self.ports.admin))
            .send()
            .await
            .context("ask for /state")?;
        page.json().await.context("read /state")
    }

    async fn coordinator_key(&self) -> Result<String> {
        let state = self
            .until("the coordinator's key", |state| {
                state["coordinatorKey"].is_string()
            })
            .await?;
        Ok(state["coordinatorKey"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Waits until the state is as it should be, and returns it.
    ///
    /// # Errors
    /// When it never is; with the state last seen.
    pub async fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(START, what, async || {
            let state = self.state().await?;
            if fits(&state) {
                return Ok(state);
            }
            bail!("{}", serde_json::to_string_pretty(&state["machines"])?)
        })
        .await
    }

    /// Kills the coordinator without warning.
    pub fn kill_coordinator(&mut self) {
        self.coordinator = None;
    }

    /// Starts the coordinator again, on the same state and the same addresses.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_coordinator_again(&mut self) -> Result<()> {
        let grpc = self.ports.grpc.clone();
        let broker = self.ports.broker.trim_start_matches("mqtt://").to_owned();
        self.start_coordinator(&grpc, &broker).await
    }
}

/// The name of a machine's provider id.
#[must_use]
pub fn machine_of(provider_id: &str) -> Option<String> {
    provider_id
        .strip_prefix(&format!("homelab://{NAMESPACE}/"))
        .map(str::to_owned)
}

fn read_ports(file: &PathBuf) -> Result<Ports> {
    let text = std::fs::read_to_string(file).context("read the ports file")?;
    let ports: Value = serde_json::from_str(&text).context("parse the ports file")?;
    let text = |name: &str| {
        ports[name]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no {name} port"))
    };
    Ok(Ports {
        grpc: text("grpc")?,
        admin: text("admin")?,
        broker: text("broker")?,
    })
}

fn names(plan: &Plan, woken: Woken) -> impl Iterator<Item = &'static str> {
    plan.groups
        .iter()
        .filter(move |group| group.woken == woken)
        .flat_map(|group| group.machines)
        .copied()
}

/// A locally administered address that the name determines.
#[must_use]
pub fn mac(name: &str) -> Mac {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = hash.to_be_bytes();
    Mac([0x52, 0x54, a, b, c, d])
}

fn lab(plan: &Plan, wake: SocketAddrV4, bmc: &str) -> String {
    let head = "apiVersion: homelab-autoscaler.dev/v1alpha1\n";
    let mut text = String::new();
    for group in &plan.groups {
        let spec = if group.spec.is_empty() {
            "spec: {}\n".to_owned()
        } else {
            format!("spec:\n{}\n", group.spec)
        };
        text += &format!(
            "---\n{head}kind: Group\nmetadata: {{name: {}}}\n{spec}",
            group.name
        );
        for name in group.machines {
            let power = match group.woken {
                Woken::Packet => format!(
                    "wakeOnLAN: {{mac: \"{}\", broadcast: \"{}\", ports: [{}]}}",
                    mac(name),
                    wake.ip(),
                    wake.port(),
                ),
                Woken::Bmc => {
                    format!("redfish: {{address: \"{bmc}\", credentials: bmc, system: \"{name}\"}}")
                }
            };
            text += &format!(
                "---\n{head}kind: Node\nmetadata: {{name: {name}}}\nspec:\n  group: {}\n  {power}\n  timeouts: {}\n",
                group.name, plan.timeouts,
            );
        }
    }
    text
}
