//! Where a BMC is, and links that do not leave it.
//! Holds: no user, password, path or query in an address; a [`Link`] always has the scheme, host and port of its BMC.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;
use thiserror::Error;

use crate::fault::{Fault, FaultKind};

/// Address of a BMC: `https://host[:port]`; without a scheme `https://` is meant.
#[derive(Clone, PartialEq, Eq)]
pub struct BmcAddress(Url);

/// Why a text is no address of a BMC.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BmcAddressFault {
    /// Not a URL with a host.
    #[error("`{0}` is no BMC address; write https://10.0.9.20")]
    Form(String),
    /// Neither https nor http.
    #[error("a BMC address begins with https://, not {0}://")]
    Scheme(String),
    /// User or password inside, which would end up in logs.
    #[error("a BMC address must not contain a user or password; name `credentials` instead")]
    Credentials,
    /// More than host and port.
    #[error("BMC address `{0}` must end after host and port; the rest is discovered")]
    Path(String),
}

impl BmcAddress {
    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether the host is this very computer, so that plain HTTP passes no wire.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        ip.map_or_else(|| host == "localhost", |ip| ip.is_loopback())
    }

    /// Host name or address in lower case, IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        // Both schemes have a default port.
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Follows a link from one of the BMC's own answers.
    pub(super) fn link(&self, text: &str) -> Result<Link, Fault> {
        let refuse = |why: &str| {
            let shown = super::message::tidy(text);
            let detail = format!("BMC {self} gave the link `{shown}`, which {why}; not followed");
            Fault::new(FaultKind::Protocol, detail)
        };
        let lower = text.to_ascii_lowercase().replace("%2e", ".");
        let climbs = lower.split(['/', '\\', '?', '#']).any(|part| part == "..");
        if climbs || text.contains('\\') || text.chars().any(char::is_control) {
            return Err(refuse("climbs out of its folder or is malformed"));
        }
        let url = self.0.join(text).map_err(|_| refuse("is no link"))?;
        if url.origin() != self.0.origin() || !url.username().is_empty() || url.password().is_some()
        {
            return Err(refuse("leads to another host, port or scheme"));
        }
        Ok(Link(url))
    }
}

impl FromStr for BmcAddress {
    type Err = BmcAddressFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('@') {
            return Err(BmcAddressFault::Credentials);
        }
        let form = || BmcAddressFault::Form(text.to_owned());
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let url = Url::parse(&whole).map_err(|_| form())?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(BmcAddressFault::Scheme(url.scheme().to_owned()));
        }
        if url.host_str().is_none_or(str::is_empty)
            || url.port() == Some(0)
            || text.contains(char::is_whitespace)
        {
            return Err(form());
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(BmcAddressFault::Path(text.to_owned()));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for BmcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for BmcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An address on the BMC's own origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link(Url);

impl Link {
    pub(super) fn url(&self) -> Url {
        self.0.clone()
    }

    pub(super) fn path(&self) -> &str {
        self.0.path()
    }

    /// The last segment, which by habit is the id of the resource.
    pub(super) fn last_segment(&self) -> &str {
        self.path()
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default()
    }

    pub(super) fn is_path(&self, path: &str) -> bool {
        self.path().trim_end_matches('/') == path.trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port_and_https_unless_said_otherwise() {
        for (text, shown, port) in [
            ("10.0.9.20", "https://10.0.9.20", 443),
            ("https://BMC.lan/", "https://bmc.lan", 443),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000", 8000),
            ("https://[fd00::9]:8443", "https://[fd00::9]:8443", 8443),
        ] {
            let address: BmcAddress = text.parse().expect(text);
            assert_eq!(
                (address.to_string().as_str(), address.port()),
                (shown, port)
            );
        }
    }

    #[test]
    fn broken_addresses_are_refused() {
        use BmcAddressFault as F;
        let owned = |text: &str| text.to_owned();
        for (text, fault) in [
            ("", F::Form(owned(""))),
            ("https://", F::Form(owned("https://"))),
            ("https://a b", F::Form(owned("https://a b"))),
            ("https://bmc:0", F::Form(owned("https://bmc:0"))),
            ("https://bmc:99999", F::Form(owned("https://bmc:99999"))),
            ("ftp://bmc", F::Scheme(owned("ftp"))),
            ("https://root:calvin@bmc", F::Credentials),
            (
                "https://bmc/redfish/v1",
                F::Path(owned("https://bmc/redfish/v1")),
            ),
            ("https://bmc?x", F::Path(owned("https://bmc?x"))),
        ] {
            assert_eq!(text.parse::<BmcAddress>(), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn links_stay_on_the_same_scheme_host_and_port() {
        let bmc: BmcAddress = "https://bmc.lan:8443".parse().expect("an address");
        for good in [
            "/redfish/v1/Systems",
            "https://bmc.lan:8443/redfish/v1/",
            "redfish/v1",
            "/a..b/c",
        ] {
            assert!(bmc.link(good).is_ok(), "{good}");
        }
        for bad in [
            "https://evil/redfish/v1",
            "//evil/redfish/v1",
            "http://bmc.lan:8443/redfish/v1",
            "https://bmc.lan/redfish/v1",
            "https://user@bmc.lan:8443/",
            "/redfish/../admin",
            "/redfish/%2e%2E/admin",
            "..",
            "\\\\evil\\x",
            "/a\nb",
            "file:///etc/passwd",
            "https://[",
        ] {
            let fault = bmc.link(bad).expect_err(bad);
            assert_eq!(fault.kind, FaultKind::Protocol, "{bad}");
        }
    }

    #[test]
    fn only_this_computer_is_loopback() {
        for (text, loopback) in [
            ("http://127.0.0.1", true),
            ("http://127.9.9.9:1", true),
            ("http://[::1]", true),
            ("http://localhost:8000", true),
            ("http://10.0.9.20", false),
            ("http://localhost.evil", false),
            ("http://127.0.0.1.evil", false),
        ] {
            let address: BmcAddress = text.parse().expect(text);
            assert_eq!(address.is_loopback(), loopback, "{text}");
        }
    }
}
