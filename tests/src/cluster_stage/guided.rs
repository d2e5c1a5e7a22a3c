//! An autoscaler that is started as the guide says: with the cloud config that the coordinator prints and the Secret that it keeps.
//! Holds: of that config only what a test without kubelet and Service needs is changed: the host before the port, and the folder
//! of the mounted Secret.

use anyhow::{Context, Result, ensure};

use super::{Autoscaler, ClusterStage, HOST, OWN, autoscaler::REAL};
use crate::harness::Member;

/// Where the Deployment mounts the Secret.
const MOUNT: &str = "/etc/autoscaler/tls";

impl ClusterStage {
    /// Starts the program that the environment names, or the model, with a cloud config as it was printed, and says which.
    ///
    /// # Errors
    /// The config has another form, the Secret is not there, or the program does not start.
    #[expect(clippy::print_stderr, reason = "people must know which one was tested")]
    pub async fn guided_autoscaler(&self, printed: &str) -> Result<Autoscaler> {
        let member = Member::read(&self.client, OWN).await?;
        member.mount(&self.work, "tls")?;
        let service = format!("\"homelab-coordinator.{OWN}.svc:");
        let folder = self.work.file("tls").display().to_string();
        for (part, times) in [(service.as_str(), 1), (MOUNT, 3)] {
            let found = printed.matches(part).count();
            ensure!(found == times, "{found} × {part} in {printed}");
        }
        let config = printed.replace(&service, &format!("\"{HOST}:"));
        let config = config.replace(MOUNT, &folder);
        let address = &self.coordinator.ports().grpc;
        ensure!(config.contains(address), "{address} is not in {config}");
        if let Some(program) = std::env::var_os(REAL) {
            eprintln!("the autoscaler that {REAL} names asks for machines, over mutual TLS");
            return self.real_with(&program, &config, &[]);
        }
        eprintln!("{REAL} is not set: the model asks for machines, over mutual TLS");
        let channel = self.coordinator.channel().context("a connection")?;
        Ok(Autoscaler::Model(self.model_over(channel).spawn()))
    }
}
