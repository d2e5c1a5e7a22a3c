//! A whole lab in a real cluster: control plane, mosquitto, the coordinator's own program, a relay, hollow machines, a recorder.
//! In: a description of the groups. Out: a running lab on loopback, with handles to push and watch it.
//! Holds: a stage begins with an empty cluster and has it to itself; all processes are gone when the value is dropped.
//! Not here: who asks for machines (`autoscaler`), and labs without Kubernetes (`stage`).

mod autoscaler;
mod guided;
mod machines;
pub mod objects;
mod plane;
mod programs;
mod replicas;
mod trail;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Taint;
use kube::Client;
use serde_json::Value;
use tonic::transport::Channel;

use crate::{
    caller::Caller,
    harness::{Coordinator, Mosquitto, Process, Sushy, WorkDir, wait},
    hollow::{HollowMachine, Power},
    recorder::{Recorder, Wish},
};

pub use autoscaler::{Autoscaler, Changes, Excuse, shipped_flags};
pub use plane::{Plane, Planes};
pub use replicas::Replica;
pub use trail::Trail;

/// Time for anything that is waited for; a busy machine with two cores needs a large part of it.
pub const LIMIT: Duration = Duration::from_secs(120);
/// Namespace of groups, machines and pods.
pub const LAB: &str = "lab";
/// Namespace of the coordinator's own objects.
pub const OWN: &str = "homelab-autoscaler-system";
/// The host of everything that listens: where the coordinator issues certificates, it is a name in its own.
const HOST: &str = "127.0.0.1";
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
    /// What single machines declare otherwise than the rest, by name. An edit after the declaration is seen some time later.
    pub otherwise: BTreeMap<&'static str, Value>,
}

/// What is spoken at the coordinator's gRPC API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Plain text, as on loopback.
    Plain,
    /// Mutual TLS with certificates that the coordinator issues, as it is installed.
    Mutual,
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
    /// Agents with a user at the broker whom no object names.
    pub guests: &'static [&'static str],
    /// What the machines do when the lab is declared.
    pub starts: Power,
    /// Labels that kubelets register with.
    pub labels: BTreeMap<String, String>,
    /// Taints that kubelets register with.
    pub taints: Vec<Taint>,
    /// Changes of the coordinator's time limits.
    pub timing: Vec<String>,
    /// Its leadership.
    pub election: Election,
    /// What is spoken at its gRPC API.
    pub speech: Speech,
}

impl Plan {
    /// Sleeping machines beside one small Node that always runs, with every wait shortened.
    #[must_use]
    pub fn quick(groups: Vec<GroupPlan>) -> Self {
        let timing = [
            "agent_silent=15s",
            "lease_silent=20s",
            "ping_wait=1s",
            "accept=2s",
            "wake_stagger=200ms",
            "bmc_poll=500ms",
            "off_reads_apart=500ms",
            "settle=200ms",
            "pods_retry=500ms",
            // Ten machines that boot at once speak late, and so does an agent that rests before it connects again.
            "grace=60s",
            "store_retry=500ms",
        ];
        Self {
            groups,
            others: &["small"],
            guests: &[],
            starts: Power::Off,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            timing: timing.map(str::to_owned).to_vec(),
            // No test waits for its end; a busy API server may be slow for seconds.
            election: Election("60s", "50s", "1s"),
            speech: Speech::Plain,
        }
    }

    /// The same with silence that counts within seconds, for tests that wait for it.
    #[must_use]
    pub fn soon_silent(mut self) -> Self {
        let timing = ["agent_silent=5s", "lease_silent=6s", "grace=15s"];
        self.timing.extend(timing.map(str::to_owned));
        self
    }

    /// The names of all machines.
    pub fn machines(&self) -> impl Iterator<Item = &'static str> {
        self.groups.iter().flat_map(|group| group.machines).copied()
    }
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
    /// The coordinator that the lab began with; [`Replica`]s stand beside it.
    pub coordinator: Coordinator,
    plan: Plan,
    client: Client,
    /// How many coordinators have been started: each is a process with a name of its own.
    starts: usize,
    relay: Option<Process>,
    wake: SocketAddrV4,
    /// What agents know the coordinator by.
    key: String,
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
        let client = plane.client().await?;
        objects::empty(&client).await?;
        let recorder = Recorder::in_memory();
        let broadcast = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), 0);
        let wake = recorder.sniff(broadcast)?;
        let guests = plan.guests.iter().copied();
        let agents: Vec<&str> = plan.machines().chain(["relay"]).chain(guests).collect();
        let mosquitto = Mosquitto::start(&agents).await?;
        let sushy = machines::start_sushy(&plan).await?;
        let mut stage = Self {
            recorder,
            machines: BTreeMap::new(),
            mosquitto,
            sushy,
            coordinator: Coordinator::new()?,
            plan,
            client,
            starts: 0,
            relay: None,
            wake,
            key: String::new(),
            work: WorkDir::new("cluster-stage")?,
            plane,
        };
        stage.start_coordinator().await?;
        stage.key = stage.coordinator.key().await?;
        stage.start_relay()?;
        stage.start_others().await?;
        for group in stage.plan.groups.clone() {
            let machines = stage.shelve(&group).await?;
            stage.machines.extend(machines);
            stage.declare(&group).await?;
        }
        stage
            .until("the relay is heard", |state| {
                state["agents"]["relay"]["live"] == true
            })
            .await?;
        let machines: Vec<&str> = stage.plan.machines().collect();
        stage.until_known(&machines).await?;
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
        self.coordinator.channel()
    }

    /// A client for single calls of the provider.
    ///
    /// # Errors
    /// As [`ClusterStage::channel`].
    pub fn caller(&self) -> Result<Caller> {
        Ok(Caller::new(self.channel()?, LAB))
    }

    /// The coordinator's `/state` page.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn state(&self) -> Result<Value> {
        self.coordinator.state().await
    }

    /// The address of the coordinator's pages.
    #[must_use]
    pub fn admin(&self) -> &str {
        &self.coordinator.ports().admin
    }

    /// One of the coordinator's pages, whatever its status.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn page(&self, path: &str) -> Result<String> {
        self.coordinator.page(path).await
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
        self.coordinator.until(what, fits).await
    }

    /// Waits until the coordinator knows all of these machines.
    ///
    /// # Errors
    /// When it never does.
    pub async fn until_known(&self, machines: &[&str]) -> Result<()> {
        let known = |state: &Value| {
            let mut machines = machines.iter();
            machines.all(|name| state["machines"][*name].is_object())
        };
        self.until("the machines are known", known).await.map(drop)
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
        self.coordinator.kill();
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
        self.coordinator.kill();
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
