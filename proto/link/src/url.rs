//! A broker's address: `mqtt://host[:port]` or `mqtts://host[:port]`.
//! Holds: what is displayed parses to the same value; an IPv6 address is kept without brackets.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use thiserror::Error;

/// Port of MQTT without TLS where the URL names none.
const PLAIN_PORT: u16 = 1883;
/// Port of MQTT over TLS where the URL names none.
const TLS_PORT: u16 = 8883;

/// Where the broker is, and whether TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl BrokerUrl {
    /// Whether the connection is encrypted (`mqtts://`).
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Host name or address, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host as it stands in `host:port`, an IPv6 address in brackets.
    pub(crate) fn bracketed_host(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", self.bracketed_host(), self.port)
    }
}

/// Why a text is no broker address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BrokerUrlFault {
    /// Neither `mqtt://` nor `mqtts://`.
    #[error(
        "broker address `{0}` must begin with mqtt:// or mqtts://, as in mqtts://192.168.1.10:8883"
    )]
    Scheme(String),
    /// User name or password inside the address; they would end up in logs.
    #[error("broker address must not contain a user or password; set them in their own fields")]
    Credentials,
    /// A path, query, or fragment; MQTT over TCP has none.
    #[error("broker address `{0}` must end after the port")]
    Path(String),
    /// No host, or one with characters that no host has.
    #[error("broker address `{0}` has no valid host")]
    Host(String),
    /// Port not in 1 to 65535.
    #[error("broker address `{0}` has a port that is not a number from 1 to 65535")]
    Port(String),
}

impl FromStr for BrokerUrl {
    type Err = BrokerUrlFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole = || text.to_owned();
        let (tls, rest) = if let Some(rest) = text.strip_prefix("mqtts://") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("mqtt://") {
            (false, rest)
        } else {
            return Err(BrokerUrlFault::Scheme(redacted(text)));
        };
        if rest.contains('@') {
            return Err(BrokerUrlFault::Credentials);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(BrokerUrlFault::Path(whole()));
        }
        let (host, port) = split_port(authority).ok_or_else(|| BrokerUrlFault::Host(whole()))?;
        let port = match port {
            None if tls => TLS_PORT,
            None => PLAIN_PORT,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                match digits.parse() {
                    Ok(port) if port != 0 => port,
                    Ok(_) | Err(_) => return Err(BrokerUrlFault::Port(whole())),
                }
            }
            Some(_) => return Err(BrokerUrlFault::Port(whole())),
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

/// A text without what stands before an `@`, which might be a password.
fn redacted(text: &str) -> String {
    text.rsplit('@').next().unwrap_or(text).to_owned()
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`; `None` if the host is not one.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(inner) = authority.strip_prefix('[') {
        let (host, after) = inner.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if after.is_empty() => Some((host, None)),
            None => None,
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (!host.is_empty() && host.bytes().all(legal)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_with_default_ports_and_display_in_full() {
        for (text, shown) in [
            ("mqtt://broker", "mqtt://broker:1883"),
            ("mqtts://broker", "mqtts://broker:8883"),
            ("mqtts://192.168.1.10:8884/", "mqtts://192.168.1.10:8884"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtts://[fd00::7]:1", "mqtts://[fd00::7]:1"),
        ] {
            let url: BrokerUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse(), Ok(url));
        }
    }

    #[test]
    fn broken_addresses_are_refused_with_the_part_that_is_wrong() {
        use BrokerUrlFault as F;
        let owned = |text: &str| text.to_owned();
        for (text, fault) in [
            ("broker:1883", F::Scheme(owned("broker:1883"))),
            ("http://broker", F::Scheme(owned("http://broker"))),
            ("tcp://u:secret@broker", F::Scheme(owned("broker"))),
            ("mqtt://u:p@broker", F::Credentials),
            ("mqtt://broker/path", F::Path(owned("mqtt://broker/path"))),
            ("mqtt://", F::Host(owned("mqtt://"))),
            ("mqtt://:1883", F::Host(owned("mqtt://:1883"))),
            ("mqtt://bro ker", F::Host(owned("mqtt://bro ker"))),
            ("mqtt://[::1", F::Host(owned("mqtt://[::1"))),
            ("mqtt://[broker]", F::Host(owned("mqtt://[broker]"))),
            ("mqtt://[::1]1883", F::Host(owned("mqtt://[::1]1883"))),
            ("mqtt://broker:", F::Port(owned("mqtt://broker:"))),
            ("mqtt://broker:0", F::Port(owned("mqtt://broker:0"))),
            ("mqtt://broker:+1", F::Port(owned("mqtt://broker:+1"))),
            ("mqtt://broker:65536", F::Port(owned("mqtt://broker:65536"))),
            ("mqtt://::1", F::Host(owned("mqtt://::1"))),
        ] {
            assert_eq!(text.parse::<BrokerUrl>(), Err(fault), "{text}");
        }
    }
}
