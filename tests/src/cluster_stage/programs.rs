//! The coordinator and the relay as processes.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{ClusterStage, Election, LIMIT, OWN, Ports, machines::BMC_LOGIN};
use crate::harness::{Process, programs, wait};

impl ClusterStage {
    /// Starts the coordinator, the second time and later under another name at the same addresses, and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_coordinator(&mut self) -> Result<()> {
        let ports_file = self.work.file("ports.json");
        if ports_file.exists() {
            std::fs::remove_file(&ports_file).context("remove the old ports file")?;
        }
        self.starts += 1;
        let command = self.coordinator_command(&ports_file)?;
        let mut process = Process::start(&self.work, "coordinator", &command)?;
        self.ports = wait::until(LIMIT, "the coordinator tells its ports", async || {
            process.check_alive()?;
            read_ports(&ports_file)
        })
        .await?;
        let readyz = wait::until(LIMIT, "the coordinator serves", async || {
            process.check_alive()?;
            let state = self.state().await?;
            anyhow::ensure!(state["serving"] == true, "{}", state["waitingFor"]);
            Ok(())
        });
        readyz.await?;
        self.coordinator = Some(process);
        Ok(())
    }

    fn coordinator_command(&self, ports_file: &Path) -> Result<Command> {
        let login = self.mosquitto.coordinator();
        let password = self.work.write("coordinator.password", &login.password)?;
        let broker = format!("mqtt://{}@127.0.0.1:{}", login.user, self.mosquitto.port());
        let Election(lease, renew, retry) = self.plan.election;
        let mut command = Command::new(programs::ours("homelab-coordinator")?);
        command
            .arg("run")
            .arg("--kubeconfig")
            .arg(self.plane.kubeconfig_path())
            .args(["--own-namespace", OWN])
            .arg(format!(
                "--leader-elect-identity=coordinator-{}",
                self.starts
            ))
            .arg(format!("--leader-elect-lease-duration={lease}"))
            .arg(format!("--leader-elect-renew-deadline={renew}"))
            .arg(format!("--leader-elect-retry-period={retry}"))
            .args(["--grpc-address", &self.ports.grpc])
            .args(["--admin-address", &self.ports.admin])
            .arg("--ports-file")
            .arg(ports_file)
            .args(["--broker", &broker])
            .arg("--broker-password-file")
            .arg(password);
        for change in &self.plan.timing {
            command.args(["--timing", change]);
        }
        Ok(command)
    }

    pub(super) async fn coordinator_key(&self) -> Result<String> {
        let state = self
            .until("the coordinator's key", |state| {
                state["coordinatorKey"].is_string()
            })
            .await?;
        let key = state["coordinatorKey"].as_str();
        Ok(key.context("a key is text")?.to_owned())
    }

    pub(super) fn start_relay(&mut self, key: &str) -> Result<()> {
        if let Some(sushy) = &self.sushy {
            let (user, password) = BMC_LOGIN;
            let folder = "relay/credentials/bmc";
            self.work.write(&format!("{folder}.username"), user)?;
            self.work.write(&format!("{folder}.password"), password)?;
            self.work
                .write(&format!("{folder}.hosts"), sushy.address())?;
        } else {
            std::fs::create_dir_all(self.work.file("relay/credentials"))?;
        }
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

    pub(super) fn agent_config(&self, name: &str, key: &str) -> Result<String> {
        let login = self.mosquitto.agent(name)?;
        let password = format!("{name}.password");
        let password = self.work.write(&password, &login.password)?;
        let broker = self.mosquitto.url();
        Ok(format!(
            "id = {name:?}\nbroker = {broker:?}\npassword_file = {password:?}\ncoordinator_key = {key:?}\nheartbeat = \"1s\"\n"
        ))
    }
}

fn read_ports(file: &Path) -> Result<Ports> {
    let text = std::fs::read_to_string(file).context("read the ports file")?;
    let ports: Value = serde_json::from_str(&text).context("parse the ports file")?;
    let text = |name: &str| {
        let port = ports[name].as_str().map(str::to_owned);
        port.with_context(|| format!("no {name} port"))
    };
    Ok(Ports {
        grpc: text("grpc")?,
        admin: text("admin")?,
    })
}
