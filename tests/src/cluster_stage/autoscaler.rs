//! Who asks for machines: a real cluster-autoscaler where one is given, the model otherwise.
//! Out: how often it has looked, what it changed, what it complained of, whether it finds the cluster healthy; the same of both.
//! Holds: the test says which of them it had.

use std::{ffi::OsStr, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tonic::transport::{Channel, Endpoint};

use super::{ClusterStage, LIMIT, OWN};
use crate::{
    ca_model::{CaModel, Event, Options, Rpc, RunningModel, cluster::kubernetes::Kubernetes},
    harness::{Account, Port, Process, shipped, wait},
};

/// Names a real cluster-autoscaler.
pub(super) const REAL: &str = "CLUSTER_AUTOSCALER_BIN";

/// Said after the flags that are shipped, so these hold: they shorten what a test would wait for.
const FLAGS: [&str; 18] = [
    "--leader-elect=false",
    "--v=4",
    "--scan-interval=1s",
    "--scale-down-unneeded-time=5s",
    "--scale-down-delay-after-add=2s",
    "--scale-down-delay-after-delete=0s",
    "--scale-down-delay-after-failure=2s",
    "--unremovable-node-recheck-timeout=1s",
    "--node-delete-delay-after-taint=0s",
    "--initial-node-group-backoff-duration=3s",
    "--max-node-group-backoff-duration=6s",
    "--node-group-backoff-reset-timeout=30s",
    "--max-graceful-termination-sec=2",
    "--max-pod-eviction-time=5s",
    "--skip-nodes-with-system-pods=false",
    "--skip-nodes-with-local-storage=false",
    "--write-status-configmap=true",
    "--logtostderr=true",
];

/// A running autoscaler; dropping it is `kill -9`.
#[derive(Debug)]
pub enum Autoscaler {
    /// The model in this process.
    Model(RunningModel),
    /// The real program.
    Real(Box<Real>),
}

/// The real program.
#[derive(Debug)]
pub struct Real {
    process: Process,
    /// Of its metrics.
    port: Port,
    http: reqwest::Client,
    statuses: Api<ConfigMap>,
}

/// Which complaints do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    /// All count.
    Nothing,
    /// Those of calls to a coordinator or an API server that the test had taken away.
    Outages,
}

/// By how many machines the groups have grown and shrunk, as the autoscaler counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changes {
    /// Machines asked for.
    pub grown: u64,
    /// Nodes removed.
    pub shrunk: u64,
}

impl ClusterStage {
    /// Settings of a model that does not make a test wait.
    #[must_use]
    pub fn model_options() -> Options {
        Options {
            scan_interval: Duration::from_millis(500),
            unneeded_time: Duration::from_secs(2),
            delay_after_add: Duration::from_secs(1),
            // What is slow for once must not count as broken; the times are those of the real program.
            grpc_timeout: Duration::from_secs(60),
            unready_time: Duration::from_secs(1_200),
            provision_time: Duration::from_secs(900),
            startup_time: Duration::from_secs(900),
            ..Options::default()
        }
    }

    /// A model of the autoscaler at this lab, not running yet.
    ///
    /// # Errors
    /// Never for an address that the coordinator has told.
    pub fn model(&self) -> Result<CaModel<Kubernetes>> {
        Ok(self.model_over(self.channel()?))
    }

    pub(super) fn model_over(&self, channel: Channel) -> CaModel<Kubernetes> {
        let cluster = Kubernetes::new(self.client());
        CaModel::over(channel, cluster, Self::model_options())
    }

    /// Starts the program that the environment names, or the model, and says which.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn autoscaler(&self) -> Result<Autoscaler> {
        self.autoscaler_at(&self.coordinator.ports().grpc)
    }

    /// The same, with another address that leads to the provider.
    ///
    /// # Errors
    /// When the program does not start, or that is no address.
    #[expect(clippy::print_stderr, reason = "people must know which one was tested")]
    pub fn autoscaler_at(&self, address: &str) -> Result<Autoscaler> {
        if let Some(real) = self.real_autoscaler_at(address, &[])? {
            eprintln!("the autoscaler that {REAL} names asks for machines");
            return Ok(real);
        }
        eprintln!("{REAL} is not set: the model asks for machines");
        self.model_autoscaler_at(address)
    }

    /// Starts the model, whatever the environment names, with an address that leads to the provider.
    ///
    /// # Errors
    /// When that is no address.
    pub fn model_autoscaler_at(&self, address: &str) -> Result<Autoscaler> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
        Ok(Autoscaler::Model(self.model_over(channel).spawn()))
    }

    /// Starts the program that the environment names, if it names one, with flags beside those of every test.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn real_autoscaler(&self, flags: &[&str]) -> Result<Option<Autoscaler>> {
        self.real_autoscaler_at(&self.coordinator.ports().grpc, flags)
    }

    /// The same, with another address that leads to the provider.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn real_autoscaler_at(&self, address: &str, flags: &[&str]) -> Result<Option<Autoscaler>> {
        let Some(program) = std::env::var_os(REAL) else {
            return Ok(None);
        };
        let config = format!("address: \"{address}\"\ngrpc_timeout: 5s\n");
        self.real_with(&program, &config, flags).map(Some)
    }

    /// Starts a program with the flags that are shipped, those of every test, and these, and with a cloud config.
    pub(super) fn real_with(
        &self,
        program: &OsStr,
        config: &str,
        flags: &[&str],
    ) -> Result<Autoscaler> {
        let config = self.work.write("cloud-config.yaml", config)?;
        let port = Port::reserve()?;
        let mut command = Command::new(program);
        let rights = self.plane.kubeconfig_of(Account::ClusterAutoscaler);
        command
            .args(shipped_flags()?)
            .args(FLAGS)
            .args(flags)
            .arg(format!("--cloud-config={}", config.display()))
            .arg(format!("--kubeconfig={}", rights.display()))
            .arg(format!("--address=127.0.0.1:{}", port.number()));
        let process = Process::start(&self.work, "cluster-autoscaler", &command)?;
        Ok(Autoscaler::Real(Box::new(Real {
            process,
            port,
            http: reqwest::Client::builder().no_proxy().build()?,
            statuses: Api::namespaced(self.client(), OWN),
        })))
    }
}

/// The flags of `deploy/cluster-autoscaler.yaml`: what is installed is what is tested.
///
/// # Errors
/// The file holds no Deployment with flags.
pub fn shipped_flags() -> Result<Vec<String>> {
    let objects = shipped("cluster-autoscaler.yaml")?;
    let mut kinds = objects.iter();
    let deployment = kinds.find(|object| object["kind"] == "Deployment");
    let containers = &deployment.context("a Deployment")?["spec"]["template"]["spec"]["containers"];
    serde_json::from_value(containers[0]["args"].clone()).context("its flags")
}

impl Autoscaler {
    /// What went wrong in its eyes: failures of the model, lines with "Failed to" in the log of the real one.
    ///
    /// # Errors
    /// When the log cannot be read, or the program has ended.
    pub fn failures(&mut self, excuse: Excuse) -> Result<Vec<String>> {
        let mut failures = match self {
            Self::Model(model) => {
                let failures = model.events.failures().into_iter();
                failures.map(|event| format!("{event:?}")).collect()
            }
            Self::Real(real) => real.complaints()?,
        };
        failures.retain(|failure| excuse == Excuse::Nothing || !is_outage(failure));
        Ok(failures)
    }

    /// Waits until it has looked at everything so often again.
    ///
    /// # Errors
    /// When it does not, or the program has ended.
    pub async fn until_loops(&mut self, more: u64) -> Result<()> {
        let before = self.loops().await.unwrap_or_default();
        wait::until(LIMIT, "more loops of the autoscaler", async || {
            let loops = self.loops().await?;
            ensure!(loops >= before + more, "{loops} loops, before {before}");
            Ok(())
        })
        .await
    }

    async fn loops(&mut self) -> Result<u64> {
        match self {
            Self::Model(model) => Ok(model.calls.of(Rpc::Refresh).len() as u64),
            Self::Real(real) => {
                real.sum("function_duration_seconds_count{function=\"main\"}")
                    .await
            }
        }
    }

    /// What it has changed so far.
    ///
    /// # Errors
    /// When the program has ended.
    pub async fn changes(&mut self) -> Result<Changes> {
        match self {
            Self::Model(model) => {
                let mut changes = Changes {
                    grown: 0,
                    shrunk: 0,
                };
                for event in model.events.all() {
                    if let Event::ScaledUp { delta, .. } = &event {
                        changes.grown += u64::from(delta.unsigned_abs());
                    }
                    changes.shrunk += u64::from(matches!(event, Event::ScaledDown { .. }));
                }
                Ok(changes)
            }
            Self::Real(real) => Ok(Changes {
                grown: real.sum("scaled_up_nodes_total").await?,
                shrunk: real.sum("scaled_down_nodes_total").await?,
            }),
        }
    }

    /// Whether it finds the cluster healthy, and so does anything at all: the model has always, the real one's status says so.
    ///
    /// # Errors
    /// When the program has ended or has written no status.
    pub async fn finds_healthy(&mut self) -> Result<bool> {
        match self {
            Self::Model(model) => Ok(!model.events.all().contains(&Event::ClusterUnhealthy)),
            Self::Real(real) => {
                let safe = real.sum("cluster_safe_to_autoscale").await?;
                Ok(safe == 1 && real.status_is_healthy().await?)
            }
        }
    }
}

impl Real {
    fn complaints(&mut self) -> Result<Vec<String>> {
        self.process.check_alive()?;
        let log = std::fs::read_to_string(self.process.log()).context("read the log")?;
        let bad = log
            .lines()
            .filter(|line| line.contains("Failed to") || line.starts_with("panic:"));
        Ok(bad.map(str::to_owned).collect())
    }

    /// The sum of a metric over all its labels; nothing where it has never counted.
    async fn sum(&mut self, name: &str) -> Result<u64> {
        self.process.check_alive()?;
        let url = format!("http://127.0.0.1:{}/metrics", self.port.number());
        let page = self.http.get(url).send().await?.text().await?;
        let name = format!("cluster_autoscaler_{name}");
        let mut sum = 0.0;
        for line in page.lines() {
            let Some(rest) = line.strip_prefix(&name) else {
                continue;
            };
            let number = rest.rsplit(' ').next().unwrap_or_default();
            sum += number.parse::<f64>().with_context(|| line.to_owned())?;
        }
        Ok(sum as u64)
    }

    async fn status_is_healthy(&self) -> Result<bool> {
        let found = self.statuses.get("cluster-autoscaler-status").await?;
        let data = found.data.unwrap_or_default();
        let status = data.get("status").context("it has a status")?;
        // YAML, in which the health of the whole cluster comes before that of each group.
        let Some((_, whole)) = status.split_once("clusterWide:") else {
            bail!("{status}");
        };
        let verdict = whole.lines().map(str::trim);
        let verdict = verdict.filter_map(|line| line.strip_prefix("status: "));
        Ok(verdict.take(1).eq(["Healthy"]))
    }
}

/// Whether a complaint is about a program that was away.
fn is_outage(complaint: &str) -> bool {
    // A channel that breaks under a call, a port without a listener, an API server that goes down or comes up.
    const WORDS: [&str; 12] = [
        "code = unavailable",
        "the service is currently unavailable",
        "unavailable:",
        "operation was canceled",
        "transport error",
        "connection refused",
        "connection reset",
        "unexpected eof",
        "unexpected-eof",
        "apiserver not ready",
        // One that has just come up knows nobody's rights yet.
        "is forbidden: user",
        // Groups that could not be listed.
        "failed to find readiness information",
    ];
    let complaint = complaint.to_lowercase();
    WORDS.iter().any(|word| complaint.contains(word))
}
