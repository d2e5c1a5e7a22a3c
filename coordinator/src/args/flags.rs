//! The flags as clap reads them, each with its twin in the environment.
//! Not here: what combinations mean (`args`).

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

/// Where the embedded broker listens unless told otherwise.
pub(super) const EMBEDDED_BROKER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1883);

#[derive(Debug, Args)]
pub(super) struct RunFlags {
    #[command(flatten)]
    pub(super) standalone: StandaloneFlags,
    #[command(flatten)]
    pub(super) kubernetes: KubernetesFlags,
    #[command(flatten)]
    pub(super) grpc: GrpcFlags,
    #[command(flatten)]
    pub(super) broker: BrokerFlags,

    /// Where /healthz, /readyz, /metrics and /state are served; port 0 lets the system choose
    #[arg(
        long,
        env = "HOMELAB_ADMIN_ADDRESS",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub(super) admin_address: SocketAddr,

    /// Write the real addresses as JSON {grpc, admin, broker} to this file once everything listens
    #[arg(long, env = "HOMELAB_PORTS_FILE", value_name = "FILE")]
    pub(super) ports_file: Option<PathBuf>,

    /// The machine that this process runs on, by the name of its core Node: it is never stopped [default with --lab: the host's
    /// name]
    #[arg(long, env = "HOMELAB_NODE_NAME", value_name = "NAME")]
    pub(super) node_name: Option<String>,

    /// Change one time limit, as in wake_repeat=20s; may be repeated
    #[arg(
        long,
        env = "HOMELAB_TIMING",
        value_name = "KEY=DURATION",
        value_delimiter = ','
    )]
    pub(super) timing: Vec<String>,

    /// What is logged, as in info or info,coordinator=debug
    #[arg(
        long,
        env = "HOMELAB_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub(super) log: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Without Kubernetes")]
pub(super) struct StandaloneFlags {
    /// Folder with the lab's YAML documents
    #[arg(long, env = "HOMELAB_LAB", value_name = "DIR")]
    pub(super) lab: Option<PathBuf>,

    /// Folder for the store and the coordinator's key; by default /var/lib/homelab-coordinator for root and
    /// ~/.local/state/homelab-coordinator for others
    #[arg(long, env = "HOMELAB_STATE", value_name = "DIR")]
    pub(super) state: Option<PathBuf>,

    /// Local socket for homelabctl; by default coordinator.sock in the state folder
    #[arg(long, env = "HOMELAB_SOCKET", value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,

    /// Where the embedded broker listens when --broker is absent; loopback only [default: 127.0.0.1:1883]
    #[arg(long, env = "HOMELAB_EMBEDDED_BROKER", value_name = "IP:PORT")]
    pub(super) embedded_broker: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Inside a cluster")]
pub(super) struct KubernetesFlags {
    /// Watch only this namespace; may be repeated [default: all]
    #[arg(
        long,
        env = "HOMELAB_NAMESPACE",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(super) namespace: Vec<String>,

    /// Reach the cluster by this kubeconfig instead of the pod's service account
    #[arg(long, env = "HOMELAB_KUBECONFIG", value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,

    /// Namespace of the coordinator's own Lease and Secrets [default: the pod's, or homelab-autoscaler-system]
    #[arg(long, env = "HOMELAB_OWN_NAMESPACE", value_name = "NAME")]
    pub(super) own_namespace: Option<String>,

    /// Secret that holds the coordinator's key; created if absent
    #[arg(
        long,
        env = "HOMELAB_KEY_SECRET",
        value_name = "NAME",
        default_value = "homelab-coordinator-key"
    )]
    pub(super) key_secret: String,

    /// Choose one leader among the replicas by a Lease; false only for a single replica
    #[arg(
        long,
        env = "HOMELAB_LEADER_ELECT",
        value_name = "true|false",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub(super) leader_elect: bool,

    /// A leader that has not renewed for so long is followed by another
    #[arg(
        long,
        env = "HOMELAB_LEADER_ELECT_LEASE_DURATION",
        value_name = "DURATION",
        default_value = "15s"
    )]
    pub(super) leader_elect_lease_duration: String,

    /// A leader that could not renew for so long stops leading
    #[arg(
        long,
        env = "HOMELAB_LEADER_ELECT_RENEW_DEADLINE",
        value_name = "DURATION",
        default_value = "10s"
    )]
    pub(super) leader_elect_renew_deadline: String,

    /// Between attempts to become or stay leader
    #[arg(
        long,
        env = "HOMELAB_LEADER_ELECT_RETRY_PERIOD",
        value_name = "DURATION",
        default_value = "2s"
    )]
    pub(super) leader_elect_retry_period: String,

    /// Name under which this process holds the Lease [default: the host's name]
    #[arg(long, env = "HOMELAB_LEADER_ELECT_IDENTITY", value_name = "NAME")]
    pub(super) leader_elect_identity: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "The cluster-autoscaler's API")]
pub(super) struct GrpcFlags {
    /// Where the gRPC API is served; port 0 lets the system choose
    #[arg(
        long,
        env = "HOMELAB_GRPC_ADDRESS",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:50051"
    )]
    pub(super) grpc_address: SocketAddr,

    /// PEM file with the server's certificate chain
    #[arg(long, env = "HOMELAB_GRPC_CERT", value_name = "FILE")]
    pub(super) grpc_cert: Option<PathBuf>,

    /// PEM file with the server's key
    #[arg(long, env = "HOMELAB_GRPC_KEY", value_name = "FILE")]
    pub(super) grpc_key: Option<PathBuf>,

    /// PEM file with the authorities whose client certificates are accepted
    #[arg(long, env = "HOMELAB_GRPC_CLIENT_CA", value_name = "FILE")]
    pub(super) grpc_client_ca: Option<PathBuf>,

    /// Issue an authority, a server and a client certificate, keep them in Secrets, and serve mutual TLS with them; only
    /// inside a cluster
    #[arg(long, env = "HOMELAB_GRPC_ISSUE_CERTS")]
    pub(super) grpc_issue_certs: bool,

    /// Another name or address in the issued server certificate, beside those of the Service; may be repeated
    #[arg(
        long,
        env = "HOMELAB_GRPC_CERT_NAME",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(super) grpc_cert_name: Vec<String>,

    /// The cluster-autoscaler's version, as in 1.36: its calls do not tell it, and nodeObjectPolicy Retain needs 1.36
    #[arg(long, env = "HOMELAB_AUTOSCALER_VERSION", value_name = "MAJOR.MINOR")]
    pub(super) autoscaler_version: Option<String>,

    /// Serve plain text on an address that is reachable from outside
    #[arg(long, env = "HOMELAB_GRPC_INSECURE")]
    pub(super) grpc_insecure: bool,

    /// Describe the API to clients that ask, as grpcurl does
    #[cfg(feature = "reflection")]
    #[arg(long, env = "HOMELAB_GRPC_REFLECTION")]
    pub(super) grpc_reflection: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "The agents' broker")]
pub(super) struct BrokerFlags {
    /// The broker, as mqtts://user@host:8883
    #[arg(long, env = "HOMELAB_BROKER", value_name = "URL")]
    pub(super) broker: Option<String>,

    /// File with the user's password
    #[arg(long, env = "HOMELAB_BROKER_PASSWORD_FILE", value_name = "FILE")]
    pub(super) broker_password_file: Option<PathBuf>,

    /// PEM file with the only authority to trust; by default the system's
    #[arg(long, env = "HOMELAB_BROKER_CA_FILE", value_name = "FILE")]
    pub(super) broker_ca_file: Option<PathBuf>,

    /// The machine that the broker runs on, by the name of its core Node: it is never stopped [default: the host in --broker]
    #[arg(long, env = "HOMELAB_BROKER_NODE_NAME", value_name = "NAME")]
    pub(super) broker_node_name: Option<String>,
}

/// The state folder where none is named: systemd's, root's, or the user's.
pub(super) fn default_state(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    const NAME: &str = "homelab-coordinator";
    let folder = |name: &str| {
        env(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(given) = folder("STATE_DIRECTORY") {
        return Some(given);
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib").join(NAME));
    }
    folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join(NAME))
}
