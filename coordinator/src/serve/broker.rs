//! The agents' broker: a real one by its address, or the embedded one on loopback.
//! In: settings. Out: where it is, and the options of our connection to it.

use std::net::SocketAddr;
use std::time::Duration;

use proto_link::{Backoff, BrokerUrl, LinkConfigFault, LinkOptions, LinkSetting};
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

/// The broker's settings cannot be used.
#[derive(Debug, Error)]
enum SettingFault {
    #[error("--broker-password-file needs a user in --broker, as in mqtts://coordinator@host:8883")]
    PasswordWithoutUser,
    #[error("{flag}")]
    Unusable {
        flag: &'static str,
        #[source]
        source: LinkConfigFault,
    },
    #[cfg(not(feature = "embedded-broker"))]
    #[error("--embedded-broker {0}: this build has no embedded broker; name one with --broker")]
    NotBuiltIn(SocketAddr),
}

impl Broker {
    /// Starts the embedded broker, or looks at the files of a real one.
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
                    return Err(RunFault::configuration(SettingFault::PasswordWithoutUser));
                }
                let mut options = LinkOptions::new(url, "");
                options.username = user;
                options.password_file = password_file;
                options.ca_file = ca_file;
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
    Err(RunFault::configuration(SettingFault::NotBuiltIn(address)))
}

/// The fault with the flag that it came by.
fn unusable(source: LinkConfigFault) -> SettingFault {
    let flag = match source.setting() {
        LinkSetting::Broker => "--broker",
        LinkSetting::PasswordFile => "--broker-password-file",
        LinkSetting::CaFile => "--broker-ca-file",
    };
    SettingFault::Unusable { flag, source }
}
