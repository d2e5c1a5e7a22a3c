//! Who asks for machines: a real cluster-autoscaler where one is given, the model otherwise.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::ClusterStage;
use crate::{
    ca_model::{CaModel, Options, RunningModel, cluster::kubernetes::Kubernetes},
    harness::{Port, Process},
};

/// Names a real cluster-autoscaler.
pub const REAL: &str = "CLUSTER_AUTOSCALER_BIN";

/// The flags that shorten what a test would wait for.
const FLAGS: [&str; 23] = [
    "--cloud-provider=externalgrpc",
    "--leader-elect=false",
    "--namespace=kube-system",
    "--v=4",
    "--scan-interval=1s",
    "--scale-down-unneeded-time=5s",
    "--scale-down-unready-time=10s",
    "--scale-down-delay-after-add=2s",
    "--scale-down-delay-after-delete=0s",
    "--scale-down-delay-after-failure=2s",
    "--unremovable-node-recheck-timeout=1s",
    "--node-delete-delay-after-taint=0s",
    "--max-node-provision-time=60s",
    "--max-node-startup-time=60s",
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

/// A running autoscaler.
#[derive(Debug)]
pub enum Autoscaler {
    /// The model in this process.
    Model(RunningModel),
    /// The real program.
    Real {
        /// Its process.
        process: Process,
        /// Its health port stays reserved.
        port: Port,
    },
}

impl ClusterStage {
    /// Settings of a model that does not make a test wait.
    #[must_use]
    pub fn model_options() -> Options {
        Options {
            scan_interval: Duration::from_millis(500),
            unneeded_time: Duration::from_secs(2),
            delay_after_add: Duration::from_secs(1),
            provision_time: Duration::from_secs(60),
            startup_time: Duration::from_secs(60),
            ..Options::default()
        }
    }

    /// A model of the autoscaler at this lab, not running yet.
    ///
    /// # Errors
    /// Never for an address that the coordinator has told.
    pub fn model(&self) -> Result<CaModel<Kubernetes>> {
        let cluster = Kubernetes::new(self.client());
        Ok(CaModel::over(
            self.channel()?,
            cluster,
            Self::model_options(),
        ))
    }

    /// Starts the program that the environment names, or the model, and says which.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn autoscaler(&self) -> Result<Autoscaler> {
        let Some(program) = std::env::var_os(REAL) else {
            return Ok(Autoscaler::Model(self.model()?.spawn()));
        };
        let config = format!("address: \"{}\"\ngrpc_timeout: 5s\n", self.ports.grpc);
        let config = self.work.write("cloud-config.yaml", config)?;
        let port = Port::reserve()?;
        let mut command = Command::new(PathBuf::from(program));
        command
            .args(FLAGS)
            .arg(format!("--cloud-config={}", config.display()))
            .arg(format!(
                "--kubeconfig={}",
                self.plane.kubeconfig_path().display()
            ))
            .arg(format!("--address=127.0.0.1:{}", port.number()));
        let process = Process::start(&self.work, "cluster-autoscaler", &command)?;
        Ok(Autoscaler::Real { process, port })
    }
}

impl Autoscaler {
    /// What went wrong in its eyes: failures of the model, lines with "Failed to" in the log of the real one.
    ///
    /// # Errors
    /// When the log cannot be read, or the program has ended.
    pub fn failures(&mut self) -> Result<Vec<String>> {
        match self {
            Self::Model(model) => {
                let failures = model.events.failures().into_iter();
                Ok(failures.map(|event| format!("{event:?}")).collect())
            }
            Self::Real { process, .. } => {
                process.check_alive()?;
                let log = std::fs::read_to_string(process.log()).context("read the log")?;
                let bad = log.lines().filter(|line| line.contains("Failed to"));
                Ok(bad.map(str::to_owned).collect())
            }
        }
    }
}
