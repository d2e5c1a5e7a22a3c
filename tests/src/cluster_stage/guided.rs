//! An autoscaler that is started as the guide says: with the cloud config that the coordinator prints and the Secret that it keeps.
//! Holds: of that config only what a test without kubelet and Service needs is changed: the host before the port, and the folder
//! of the mounted Secret.

use anyhow::{Context, Result, ensure};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

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
        let channel = channel_of(&config)?;
        Ok(Autoscaler::Model(self.model_over(channel).spawn()))
    }
}

/// The connection that a cloud config speaks of: to its address, with what is in the files that it names.
fn channel_of(config: &str) -> Result<Channel> {
    let told = |name: &str| {
        let mut lines = config.lines();
        let told = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let told = told.with_context(|| format!("no {name} in {config}"))?;
        anyhow::Ok(told.trim_matches('"').to_owned())
    };
    let file = |name: &str| {
        let path = told(name)?;
        std::fs::read(&path).with_context(|| format!("{name}: {path}"))
    };
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(file("cacert")?))
        .identity(Identity::from_pem(file("cert")?, file("key")?));
    let address = format!("https://{}", told("address")?);
    let endpoint = Endpoint::from_shared(address)?.tls_config(tls)?;
    Ok(endpoint.connect_lazy())
}
