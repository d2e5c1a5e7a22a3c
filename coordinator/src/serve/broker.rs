//! The agents' broker: a real one by its address, or the embedded one on loopback.
//! In: settings. Out: where it is, and the options of our connection to it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto_link::{Backoff, BrokerUrl, LinkConfigFault, LinkOptions};
use thiserror::Error;

use super::RunFault;
use crate::args::BrokerSettings;
use crate::inputs::reports;

/// The coordinator is one, and everybody waits for it: it tries faster than agents do.
const RECONNECT: Backoff = Backoff {
    min: Duration::from_millis(200),
    max: Duration::from_secs(10),
};

/// A broker that can be connected to.
pub(super) struct Broker {
    options: LinkOptions,
}

/// A file of the broker's settings cannot be used.
#[derive(Debug, Error)]
enum FileFault {
    #[error("{flag}: cannot read {}", path.display())]
    Read {
        flag: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("--broker-password-file: {} is empty", .0.display())]
    EmptyPassword(PathBuf),
    #[error("--broker-password-file needs a user in --broker, as in mqtts://coordinator@host:8883")]
    PasswordWithoutUser,
    #[error("{flag}")]
    Link {
        flag: &'static str,
        #[source]
        source: LinkConfigFault,
    },
    #[cfg(not(feature = "embedded-broker"))]
    #[error("--embedded-broker {0}: this build has no embedded broker; name one with --broker")]
    NotBuiltIn(SocketAddr),
}

impl Broker {
    /// Starts the embedded broker, or reads the files of a real one.
    pub(super) async fn start(settings: BrokerSettings) -> Result<Self, RunFault> {
        let mut options = match settings {
            BrokerSettings::Embedded { address } => embedded(address).await?,
            BrokerSettings::External {
                url,
                user,
                password_file,
                ca_file,
            } => {
                if password_file.is_some() && user.is_none() {
                    return Err(RunFault::configuration(FileFault::PasswordWithoutUser));
                }
                let mut options = LinkOptions::new(url, "");
                options.username = user;
                options.password = password_file
                    .as_deref()
                    .map(password)
                    .transpose()
                    .map_err(RunFault::configuration)?;
                let ca = ca_file
                    .as_deref()
                    .map(|path| read("--broker-ca-file", path))
                    .transpose();
                options.ca_pem = ca.map_err(RunFault::configuration)?;
                options
            }
        };
        options.reconnect = RECONNECT;
        reports::options(options.clone(), "")
            .check()
            .map_err(|fault| RunFault::configuration(unusable(fault)))?;
        Ok(Self { options })
    }

    /// Its address.
    pub(super) fn url(&self) -> &BrokerUrl {
        &self.options.url
    }

    /// Whether a user and a password are asked for.
    pub(super) fn needs_password(&self) -> bool {
        self.options.username.is_some()
    }

    /// How to connect to it.
    pub(super) fn options(&self) -> LinkOptions {
        self.options.clone()
    }
}

#[cfg(feature = "embedded-broker")]
async fn embedded(address: SocketAddr) -> Result<LinkOptions, RunFault> {
    use crate::broker::StartBroker;
    let address = crate::broker::start(address)
        .await
        .map_err(|fault| match fault {
            StartBroker::NotLoopback { .. } => RunFault::configuration(fault),
            StartBroker::Listen { .. } | StartBroker::Thread(_) | StartBroker::Ended { .. } => {
                RunFault::start(fault)
            }
        })?;
    let url = format!("mqtt://{address}")
        .parse()
        .map_err(RunFault::start)?;
    Ok(LinkOptions::new(url, ""))
}

#[cfg(not(feature = "embedded-broker"))]
async fn embedded(address: SocketAddr) -> Result<LinkOptions, RunFault> {
    Err(RunFault::configuration(FileFault::NotBuiltIn(address)))
}

/// The fault with the flag that it came by.
fn unusable(source: LinkConfigFault) -> FileFault {
    let flag = match source {
        LinkConfigFault::CaPem(_) | LinkConfigFault::CaWithoutTls => "--broker-ca-file",
        LinkConfigFault::PasswordWithoutUser => "--broker-password-file",
        LinkConfigFault::ClientId
        | LinkConfigFault::KeepAlive(_)
        | LinkConfigFault::MaxPacket(_)
        | LinkConfigFault::Reconnect
        | LinkConfigFault::Filter(_)
        | LinkConfigFault::NoSystemRoots(_)
        | LinkConfigFault::ServerName(_)
        | LinkConfigFault::Tls(_) => "--broker",
    };
    FileFault::Link { flag, source }
}

/// The first line of the file: editors end it with a newline that is no part of the password.
fn password(path: &Path) -> Result<String, FileFault> {
    let text = read("--broker-password-file", path)?;
    let text = String::from_utf8_lossy(&text);
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        Some(_) | None => Err(FileFault::EmptyPassword(path.to_owned())),
    }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, FileFault> {
    fs::read(path).map_err(|source| FileFault::Read {
        flag,
        path: path.to_owned(),
        source,
    })
}
