//! The coordinator and the agents as processes.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{ClusterStage, Election, OWN, Speech};
use crate::{
    harness::{Account, AgentAccount, BmcLogin, Coordinator, Member},
    stage::BMC_LOGIN,
};

impl ClusterStage {
    /// Starts the coordinator, the second time and later under another name at the same addresses, and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_coordinator(&mut self) -> Result<()> {
        let rights = self.plane.kubeconfig_of(Account::Coordinator).to_owned();
        let command = self.coordinator_command(&rights)?;
        self.coordinator.start(&self.work, command).await?;
        if self.plan.speech == Speech::Mutual {
            let member = Member::read(&self.client, OWN).await?;
            self.coordinator.speak(member.tls(super::HOST));
        }
        Ok(())
    }

    /// What runs a coordinator of this lab, under a name of its own, with a kubeconfig.
    pub(super) fn coordinator_command(&mut self, rights: &Path) -> Result<Command> {
        self.starts += 1;
        let login = self.mosquitto.coordinator();
        let password = self.work.write("coordinator.password", &login.password)?;
        let broker = format!("mqtt://{}@127.0.0.1:{}", login.user, self.mosquitto.port());
        let Election(lease, renew, retry) = self.plan.election;
        let mut command = Coordinator::command(&self.plan.timing)?;
        command
            .arg("--kubeconfig")
            .arg(rights)
            .args(["--own-namespace", OWN])
            .arg(format!(
                "--leader-elect-identity=coordinator-{}",
                self.starts
            ))
            .arg(format!("--leader-elect-lease-duration={lease}"))
            .arg(format!("--leader-elect-renew-deadline={renew}"))
            .arg(format!("--leader-elect-retry-period={retry}"))
            .args(["--broker", &broker])
            .arg("--broker-password-file")
            .arg(password);
        if self.plan.speech == Speech::Mutual {
            command.args(["--grpc-issue-certs", "--grpc-cert-name", super::HOST]);
        }
        Ok(command)
    }

    /// Starts the relay.
    ///
    /// # Errors
    /// When the program is missing.
    pub fn start_relay(&mut self) -> Result<()> {
        let bmc = self.sushy.as_ref().map(|sushy| BmcLogin {
            login: BMC_LOGIN,
            host: sushy.address(),
        });
        let relay = self.agent("relay")?;
        self.relay = Some(relay.start_relay(&self.work, bmc)?);
        Ok(())
    }

    /// Kills the relay: nobody can wake or switch anything.
    pub fn stop_relay(&mut self) {
        self.relay = None;
    }

    pub(super) fn agent(&self, name: &str) -> Result<AgentAccount> {
        Ok(AgentAccount {
            name: name.to_owned(),
            broker: self.mosquitto.url(),
            password: Some(self.mosquitto.agent(name)?.password),
            coordinator_key: self.key.clone(),
            heartbeat: "1s",
        })
    }
}
