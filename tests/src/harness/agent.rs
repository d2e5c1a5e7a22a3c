//! The agents' own program: what each is told, and the relay among them.
//! Out: the text of an `agent.toml`; a relay as a process.
//! Not here: agents of hollow machines, which start and end with their machine; see `hollow`.

use std::process::Command;

use anyhow::Result;

use super::{process::Process, programs, workdir::WorkDir};

/// What an agent is told about the lab.
#[derive(Debug, Clone)]
pub struct AgentAccount {
    /// The agent's name, which is also its user name at the broker.
    pub name: String,
    /// The broker's URL, without a user.
    pub broker: String,
    /// Its password at the broker, if it needs one.
    pub password: Option<String>,
    /// Whom it obeys.
    pub coordinator_key: String,
    /// Between its heartbeats.
    pub heartbeat: &'static str,
}

/// Login at a BMC, and the one address that may get it.
#[derive(Debug, Clone)]
pub struct BmcLogin {
    /// User name and password.
    pub login: (&'static str, &'static str),
    /// The BMC.
    pub host: String,
}

impl AgentAccount {
    /// The first lines of its `agent.toml`, without any table; its password goes into a file of `work`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn config(&self, work: &WorkDir) -> Result<String> {
        let password = match &self.password {
            None => String::new(),
            Some(password) => {
                let file = work.write(&format!("{}.password", self.name), password)?;
                format!("password_file = {file:?}\n")
            }
        };
        Ok(format!(
            "id = {:?}\nbroker = {:?}\ncoordinator_key = {:?}\nheartbeat = {:?}\n{password}",
            self.name, self.broker, self.coordinator_key, self.heartbeat
        ))
    }

    /// Starts it as a relay, which knows the login `bmc` if there is a BMC.
    ///
    /// # Errors
    /// When the program is missing.
    pub fn start_relay(&self, work: &WorkDir, bmc: Option<BmcLogin>) -> Result<Process> {
        let credentials = work.file("relay/credentials");
        std::fs::create_dir_all(&credentials)?;
        if let Some(BmcLogin { login, host }) = bmc {
            let files = [
                ("username", login.0),
                ("password", login.1),
                ("hosts", &host),
            ];
            for (ending, content) in files {
                work.write(&format!("relay/credentials/bmc.{ending}"), content)?;
            }
        }
        let config = format!(
            "{}state_dir = {:?}\n[relay]\ncredentials = {credentials:?}\n",
            self.config(work)?,
            work.file("relay/state"),
        );
        let config = work.write("relay/agent.toml", config)?;
        let mut command = Command::new(programs::ours("homelab-agent")?);
        command.arg("run").arg("--config").arg(config);
        Process::start(work, "relay", &command)
    }
}
