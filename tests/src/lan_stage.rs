//! A whole lab on a LAN of network namespaces: two segments, a relay on both, a coordinator on one, sleepers on the other.
//! In: the sleepers. Out: a running lab, what really happened in it, and doors to the coordinator.
//! Holds: the coordinator cannot broadcast to the sleepers, only the relay can; every packet stays in namespaces of ours.
//! Not here: labs on loopback (`stage`), and who asks for machines.
//!
//! ```text
//! control 10.88.0.1 ─┐                                      ┌─ sleeper 10.77.0.11 …
//!                    ├─ rack ─ a1  relay  a0 ─ home ────────┤
//! witness 10.88.0.9 ─┘        10.88.0.2  10.77.0.2          └─ sleeper
//! ```

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::{
    caller::Caller,
    harness::{AgentAccount, Process, WorkDir, programs, wait},
    hollow::{AgentSpec, Berth, HollowMachine, MachineSpec},
    lan::{Cable, Card, Door, Host, Segment, Sniffer},
    recorder::Recorder,
    stage::{NAMESPACE, mac},
};

/// Time for a program to come up, also on a busy machine.
const START: Duration = Duration::from_secs(60);
const BROKER: &str = "mqtt://10.88.0.1:1883";
const GRPC: &str = "127.0.0.1:50051";
const ADMIN: &str = "127.0.0.1:8080";
/// Waits of the coordinator, shortened to match machines that boot at once.
const TIMING: [&str; 9] = [
    "agent_silent=4s",
    "ping_wait=1s",
    "accept=2s",
    "wake_stagger=200ms",
    "wake_repeat=3s",
    "settle=0s",
    "grace=5s",
    "off_reads_apart=500ms",
    "store_retry=500ms",
];

/// A machine that sleeps on the home segment.
#[derive(Debug, Clone, Copy)]
pub struct Sleeper {
    /// Its name; [`mac`] gives its address.
    pub name: &'static str,
    /// The password of its card; empty = none.
    pub secure_on: &'static [u8],
}

/// The relay's two cards, on two segments.
#[derive(Debug)]
pub struct Relay {
    /// The relay.
    pub host: Host,
    /// What its card `a0` is on.
    pub home: Segment,
    /// What its card `a1` is on.
    pub rack: Segment,
    /// Between `a0` and the home segment.
    pub home_cable: Cable,
}

/// The running lab.
#[derive(Debug)]
pub struct LanStage {
    /// What really happened.
    pub recorder: Recorder,
    /// The machines, by name.
    pub machines: BTreeMap<String, HollowMachine>,
    /// The relay and the segments.
    pub relay: Relay,
    /// Listens on the rack segment.
    pub witness: Sniffer,
    sleepers: Vec<Sleeper>,
    control: Host,
    programs: Vec<Process>,
    grpc: Door,
    admin: reqwest::Client,
    _admin_door: Door,
    work: WorkDir,
}

impl Relay {
    /// A relay between two segments, without a default route.
    ///
    /// # Errors
    /// When namespaces cannot be made.
    pub async fn new() -> Result<Self> {
        let (home, rack) = (Segment::new("home")?, Segment::new("rack")?);
        let host = Host::new("relay")?;
        host.plug(card("a1", "10.88.0.2/24"), &rack).await?;
        Ok(Self {
            home_cable: host.plug(card("a0", "10.77.0.2/24"), &home).await?,
            host,
            home,
            rack,
        })
    }
}

impl LanStage {
    /// Builds the lab and waits until the coordinator hears the relay.
    ///
    /// # Errors
    /// When a program is missing or does not come up.
    pub async fn start(sleepers: &[Sleeper], recorder: Recorder) -> Result<Self> {
        // Somebody else in this process may have installed it before.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let relay = Relay::new().await?;
        relay.host.forward()?;
        let (control, witness) = (Host::new("control")?, Host::new("witness")?);
        control
            .plug(card("eth0", "10.88.0.1/24"), &relay.rack)
            .await?;
        witness
            .plug(card("eth0", "10.88.0.9/24"), &relay.rack)
            .await?;
        control.default_route("10.88.0.2")?;
        let grpc = Door::open(&control, GRPC).await?;
        let admin_door = Door::open(&control, ADMIN).await?;
        let admin = reqwest::Client::builder()
            .unix_socket(admin_door.socket())
            .build()
            .context("make an HTTP client")?;
        let mut stage = Self {
            recorder,
            machines: BTreeMap::new(),
            witness: Sniffer::start(&witness, "eth0").await?,
            relay,
            sleepers: sleepers.to_vec(),
            control,
            programs: Vec::new(),
            grpc,
            admin,
            _admin_door: admin_door,
            work: WorkDir::new("lan")?,
        };
        stage.start_broker().await?;
        stage.start_coordinator()?;
        let state = stage
            .until("the coordinator serves", |state| state["serving"] == true)
            .await?;
        let key = state["coordinatorKey"].as_str().context("it has a key")?;
        stage.start_relay(key)?;
        stage.start_machines(key).await?;
        stage
            .until("the relay is heard", |state| {
                state["agents"]["relay"]["live"] == true
            })
            .await?;
        Ok(stage)
    }

    /// A connection to the coordinator's gRPC API.
    ///
    /// # Errors
    /// When the door's path is no address.
    pub fn channel(&self) -> Result<Channel> {
        let address = format!("unix://{}", self.grpc.socket().display());
        Ok(Endpoint::from_shared(address)?.connect_lazy())
    }

    /// A client for single calls of the provider.
    ///
    /// # Errors
    /// As [`LanStage::channel`].
    pub fn caller(&self) -> Result<Caller> {
        Ok(Caller::new(self.channel()?, NAMESPACE))
    }

    /// Waits until the coordinator's `/state` is as it should be, and returns it.
    ///
    /// # Errors
    /// When it never is; with the state last seen.
    pub async fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(START, what, async || {
            let page = self.admin.get(format!("http://{ADMIN}/state")).send();
            let state: Value = page.await.context("ask for /state")?.json().await?;
            if fits(&state) {
                return Ok(state);
            }
            bail!("{}", serde_json::to_string_pretty(&state)?)
        })
        .await
    }

    async fn start_broker(&mut self) -> Result<()> {
        let config = "listener 1883 0.0.0.0\nallow_anonymous true\npersistence false\nuser root\nlog_dest stderr\n";
        let config = self.work.write("mosquitto.conf", config)?;
        // Debian installs it where the PATH of an ordinary user does not look, and this is root's.
        let mut command = self.control.command("mosquitto");
        command.arg("-c").arg(config);
        let mut broker = Process::start(&self.work, "mosquitto", &command)?;
        wait::until(START, "mosquitto to listen", async || {
            broker.check_alive()?;
            let log = std::fs::read_to_string(broker.log()).context("read mosquitto's log")?;
            ensure!(log.contains(" running"), "{log}");
            Ok(())
        })
        .await?;
        self.programs.push(broker);
        Ok(())
    }

    fn start_coordinator(&mut self) -> Result<()> {
        self.work.write("lab/lab.yaml", lab(&self.sleepers))?;
        let mut command = self.control.command(programs::ours("homelab-coordinator")?);
        command.arg("run").arg("--lab").arg(self.work.file("lab"));
        command.arg("--state").arg(self.work.file("state"));
        command.args(["--grpc-address", GRPC, "--admin-address", ADMIN]);
        command.args(["--broker", BROKER]);
        command.args(TIMING.iter().flat_map(|change| ["--timing", change]));
        self.run("coordinator", &command)
    }

    fn start_relay(&mut self, key: &str) -> Result<()> {
        let config = format!(
            "{}state_dir = {:?}\n[relay]\ninterfaces = {{ default = \"a0\" }}\n",
            agent("relay", key).config(&self.work)?,
            self.work.file("relay"),
        );
        let config = self.work.write("relay.toml", config)?;
        let agent = programs::ours("homelab-agent")?;
        let mut command = self.relay.host.command(agent);
        command.arg("run").arg("--config").arg(config);
        self.run("relay", &command)
    }

    fn run(&mut self, name: &str, command: &Command) -> Result<()> {
        self.programs
            .push(Process::start(&self.work, name, command)?);
        Ok(())
    }

    async fn start_machines(&mut self, key: &str) -> Result<()> {
        for (number, sleeper) in (11..).zip(self.sleepers.clone()) {
            let name = sleeper.name;
            let host = Host::new(name)?;
            let address = format!("10.77.0.{number}/24");
            let card = Card {
                mac: Some(mac(name)),
                ..card("eth0", &address)
            };
            host.plug(card, &self.relay.home).await?;
            host.default_route("10.77.0.2")?;
            let agent = AgentSpec::ours(&agent(name, key).config(&self.work)?)?;
            let berth = Berth {
                host,
                nic: "eth0".to_owned(),
                secure_on: sleeper.secure_on.to_vec(),
            };
            let spec = MachineSpec {
                berth: Some(berth),
                agent: Some(agent),
                ..MachineSpec::new(name, mac(name))
            };
            let machine = HollowMachine::start(spec, &self.recorder).await?;
            self.machines.insert(name.to_owned(), machine);
        }
        Ok(())
    }
}

/// A card whose address the kernel picks.
#[must_use]
pub const fn card<'a>(name: &'a str, address: &'a str) -> Card<'a> {
    Card {
        name,
        address,
        mac: None,
    }
}

fn agent(name: &str, key: &str) -> AgentAccount {
    AgentAccount {
        name: name.to_owned(),
        broker: BROKER.to_owned(),
        password: None,
        coordinator_key: key.to_owned(),
        heartbeat: "1s",
    }
}

fn lab(sleepers: &[Sleeper]) -> String {
    let head = "apiVersion: homelab-autoscaler.dev/v1alpha1\n";
    let mut text = format!(
        "{head}kind: Group\nmetadata: {{name: home}}\nspec:\n  template: {{capacity: {{cpu: \"4\", memory: 8Gi}}}}\n"
    );
    for sleeper in sleepers {
        let name = sleeper.name;
        let secure_on: Vec<_> = sleeper
            .secure_on
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let secure_on = match secure_on[..] {
            [] => String::new(),
            _ => format!(", secureOn: \"{}\"", secure_on.join(":")),
        };
        text += &format!(
            "---\n{head}kind: Node\nmetadata: {{name: {name}}}\nspec:\n  group: home\n  \
             wakeOnLAN: {{mac: \"{}\"{secure_on}}}\n  timeouts: {{boot: 30s, stop: 30s, offHold: 3s}}\n",
            mac(name),
        );
    }
    text
}
