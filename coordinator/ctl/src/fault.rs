//! What can go wrong, in one line each, and the exit code that goes with it.

use std::path::PathBuf;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CtlFault {
    /// The arguments cannot be used.
    #[error("{0}")]
    Usage(String),
    /// No coordinator was found anywhere.
    #[error(
        "no coordinator found: tried the sockets {tried}, KUBECONFIG and ~/.kube/config; name one with --kubeconfig or --socket"
    )]
    NotFound {
        /// The sockets that were tried.
        tried: String,
    },
    /// The local socket does not answer.
    #[error("no coordinator answers at {}: {why}; is `homelab-coordinator run --lab …` running, and by this user?", socket.display())]
    Socket {
        /// Which one.
        socket: PathBuf,
        /// What happened.
        why: String,
    },
    /// The API server does not answer.
    #[error("cannot reach the cluster at {server}: {why}; check --kubeconfig and --context")]
    Cluster {
        /// Its address.
        server: String,
        /// What happened.
        why: String,
    },
    /// The kubeconfig cannot be used.
    #[error("cannot use the kubeconfig {0}")]
    Kubeconfig(String),
    /// The coordinator or the API server said no.
    #[error("{0}")]
    Refused(String),
    /// The request was left, but nobody has taken it.
    #[error("{0}")]
    NotTaken(String),
    /// Checks found something that must be mended.
    #[error("{failed} of {of} checks failed")]
    Failed {
        /// How many.
        failed: usize,
        /// Of how many.
        of: usize,
    },
    /// Nobody reads our output.
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
}

impl CtlFault {
    /// The exit code, after sysexits where it has one.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Kubeconfig(_) => 64,
            Self::NotFound { .. } | Self::Socket { .. } | Self::Cluster { .. } => 69,
            Self::NotTaken(_) => 75,
            Self::Refused(_) | Self::Failed { .. } | Self::Output(_) => 1,
        }
    }
}
