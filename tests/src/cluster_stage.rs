//! A whole lab in a real cluster: control plane, mosquitto, the coordinator's own program, a relay, hollow machines, a recorder.
//! In: a description of the groups. Out: a running lab on loopback, with handles to push and watch it.
//! Holds: a stage begins with an empty cluster and has it to itself; all processes are gone when the value is dropped.
//! Not here: who asks for machines (`autoscaler`), and labs without Kubernetes (`stage`).

mod autoscaler;
mod machines;
pub mod objects;
mod plane;
mod programs;
mod trail;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::Client;
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::{
    harness::{Mosquitto, Process, Sushy, WorkDir, wait},
    hollow::{HollowMachine, Power},
    recorder::{Recorder, Wish},
};

pub use autoscaler::{Autoscaler, REAL};
pub use plane::{Plane, Planes};
pub use trail::Trail;

/// Time for anything that is waited for; a busy machine with two cores needs a large part of it.
pub const LIMIT: Duration = Duration::from_secs(120);
/// Namespace of groups, machines and pods.
pub const LAB: &str = "lab";
/// Namespace of the coordinator's own objects.
const OWN: &str = "homelab-autoscaler-system";
/// Our taint: it stands exactly while a machine is ordered off.
pub const POWER_OFF: &str = "homelab-autoscaler.dev/power-off";

/// How machines of a group are woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// By magic packet.
    Packet,
    /// By sushy-tools.
    Redfish,
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
    /// Its spec.
    pub spec: Value,
}

/// How leadership is timed: lease, renew deadline, retry period.
#[derive(Debug, Clone, Copy)]
pub struct Election(pub &'static str, pub &'static str, pub &'static str);

/// The lab to build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Groups and machines.
    pub groups: Vec<GroupPlan>,
    /// Names of Nodes that always run and belong to nobody.
    pub others: &'static [&'static str],
    /// What the machines do when the lab is declared.
    pub starts: Power,
    /// Labels that kubelets register with.
    pub labels: BTreeMap<String, String>,
    /// Changes of the coordinator's time limits.
    pub timing: Vec<String>,
    /// Its leadership.
    pub election: Election,
}

impl Plan {
    /// Sleeping machines beside one small Node that always runs, with every wait shortened.
    #[must_use]
    pub fn quick(groups: Vec<GroupPlan>) -> Self {
        let timing = [
            "agent_silent=5s",
            "lease_silent=6s",
            "ping_wait=1s",
            "accept=2s",
            "wake_stagger=200ms",
            "bmc_poll=500ms",
            "off_reads_apart=500ms",
            "settle=200ms",
            "pods_retry=500ms",
            "grace=5s",
            "store_retry=500ms",
        ];
        Self {
            groups,
            others: &["small"],
            starts: Power::Off,
            labels: BTreeMap::new(),
            timing: timing.map(str::to_owned).to_vec(),
            election: Election("15s", "10s", "500ms"),
        }
    }

    /// The names of all machines.
    pub fn machines(&self) -> impl Iterator<Item = &'static str> {
        self.groups.iter().flat_map(|group| group.machines).copied()
    }
}

/// Where the coordinator answers.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Its gRPC API.
    pub grpc: String,
    /// Its pages.
    pub admin: String,
}

/// The running lab.
pub struct ClusterStage {
    /// What really happened.
    pub recorder: Recorder,
    /// The machines, by name.
    pub machines: BTreeMap<String, HollowMachine>,
    /// The agents' broker.
    pub mosquitto: Mosquitto,
    /// The BMC of all machines that have one.
    pub sushy: Option<Arc<Sushy>>,
    plan: Plan,
    client: Client,
    coordinator: Option<Process>,
    /// How many coordinators have been started: each is a process with a name of its own.
    starts: usize,
    relay: Option<Process>,
    ports: Ports,
    wake: SocketAddrV4,
    http: reqwest::Client,
    work: WorkDir,
    /// Dropped last, so that the next stage finds nothing of this one running.
    pub plane: Plane,
}

impl ClusterStage {
    /// Builds the lab in an emptied cluster, declares it, and waits until the coordinator knows every machine and hears the relay.
    ///
    /// # Errors
    /// When a program is missing or does not come up.
    pub async fn start(plan: Plan, plane: Plane) -> Result<Self> {
        // Somebody else in this process may have installed it before.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let client = plane.client().await?;
        objects::empty(&client).await?;
        let recorder = Recorder::in_memory();
        let broadcast = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), 0);
        let wake = recorder.sniff(broadcast)?;
        let agents: Vec<&str> = plan.machines().chain(["relay"]).collect();
        let mosquitto = Mosquitto::start(&agents).await?;
        let sushy = machines::start_sushy(&plan).await?;
        let mut stage = Self {
            recorder,
            machines: BTreeMap::new(),
            mosquitto,
            sushy,
            plan,
            client,
            coordinator: None,
            starts: 0,
            relay: None,
            ports: Ports {
                grpc: "127.0.0.1:0".to_owned(),
                admin: "127.0.0.1:0".to_owned(),
            },
            wake,
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .context("make an HTTP client")?,
            work: WorkDir::new("cluster-stage")?,
            plane,
        };
        stage.start_coordinator().await?;
        let key = stage.coordinator_key().await?;
        stage.start_relay(&key)?;
        stage.start_machines(&key).await?;
        stage.declare().await?;
        stage
            .until("relay and machines are known", |state| {
                let machines = state["machines"]
                    .as_object()
                    .map_or(0, serde_json::Map::len);
                state["agents"]["relay"]["live"] == true
                    && machines == stage.plan.machines().count()
            })
            .await?;
        Ok(stage)
    }

    /// A client with the rights of a cluster admin.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
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
        let page = self.page("/state").await?;
        serde_json::from_str(&page).context("read /state")
    }

    /// One of the coordinator's pages, whatever its status.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn page(&self, path: &str) -> Result<String> {
        let url = format!("http://{}{path}", self.ports.admin);
        let page = self.http.get(url).send().await;
        page.with_context(|| format!("ask for {path}"))?
            .text()
            .await
            .with_context(|| format!("read {path}"))
    }

    /// Writes to the API server so far, by kind.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn api_writes(&self) -> Result<BTreeMap<String, u64>> {
        let page = self.page("/metrics").await?;
        let prefix = "homelab_autoscaler_api_writes_total{kind=\"";
        let lines = page.lines().filter_map(|line| line.strip_prefix(prefix));
        lines
            .map(|line| {
                let (kind, count) = line.split_once("\"} ").context("a labelled counter")?;
                Ok((kind.to_owned(), count.parse()?))
            })
            .collect()
    }

    /// Waits until the state is as it should be, and returns it.
    ///
    /// # Errors
    /// When it never is; with the machines last seen.
    pub async fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(LIMIT, what, async || {
            let state = self.state().await?;
            ensure!(
                fits(&state),
                "{}",
                serde_json::to_string_pretty(&state["machines"])?
            );
            Ok(state)
        })
        .await
    }

    /// Waits until the coordinator shows a machine in this phase.
    ///
    /// # Errors
    /// When it never does.
    pub async fn until_phase(&self, machine: &str, phase: &str) -> Result<()> {
        let what = format!("{machine} in phase {phase}");
        self.until(&what, |state| state["machines"][machine]["phase"] == phase)
            .await
            .map(drop)
    }

    /// Waits until `/readyz?verbose` has this line.
    ///
    /// # Errors
    /// When it never has.
    pub async fn until_readyz(&self, line: &str) -> Result<()> {
        wait::until(LIMIT, line, async || {
            let page = self.page("/readyz?verbose").await?;
            ensure!(page.lines().any(|shown| shown == line), "{page}");
            Ok(())
        })
        .await
    }

    /// Kills the coordinator without warning.
    pub fn kill_coordinator(&mut self) {
        self.coordinator = None;
    }

    /// Tells the recorder that one machine of a group is going to be asked for.
    pub fn expect_one_of(&self, group: &str) {
        let of_group = self.plan.groups.iter().filter(|plan| plan.name == group);
        let names: Vec<&str> = of_group.flat_map(|plan| plan.machines).copied().collect();
        self.recorder.ask_any(&names, 1, Wish::On);
    }
}

impl Drop for ClusterStage {
    fn drop(&mut self) {
        self.machines.clear();
        self.relay = None;
        self.coordinator = None;
    }
}

/// The id that the autoscaler knows a group by.
#[must_use]
pub fn group_id(name: &str) -> String {
    format!("{LAB}/{name}")
}

/// The provider id that a machine is promised to have.
#[must_use]
pub fn provider_id(machine: &str) -> String {
    format!("homelab://{LAB}/{machine}")
}
