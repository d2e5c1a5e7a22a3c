//! A whole lab without Kubernetes: the coordinator's own program, a relay, hollow machines, a recorder.
//! In: a description of the machines. Out: a running lab on loopback, with handles to push and watch it.
//! Holds: every port is chosen by the system; all of it is gone when the value is dropped.
//! Not here: who asks for machines (`ca_model`), and scenarios in a cluster.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use tonic::transport::Channel;

use crate::{
    caller::Caller,
    harness::{AgentAccount, BmcLogin, Coordinator, Ports, Process, WorkDir},
    hollow::{AgentSpec, Bmc, HollowMachine, MachineSpec},
    mock_bmc::{BmcOptions, MockBmc},
    recorder::{Mac, Recorder},
};

/// User and password of every BMC of a lab.
pub const BMC_LOGIN: (&str, &str) = ("power", "secret");
/// The namespace that machines without one get.
pub const NAMESPACE: &str = "default";

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
    coordinator: Coordinator,
    relay: Option<Process>,
    wake: SocketAddrV4,
    work: WorkDir,
}

impl Stage {
    /// Builds the lab and waits until the coordinator serves and the relay is heard.
    ///
    /// # Errors
    /// When a program is missing or does not come up.
    pub async fn start(plan: Plan, recorder: Recorder) -> Result<Self> {
        let work = WorkDir::new("stage")?;
        let broadcast = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), 0);
        let wake = recorder.sniff(broadcast)?;
        let systems = names(&plan, Woken::Bmc).map(str::to_owned).collect();
        let (user, password) = BMC_LOGIN;
        let login = Some((user.to_owned(), password.to_owned()));
        let bmc = MockBmc::start(BmcOptions { login, systems }, recorder.clone()).await?;
        work.write("lab/lab.yaml", lab(&plan, wake, &bmc.url()))?;
        let mut stage = Self {
            recorder,
            machines: BTreeMap::new(),
            bmc,
            plan,
            coordinator: Coordinator::new()?,
            relay: None,
            wake,
            work,
        };
        stage.start_coordinator().await?;
        let key = stage.coordinator.key().await?;
        stage.start_relay(&key)?;
        stage.start_machines(&key).await?;
        stage
            .until("the relay is heard", |state| {
                state["agents"]["relay"]["live"] == true
            })
            .await?;
        Ok(stage)
    }

    /// Starts the coordinator, the second time and later on the same state and at the same addresses.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_coordinator(&mut self) -> Result<()> {
        let mut command = Coordinator::command(&self.plan.timing)?;
        command.arg("--lab").arg(self.work.file("lab"));
        command.arg("--state").arg(self.work.file("state"));
        command.arg("--socket").arg(self.socket());
        match &self.plan.broker {
            None => {
                let address = self
                    .coordinator
                    .ports()
                    .broker
                    .trim_start_matches("mqtt://");
                command.args(["--embedded-broker", address])
            }
            Some(broker) => {
                let (url, password) = &broker.coordinator;
                let password = self.work.write("coordinator.password", password)?;
                command
                    .args(["--broker", url])
                    .arg("--broker-password-file")
                    .arg(password)
            }
        };
        self.coordinator.start(&self.work, command).await
    }

    fn agent(&self, name: &str, key: &str) -> Result<AgentAccount> {
        let (broker, password) = match &self.plan.broker {
            None => (&self.coordinator.ports().broker, None),
            Some(broker) => {
                let password = broker.agents.get(name);
                let password = password.with_context(|| format!("{name} has no password"))?;
                (&broker.url, Some(password.clone()))
            }
        };
        Ok(AgentAccount {
            name: name.to_owned(),
            broker: broker.clone(),
            password,
            coordinator_key: key.to_owned(),
            heartbeat: self.plan.heartbeat,
        })
    }

    fn start_relay(&mut self, key: &str) -> Result<()> {
        let bmc = BmcLogin {
            login: BMC_LOGIN,
            host: self.bmc.url(),
        };
        let relay = self.agent("relay", key)?;
        self.relay = Some(relay.start_relay(&self.work, Some(bmc))?);
        Ok(())
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
                let config = self.agent(name, key)?.config(&self.work)?;
                spec.agent = Some(AgentSpec::ours(&config)?);
                let machine = HollowMachine::start(spec, &self.recorder).await?;
                self.machines.insert((*name).to_owned(), machine);
            }
        }
        Ok(())
    }

    /// Where the coordinator answers now.
    #[must_use]
    pub const fn ports(&self) -> &Ports {
        self.coordinator.ports()
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
        self.coordinator.channel()
    }

    /// A client for single calls of the provider.
    ///
    /// # Errors
    /// As [`Stage::channel`].
    pub fn caller(&self) -> Result<Caller> {
        Ok(Caller::new(self.channel()?, NAMESPACE))
    }

    /// The coordinator's `/state` page.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn state(&self) -> Result<Value> {
        self.coordinator.state().await
    }

    /// Waits until the state is as it should be, and returns it.
    ///
    /// # Errors
    /// When it never is; with the machines last seen.
    pub async fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        self.coordinator.until(what, fits).await
    }

    /// Kills the coordinator without warning.
    pub fn kill_coordinator(&mut self) {
        self.coordinator.kill();
    }
}

/// The name of a machine's provider id.
#[must_use]
pub fn machine_of(provider_id: &str) -> Option<String> {
    provider_id
        .strip_prefix(&format!("homelab://{NAMESPACE}/"))
        .map(str::to_owned)
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
