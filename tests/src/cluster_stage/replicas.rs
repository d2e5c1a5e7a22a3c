//! More coordinators in the cluster of a stage: candidates for the same Lease, with ports of their own.
//! Not here: the coordinator that the stage began with, and what it answers; see the stage.

use std::{ffi::OsStr, path::Path};

use anyhow::{Context, Result};

use super::{ClusterStage, LAB};
use crate::{
    caller::Caller,
    harness::{Account, Cable, Coordinator, WorkDir},
};

/// One of them; it is killed when the value is dropped.
#[derive(Debug)]
pub struct Replica {
    /// Its process.
    pub coordinator: Coordinator,
    /// Dropped after the process that writes into it.
    _work: WorkDir,
}

impl ClusterStage {
    /// Starts one, with flags beside those of every coordinator of the lab. It follows while another one leads.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_replica(&mut self, flags: &[&OsStr]) -> Result<Replica> {
        let rights = self.plane.kubeconfig_of(Account::Coordinator).to_owned();
        let work = WorkDir::new("replica")?;
        self.start_beside(work, &rights, flags).await
    }

    /// Starts one that reaches the API server by a way of its own, which can be cut.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_replica_on_cable(&mut self) -> Result<(Replica, Cable)> {
        let url = self.plane.url().to_owned();
        let server = url.strip_prefix("https://").context("an HTTPS address")?;
        let cable = Cable::to(server.parse()?).await?;
        let rights = std::fs::read_to_string(self.plane.kubeconfig_of(Account::Coordinator))?;
        let rights = rights.replace(&url, &format!("https://{}", cable.address()));
        let work = WorkDir::new("replica")?;
        let rights = work.write("kubeconfig", rights)?;
        Ok((self.start_beside(work, &rights, &[]).await?, cable))
    }

    async fn start_beside(
        &mut self,
        work: WorkDir,
        rights: &Path,
        flags: &[&OsStr],
    ) -> Result<Replica> {
        let mut command = self.coordinator_command(rights)?;
        command.args(flags);
        let mut coordinator = Coordinator::new()?;
        coordinator.start_following(&work, command).await?;
        Ok(Replica {
            coordinator,
            _work: work,
        })
    }
}

impl Replica {
    /// A client for single calls of the provider.
    ///
    /// # Errors
    /// Never for an address that the coordinator has told.
    pub fn caller(&self) -> Result<Caller> {
        Ok(Caller::new(self.coordinator.channel()?, LAB))
    }
}
