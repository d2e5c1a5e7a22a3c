//! The command line. Also found by kubectl as `kubectl homelab` when the program is called `kubectl-homelab`.
//!
//! Not here: what the commands do (`run`).

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use coordinator_crds::duration;

/// Everything that can be said.
#[derive(Debug, Parser)]
#[command(
    name = "homelabctl",
    version,
    about = "Look at the machines of a homelab and override them by hand",
    after_help = "The coordinator is looked for in this order: --socket, --kubeconfig or --context; HOMELAB_SOCKET; a local \
                  socket in its usual place that answers; KUBECONFIG, ~/.kube/config or the pod's own cluster."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) place: PlaceFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the coordinator is.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PlaceFlags {
    /// Kubeconfig of the cluster
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace of the Groups and Nodes [default: all]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Namespace that the coordinator is installed in
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "homelab-autoscaler-system"
    )]
    pub(crate) system_namespace: String,
    /// Local socket of a coordinator that runs without Kubernetes
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        conflicts_with_all = ["kubeconfig", "context"]
    )]
    pub(crate) socket: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show every machine: what is wanted, what is, and why
    Status {
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t = Form::Table)]
        output: Form,
    },
    /// Tell why one machine is on, off, or not waking, and what to do next
    Explain {
        /// Name of the Node
        node: String,
    },
    /// Look for the usual mistakes; exit code 1 if there is one that must be mended
    Check,
    /// Override the power of one machine
    #[command(subcommand)]
    Power(Power),
    /// Stop a machine once and wake it once, to prove that it can be woken
    Prove {
        /// Name of the Node
        node: String,
    },
    /// Print what an agent needs
    #[command(subcommand)]
    Agent(Agent),
    /// Print what the cluster-autoscaler needs
    #[command(subcommand)]
    Autoscaler(Autoscaler),
    /// Print declarations
    #[command(subcommand)]
    Node(Node),
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Columns for people
    Table,
    /// One JSON object
    Json,
}

/// Overrides of one machine.
#[derive(Debug, Subcommand)]
pub(crate) enum Power {
    /// Wake it and keep it running
    On(Hold),
    /// Stop it and keep it off
    Off(Hold),
    /// Lift its quarantine and try again
    Retry {
        /// Name of the Node
        node: String,
    },
    /// Say that you have looked and it is off
    ConfirmOff {
        /// Name of the Node
        node: String,
    },
    /// Take an override back
    Release {
        /// Name of the Node
        node: String,
    },
}

/// A machine and how long its override holds.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// Name of the Node
    pub(crate) node: String,
    /// How long it holds, as in 2h or 90m [default: until released]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration_text)]
    pub(crate) hold: Option<Duration>,
}

/// About agents.
#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// Print the agent.toml for the agent of that name
    Config {
        /// Name of the agent: the host's name, and by default the Node's
        name: String,
        /// Write agent.toml, and the password and ca.pem if there are any, into this folder instead
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
}

/// About the cluster-autoscaler.
#[derive(Debug, Subcommand)]
pub(crate) enum Autoscaler {
    /// Print the cloud config with which it reaches the coordinator
    Config,
}

/// About Nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Print a Node made from what the agent of that name reported
    Init {
        /// Name of the agent, and of the new Node
        name: String,
        /// Name of its Group
        #[arg(long, value_name = "NAME", default_value = "workers")]
        group: String,
    },
}

fn duration_text(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing, as in 2h".to_owned()),
        Ok(duration) => Ok(duration),
        Err(fault) => Err(fault.to_string()),
    }
}
