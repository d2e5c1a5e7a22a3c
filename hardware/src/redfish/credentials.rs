//! A user and password, bound to the hosts they may be sent to.
//! Holds: whoever may change an address cannot harvest a password; the password is never shown and is wiped when dropped.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::fault::{Fault, FaultKind};

use super::address::{BmcAddress, BmcAddressFault};

/// User, password, and the hosts they are for.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: Zeroizing<String>,
    hosts: Vec<HostRule>,
}

/// Why credentials are unusable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CredentialsFault {
    /// The user name is empty, or has a colon, at which HTTP would cut it.
    #[error("a BMC user name must not be empty or contain `:`")]
    Username,
    /// There is no host to send them to.
    #[error("the credentials name no host; list the BMCs they are for, as in `10.0.9.20, bmc.lan`")]
    NoHosts,
    /// A host cannot be read.
    #[error("the credentials' host is not usable: {0}")]
    Host(BmcAddressFault),
}

/// One entry: `host`, `host:port`, `https://host` or, to allow plain HTTP, `http://host`.
#[derive(Clone, Debug)]
struct HostRule {
    address: BmcAddress,
    any_port: bool,
}

impl Credentials {
    /// Binds a user and password to hosts. An entry without a port stands for all ports of that host; one that begins
    /// with `http://` allows plain HTTP to it.
    ///
    /// # Errors
    /// [`CredentialsFault`] tells what is wrong.
    pub fn new<'a>(
        username: impl Into<String>,
        password: impl Into<String>,
        hosts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, CredentialsFault> {
        let username = username.into();
        let password = Zeroizing::new(password.into());
        if username.is_empty() || username.contains(':') {
            return Err(CredentialsFault::Username);
        }
        let hosts = hosts
            .into_iter()
            .map(host_rule)
            .collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err(CredentialsFault::NoHosts);
        }
        Ok(Self {
            username,
            password,
            hosts,
        })
    }

    /// The user name.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// Whether they may be sent to this BMC.
    pub(super) fn check(&self, address: &BmcAddress) -> Result<(), Fault> {
        if self.hosts.iter().any(|rule| rule.covers(address)) {
            return Ok(());
        }
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        let detail = format!(
            "the credentials of `{}` are not for {address}; they are for {}",
            self.username,
            hosts.join(", ")
        );
        Err(Fault::new(FaultKind::Denied, detail))
    }

    /// Whether plain HTTP to this BMC was allowed by naming it so.
    pub(super) fn allow_plain_http(&self, address: &BmcAddress) -> bool {
        self.hosts
            .iter()
            .any(|rule| !rule.address.is_https() && rule.covers(address))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"redacted")
            .field("hosts", &self.hosts)
            .finish()
    }
}

impl HostRule {
    fn covers(&self, address: &BmcAddress) -> bool {
        let same_port = self.any_port || self.address.port() == address.port();
        self.address.host() == address.host() && same_port
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}

fn host_rule(text: &str) -> Result<HostRule, CredentialsFault> {
    let text = text.trim();
    let address: BmcAddress = text.parse().map_err(CredentialsFault::Host)?;
    let authority = text
        .rsplit("//")
        .next()
        .unwrap_or(text)
        .trim_end_matches('/');
    let after_host = authority.rsplit(']').next().unwrap_or(authority);
    Ok(HostRule {
        address,
        any_port: !after_host.contains(':'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(hosts: &str) -> Credentials {
        Credentials::new("power", "hunter2", hosts.split(',')).expect(hosts)
    }

    #[test]
    fn they_go_only_to_their_hosts() {
        for (hosts, address, allowed) in [
            ("10.0.9.20", "https://10.0.9.20", true),
            ("10.0.9.20", "https://10.0.9.20:8443", true),
            ("10.0.9.20", "https://10.0.9.21", false),
            ("10.0.9.20:8443", "https://10.0.9.20:8443", true),
            ("10.0.9.20:8443", "https://10.0.9.20", false),
            ("a.lan, BMC.lan", "https://bmc.LAN", true),
            ("bmc.lan", "https://bmc.lan.evil", false),
            ("[fd00::9]", "https://[fd00::9]:8443", true),
            ("[fd00::9]:1", "https://[fd00::9]", false),
        ] {
            let address: BmcAddress = address.parse().expect(address);
            let outcome = credentials(hosts).check(&address);
            assert_eq!(outcome.is_ok(), allowed, "{hosts} {address}");
            if let Err(fault) = outcome {
                assert_eq!(fault.kind, FaultKind::Denied);
                assert!(!fault.detail.contains("hunter2"));
            }
        }
    }

    #[test]
    fn plain_http_is_allowed_only_where_it_was_named() {
        let address: BmcAddress = "http://10.0.9.20".parse().expect("an address");
        assert!(credentials("http://10.0.9.20").allow_plain_http(&address));
        assert!(!credentials("10.0.9.20,http://10.0.9.21").allow_plain_http(&address));
    }

    #[test]
    fn unusable_ones_are_refused_and_none_shows_its_password() {
        use CredentialsFault as F;
        assert_eq!(Credentials::new("", "p", ["a"]).err(), Some(F::Username));
        assert_eq!(Credentials::new("a:b", "p", ["a"]).err(), Some(F::Username));
        assert_eq!(Credentials::new("a", "p", []).err(), Some(F::NoHosts));
        assert!(matches!(
            Credentials::new("a", "p", ["x/y"]).err(),
            Some(F::Host(_))
        ));
        assert!(!format!("{:?}", credentials("a")).contains("hunter2"));
    }
}
