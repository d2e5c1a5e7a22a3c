//! What can be wrong with the command line, in words that name the flag.

use std::net::SocketAddr;

use proto_link::BrokerUrlFault;
use thiserror::Error;

/// Why the command line is no configuration. One line each.
#[derive(Debug, Error)]
pub enum ArgsFault {
    /// A timing flag without `=`.
    #[error("--timing: `{0}` must be written as key=value, as in wake_repeat=20s")]
    TimingForm(String),
    /// No such time limit.
    #[error("--timing: `{key}` is no timing; there are {known}")]
    TimingKey {
        /// What was written.
        key: String,
        /// All that would be right.
        known: String,
    },
    /// Not a duration or number.
    #[error("--timing: {key}={value} is wrong: {want}")]
    TimingValue {
        /// Which timing.
        key: String,
        /// What was written.
        value: String,
        /// What would be right.
        want: String,
    },
    /// A duration flag with another text.
    #[error("{flag}: {source}")]
    Duration {
        /// Which flag.
        flag: &'static str,
        /// What is wrong.
        source: coordinator_crds::duration::ParseDuration,
    },
    /// The broker's address.
    #[error("--broker: {0}")]
    Broker(#[from] BrokerUrlFault),
    /// A password in a flag would be seen by every user of the host.
    #[error(
        "--broker: the address must not contain a password; put it in a file and name it with --broker-password-file"
    )]
    BrokerPassword,
    /// No broker where one is needed.
    #[error(
        "--broker is missing: in a cluster the agents' broker must be named, as in mqtt://homelab-broker:1883"
    )]
    BrokerMissing,
    /// Two flags that exclude each other.
    #[error("{one} and {other} exclude each other")]
    Both {
        /// One of them.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A flag that acts only with another.
    #[error("{flag} needs {needs}")]
    Needs {
        /// What was given.
        flag: &'static str,
        /// What is missing.
        needs: &'static str,
    },
    /// Plain text that leaves the host.
    #[error(
        "--grpc-address: {0} is reachable from outside and would speak plain text: anybody there could power machines off; \
         set --grpc-issue-certs in a cluster, --grpc-cert, --grpc-key and --grpc-client-ca anywhere, or --grpc-insecure if the \
         network is trusted"
    )]
    PlainText(SocketAddr),
    /// Not a name that a certificate can hold.
    #[error("--grpc-cert-name: `{0}` is neither a host name nor an address")]
    CertName(String),
    /// Not a version.
    #[error("--autoscaler-version: `{0}` is no version; write it as in 1.36")]
    AutoscalerVersion(String),
    /// Durations of the election in the wrong order.
    #[error(
        "--leader-elect-…: must satisfy retry period < renew deadline < lease duration, and lease duration must be at least 1s"
    )]
    ElectionOrder,
    /// No folder for the state can be found.
    #[error(
        "--state is missing: neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME names a folder for it"
    )]
    StateMissing,
    /// Filter directives that tracing does not understand.
    #[error("--log: `{directives}` is no filter: {detail}")]
    Log {
        /// What was written.
        directives: String,
        /// What is wrong.
        detail: String,
    },
}
