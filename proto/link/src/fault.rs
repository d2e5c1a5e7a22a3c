//! What can be wrong with a link: its configuration (once, at start) or its connection (again and again).

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why no link can be built from these options; trying again changes nothing, unless a file is mended.
#[derive(Debug, Error)]
pub enum LinkConfigFault {
    /// The client id is empty.
    #[error("the MQTT client id is empty")]
    ClientId,
    /// A password without a user name.
    #[error("a broker password is set but no user name")]
    PasswordWithoutUser,
    /// The keep-alive is outside 5 s to 65535 s.
    #[error("keep-alive of {0:?} is not between 5 s and 65535 s")]
    KeepAlive(std::time::Duration),
    /// The packet limit is too small for any useful message.
    #[error("a packet limit of {0} bytes is below 256")]
    MaxPacket(u32),
    /// The first or the longest waiting time is zero, or they are in the wrong order.
    #[error("reconnect times must satisfy 0 < min <= max")]
    Reconnect,
    /// A filter that MQTT does not allow.
    #[error("`{0}` is not a valid MQTT topic filter")]
    Filter(String),
    /// An authority's certificate together with an address without TLS.
    #[error("a CA certificate is set but the broker address is mqtt:// without TLS; use mqtts://")]
    CaWithoutTls,
    /// The file of the password cannot be read.
    #[error("cannot read the broker's password from {}", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The first line of the password's file is empty.
    #[error("the broker's password in {} is empty", .0.display())]
    EmptyPassword(PathBuf),
    /// The file of the authorities cannot be read.
    #[error("cannot read the broker's CA certificates from {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The file of the authorities holds something else.
    #[error("cannot read the broker's CA certificates in {}: {detail}", path.display())]
    CaPem {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        detail: String,
    },
    /// The system offers no certificate authority.
    #[error("this system has no certificate authorities ({0}); set the broker's CA")]
    NoSystemRoots(String),
    /// The host is no name that a certificate can carry.
    #[error("`{0}` is not a host name that a certificate can carry")]
    ServerName(String),
    /// TLS could not be set up for a reason of its own.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

/// Which of its owner's settings a link's configuration fails by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkSetting {
    /// The address, or what the program itself chose.
    Broker,
    /// The file with the password.
    PasswordFile,
    /// The file with the authorities.
    CaFile,
}

impl LinkConfigFault {
    /// The setting to look at.
    #[must_use]
    pub fn setting(&self) -> LinkSetting {
        match self {
            Self::CaFile { .. } | Self::CaPem { .. } | Self::CaWithoutTls => LinkSetting::CaFile,
            Self::PasswordWithoutUser | Self::PasswordFile { .. } | Self::EmptyPassword(_) => {
                LinkSetting::PasswordFile
            }
            Self::ClientId
            | Self::KeepAlive(_)
            | Self::MaxPacket(_)
            | Self::Reconnect
            | Self::Filter(_)
            | Self::NoSystemRoots(_)
            | Self::ServerName(_)
            | Self::Tls(_) => LinkSetting::Broker,
        }
    }
}

/// Why there is no connection at the moment; the link keeps trying. Two equal values mean the same fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkFault {
    /// The password or the authorities, renewed since the start, cannot be used.
    #[error("{detail}")]
    Files {
        /// Which file, and what is wrong with it.
        detail: String,
    },
    /// Name not resolved, connection refused, no route.
    #[error("cannot reach broker {broker}: {detail}")]
    Unreachable {
        /// The broker's address.
        broker: String,
        /// The system's words.
        detail: String,
    },
    /// The broker did not complete a step in time.
    #[error("broker {broker} did not answer in time")]
    Timeout {
        /// The broker's address.
        broker: String,
    },
    /// The broker's certificate is not trusted, or ours is not.
    #[error("TLS with broker {broker} failed: {detail}")]
    Tls {
        /// The broker's address.
        broker: String,
        /// What rustls says, for example that the issuer is unknown.
        detail: String,
    },
    /// The broker refused user name, password, or client id.
    #[error("broker {broker} refused user `{user}`: {detail}")]
    Login {
        /// The broker's address.
        broker: String,
        /// User name, or the client id where none is set.
        user: String,
        /// The broker's reason code.
        detail: String,
    },
    /// The broker refused the connection for another reason.
    #[error("broker {broker} refused the connection: {detail}")]
    Refused {
        /// The broker's address.
        broker: String,
        /// The broker's reason code.
        detail: String,
    },
    /// The broker refused a subscription, so the link would be deaf.
    #[error("broker {broker} refused the subscription to `{filter}`: {detail}")]
    Subscription {
        /// The broker's address.
        broker: String,
        /// The filter.
        filter: String,
        /// The broker's reason code.
        detail: String,
    },
    /// An established connection ended.
    #[error("connection to broker {broker} ended: {detail}")]
    Ended {
        /// The broker's address.
        broker: String,
        /// How it ended.
        detail: String,
    },
    /// The private socket between MQTT and TLS could not be made.
    #[error("cannot set up the TLS tunnel: {detail}")]
    Tunnel {
        /// The system's words.
        detail: String,
    },
}

impl From<LinkConfigFault> for LinkFault {
    fn from(fault: LinkConfigFault) -> Self {
        let detail = match fault.source() {
            Some(source) => format!("{fault}: {source}"),
            None => fault.to_string(),
        };
        Self::Files { detail }
    }
}

impl LinkFault {
    /// One stable word for conditions, events and metric labels.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Files { .. } => "files",
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Tls { .. } => "tls",
            Self::Login { .. } => "login",
            Self::Refused { .. } => "refused",
            Self::Subscription { .. } => "subscription",
            Self::Ended { .. } => "ended",
            Self::Tunnel { .. } => "tunnel",
        }
    }
}
