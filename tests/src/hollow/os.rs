//! What runs on a machine that is up: its agent and its kubelet.
//! Holds: each start writes a new boot id first; after `kill` nothing of it runs.

use std::{
    process::Command,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use rustix::process::Signal;

use super::{
    AgentSpec, MachineSpec, files,
    kubelet::{Kubelet, KubeletSpec},
    lock,
};
use crate::{
    harness::{Process, WorkDir},
    lan::Host,
};

/// The agent's log is named so in the machine's folder.
pub(super) const AGENT_LOG: &str = "agent";

pub(super) struct OperatingSystem {
    name: String,
    work: Arc<WorkDir>,
    host: Option<Host>,
    agent_spec: Option<AgentSpec>,
    agent: Arc<Mutex<Option<Process>>>,
    kubelet_spec: Option<KubeletSpec>,
    kubelet: Option<Kubelet>,
}

impl OperatingSystem {
    pub(super) fn new(
        spec: &MachineSpec,
        work: Arc<WorkDir>,
        agent: Arc<Mutex<Option<Process>>>,
    ) -> Self {
        Self {
            name: spec.name.clone(),
            work,
            host: spec.berth.as_ref().map(|berth| berth.host.clone()),
            agent_spec: spec.agent.clone(),
            agent,
            kubelet_spec: spec.kubelet.clone(),
            kubelet: None,
        }
    }

    /// Boots: new boot id, agent, kubelet. Returns the boot id.
    pub(super) fn start(&mut self) -> Result<String> {
        let boot_id = files::new_boot_id(&self.work)?;
        self.start_agent()?;
        let kubelet = self.kubelet_spec.clone();
        self.kubelet = kubelet.map(|spec| Kubelet::start(spec, &self.name, &boot_id));
        Ok(boot_id)
    }

    pub(super) fn start_agent(&self) -> Result<()> {
        let Some(spec) = &self.agent_spec else {
            return Ok(());
        };
        let config = files::write_agent_config(&self.work, &self.name, spec)?;
        let mut command = match &self.host {
            Some(host) => host.command(&spec.program),
            None => Command::new(&spec.program),
        };
        command.arg("run").arg("--config").arg(config);
        command.envs(spec.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::start(&self.work, AGENT_LOG, &command)?;
        *lock(&self.agent) = Some(process);
        Ok(())
    }

    pub(super) fn agent_runs(&self) -> bool {
        lock(&self.agent)
            .as_mut()
            .is_some_and(|agent| agent.check_alive().is_ok())
    }

    /// What systemd does first: SIGTERM to every service.
    pub(super) fn begin_stop(&mut self) {
        self.kubelet = None;
        if let Some(agent) = lock(&self.agent).as_mut() {
            let _has_ended_already = agent.signal(Signal::TERM);
        }
    }

    pub(super) fn kill(&mut self) {
        self.kubelet = None;
        drop(lock(&self.agent).take());
    }
}
