//! Where the coordinator is: in a cluster, or at a local socket.
//!
//! In: flags and the environment. Out: one of the two.

use std::{env, path::PathBuf};

use coordinator_crds::node_status::Ask;

use crate::{
    agent_config::Access, args::PlaceFlags, cluster::Cluster, fault::CtlFault, lab::Lab,
    local::Local,
};

/// Name of the socket in the coordinator's state folder.
const SOCKET: &str = "homelab-coordinator/coordinator.sock";

/// One of the two places.
#[derive(Debug)]
pub(crate) enum Source {
    /// A coordinator without Kubernetes.
    Local(Local),
    /// The API server of a cluster.
    Cluster(Box<Cluster>),
}

impl Source {
    /// Finds it.
    pub(crate) async fn find(flags: PlaceFlags) -> Result<Self, CtlFault> {
        let sockets = usual_sockets(|name| env::var_os(name).map(PathBuf::from));
        if let (None, Some(path)) = (&flags.kubeconfig, &flags.socket) {
            return Ok(Self::Local(Local::new(path)));
        }
        let there = sockets.iter().find(|path| path.exists());
        if flags.kubeconfig.is_some() || flags.context.is_some() || cluster_is_configured() {
            let cluster = Cluster::connect(flags, there.cloned()).await?;
            return Ok(Self::Cluster(Box::new(cluster)));
        }
        match there {
            Some(path) => Ok(Self::Local(Local::new(path))),
            None => Err(CtlFault::NotFound {
                tried: sockets
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }

    /// The lab as it is now.
    pub(crate) async fn lab(&self) -> Result<Lab, CtlFault> {
        match self {
            Self::Local(local) => local.lab(),
            Self::Cluster(cluster) => cluster.lab().await,
        }
    }

    /// Asks something of one machine.
    pub(crate) async fn ask(&self, node: &str, ask: &Ask) -> Result<(), CtlFault> {
        match self {
            Self::Local(local) => local.ask(node, ask),
            Self::Cluster(cluster) => cluster.ask(node, ask).await,
        }
    }

    /// What the agent of that name needs.
    pub(crate) async fn access(&self, agent: &str) -> Result<Access, CtlFault> {
        match self {
            Self::Local(local) => local.access(),
            Self::Cluster(cluster) => cluster.access(agent).await,
        }
    }
}

/// Where a coordinator puts its socket by default: in the user's state folder, or in the system's.
fn usual_sockets(env: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let given = |name: &str| env(name).filter(|path| !path.as_os_str().is_empty());
    let own =
        given("XDG_STATE_HOME").or_else(|| given("HOME").map(|home| home.join(".local/state")));
    own.into_iter()
        .chain([PathBuf::from("/var/lib")])
        .map(|folder| folder.join(SOCKET))
        .collect()
}

fn cluster_is_configured() -> bool {
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let default = env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    set("KUBECONFIG") || set("KUBERNETES_SERVICE_HOST") || default.is_some_and(|file| file.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_looked_for_where_coordinators_put_them() {
        let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/home/ann"));
        assert_eq!(
            usual_sockets(home),
            [
                PathBuf::from("/home/ann/.local/state/homelab-coordinator/coordinator.sock"),
                PathBuf::from("/var/lib/homelab-coordinator/coordinator.sock"),
            ]
        );
        let moved = |name: &str| (name == "XDG_STATE_HOME").then(|| PathBuf::from("/s"));
        assert_eq!(
            usual_sockets(moved)[0],
            PathBuf::from("/s/homelab-coordinator/coordinator.sock")
        );
    }
}
