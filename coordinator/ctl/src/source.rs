//! Where the coordinator is: in a cluster, or at a local socket.
//!
//! In: flags and the environment. Out: one of the two.

use std::{env, os::unix::net::UnixStream, path::PathBuf};

use coordinator_crds::{Node, node_status::Ask};

use crate::{
    agent_config::Access,
    args::PlaceFlags,
    check::Facts,
    cluster::Cluster,
    explain::Place,
    fault::CtlFault,
    lab::{Lab, Told},
    local::{self, Local},
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
        match choose(&flags, &Surroundings::of_process()) {
            Choice::Local(path) => Ok(Self::Local(Local::new(&path))),
            Choice::Cluster { beside } => {
                let cluster = Cluster::connect(flags, beside).await?;
                Ok(Self::Cluster(Box::new(cluster)))
            }
            Choice::Nothing { tried } => Err(CtlFault::NotFound {
                tried: tried
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

    /// What was told of one machine, oldest first.
    pub(crate) async fn told(&self, lab: &Lab, node: &Node) -> Result<Vec<Told>, CtlFault> {
        match self {
            Self::Local(_) => Ok(local::told(lab, node)),
            Self::Cluster(cluster) => cluster.told(node).await,
        }
    }

    /// Everything that is judged by `homelabctl check`.
    pub(crate) async fn facts(&self) -> Result<Facts, CtlFault> {
        match self {
            Self::Local(local) => local.facts(),
            Self::Cluster(cluster) => cluster.facts().await,
        }
    }

    /// Which kind of lab it is.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Local(_) => Place::Standalone,
            Self::Cluster(_) => Place::Cluster,
        }
    }

    /// What the cluster-autoscaler is to be started with.
    pub(crate) async fn cloud_config(&self) -> Result<String, CtlFault> {
        match self {
            Self::Local(_) => Err(CtlFault::Refused(
                "a coordinator without Kubernetes issues no certificates: write address, and cert, key and cacert if it has \
                 --grpc-cert, by hand"
                    .to_owned(),
            )),
            Self::Cluster(cluster) => cluster.cloud_config().await,
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

/// What there is to choose from besides the flags.
struct Surroundings {
    /// Value of `HOMELAB_SOCKET`.
    named: Option<PathBuf>,
    /// Where coordinators put their sockets by default.
    usual: Vec<PathBuf>,
    /// Whether a cluster is configured.
    cluster: bool,
}

impl Surroundings {
    fn of_process() -> Self {
        let env = |name: &str| env::var_os(name).map(PathBuf::from);
        Self {
            named: env("HOMELAB_SOCKET").filter(|path| !path.as_os_str().is_empty()),
            usual: usual_sockets(env),
            cluster: cluster_is_configured(),
        }
    }
}

/// Where to go.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Local(PathBuf),
    Cluster {
        /// A local socket that is there too.
        beside: Option<PathBuf>,
    },
    Nothing {
        tried: Vec<PathBuf>,
    },
}

/// A flag is a wish, a coordinator on this host is near; a kubeconfig lies about on many hosts for other reasons.
fn choose(flags: &PlaceFlags, around: &Surroundings) -> Choice {
    if let Some(path) = &flags.socket {
        return Choice::Local(path.clone());
    }
    let there = || around.usual.iter().find(|path| path.exists()).cloned();
    if flags.kubeconfig.is_some() || flags.context.is_some() {
        return Choice::Cluster { beside: there() };
    }
    if let Some(path) = &around.named {
        return Choice::Local(path.clone());
    }
    let answers = |path: &&PathBuf| UnixStream::connect(path).is_ok();
    if let Some(path) = around.usual.iter().find(answers) {
        return Choice::Local(path.clone());
    }
    match there() {
        beside if around.cluster => Choice::Cluster { beside },
        // Asking there tells why nobody answers.
        Some(path) => Choice::Local(path),
        None => Choice::Nothing {
            tried: around.usual.clone(),
        },
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
    use std::os::unix::net::UnixListener;

    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn a_flag_comes_first_then_the_environment_then_who_answers_here_then_the_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let (live, stale) = (dir.path().join("live"), dir.path().join("stale"));
        let _listener = UnixListener::bind(&live).unwrap();
        drop(UnixListener::bind(&stale).unwrap());
        let (wished, named) = (PathBuf::from("/wished"), PathBuf::from("/named"));
        let gone = dir.path().join("gone");
        let flags = |socket: bool, kubeconfig: bool, context: bool| PlaceFlags {
            socket: socket.then(|| wished.clone()),
            kubeconfig: kubeconfig.then(|| PathBuf::from("k")),
            context: context.then(|| "c".to_owned()),
            ..PlaceFlags::default()
        };
        let around = |name: bool, usual: &[&PathBuf], cluster: bool| Surroundings {
            named: name.then(|| named.clone()),
            usual: usual.iter().map(|path| (*path).clone()).collect(),
            cluster,
        };
        let local = |path: &PathBuf| Choice::Local(path.clone());
        let cluster = |beside: Option<&PathBuf>| Choice::Cluster {
            beside: beside.cloned(),
        };
        let none = || flags(false, false, false);
        for (case, flags, around, choice) in [
            (
                1,
                flags(true, false, false),
                around(true, &[&live], true),
                local(&wished),
            ),
            (
                2,
                flags(false, true, false),
                around(true, &[&live], true),
                cluster(Some(&live)),
            ),
            (
                3,
                flags(false, false, true),
                around(true, &[], false),
                cluster(None),
            ),
            (4, none(), around(true, &[&live], true), local(&named)),
            (
                5,
                none(),
                around(false, &[&gone, &live], true),
                local(&live),
            ),
            (
                6,
                none(),
                around(false, &[&stale, &live], true),
                local(&live),
            ),
            (
                7,
                none(),
                around(false, &[&stale], true),
                cluster(Some(&stale)),
            ),
            (8, none(), around(false, &[&stale], false), local(&stale)),
            (9, none(), around(false, &[&gone], true), cluster(None)),
        ] {
            assert_eq!(choose(&flags, &around), choice, "case {case}");
        }
        let both = ["homelabctl", "status", "--socket", "s", "--kubeconfig", "k"];
        assert!(Cli::try_parse_from(both).is_err(), "one place at a time");
        let nothing = choose(&none(), &around(false, &[&gone], false));
        assert_eq!(nothing, Choice::Nothing { tried: vec![gone] });
    }

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
