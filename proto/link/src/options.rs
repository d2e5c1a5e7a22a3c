//! What a caller chooses about a link: broker, identity, will, subscriptions, timing.
//! Holds: no secret is in here, only the names of the files with them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::access::Access;
use crate::backoff::Backoff;
use crate::fault::LinkConfigFault;
use crate::url::BrokerUrl;

/// What rumqttc accepts (it panics below 5 s) and the protocol can say.
const KEEP_ALIVE_S: std::ops::RangeInclusive<u64> = 5..=65_535;
/// CONNACK and the packets around a payload need this much.
const MIN_MAX_PACKET: u32 = 256;

/// Builds the last will of a connection from the connection's number, the one [`LinkEvent::Up`](crate::LinkEvent::Up)
/// will carry if it succeeds; `None` = no will. A message's expiry becomes the will's expiry.
pub type Will = Arc<dyn Fn(u32) -> Option<Message> + Send + Sync>;

/// Everything [`connect`](crate::connect) needs.
#[derive(Clone)]
pub struct LinkOptions {
    /// Where the broker is, and whether TLS is spoken.
    pub url: BrokerUrl,
    /// MQTT client id; a broker disconnects the older of two clients with one id.
    pub client_id: String,
    /// User name at the broker.
    pub username: Option<String>,
    /// File whose first line is the password at the broker; needs a user name. Read for each connection.
    pub password_file: Option<PathBuf>,
    /// PEM file with the only authorities that are trusted; `None` = those of the system. Only for `mqtts://`. Read for
    /// each connection.
    pub ca_file: Option<PathBuf>,
    /// File that remembers when a broker's certificate was accepted last, for hosts whose clock begins in the past at each
    /// start: a certificate that is not yet valid is judged by that time. `None` = only the clock counts.
    pub clock_file: Option<PathBuf>,
    /// The last will, asked for anew before each connection.
    pub will: Will,
    /// Renewed on every connection, in one SUBSCRIBE.
    pub subscriptions: Vec<Subscription>,
    /// Idle time after which the client pings; a dead broker is noticed after one to two of it. At least 5 s.
    pub keep_alive: Duration,
    /// Largest packet in bytes that the broker may send us; it drops larger ones.
    pub max_packet: u32,
    /// Waiting times between attempts.
    pub reconnect: Backoff,
    /// How long messages that come in may be left lying, to be taken in together; zero takes each in at once. One who hears
    /// a thousand publishers then wakes ten times a second instead of a hundred times. What goes out never waits for it.
    pub gather: Duration,
}

impl LinkOptions {
    /// Options with the defaults: no user, system roots, no will, no subscription, keep-alive 15 s, packets up to
    /// 8192 bytes, reconnect after 1 s up to 30 s, nothing gathered.
    #[must_use]
    pub fn new(url: BrokerUrl, client_id: impl Into<String>) -> Self {
        Self {
            url,
            client_id: client_id.into(),
            username: None,
            password_file: None,
            ca_file: None,
            clock_file: None,
            will: Arc::new(|_connection| None),
            subscriptions: Vec::new(),
            keep_alive: Duration::from_secs(15),
            max_packet: 8192,
            reconnect: Backoff::default(),
            gather: Duration::ZERO,
        }
    }

    /// Whether a link can be built from these options; reads the files and the system's authorities, connects to nothing.
    ///
    /// # Errors
    /// The same as from [`connect`](crate::connect).
    pub fn check(&self) -> Result<(), LinkConfigFault> {
        if self.client_id.is_empty() {
            return Err(LinkConfigFault::ClientId);
        }
        if self.password_file.is_some() && self.username.is_none() {
            return Err(LinkConfigFault::PasswordWithoutUser);
        }
        if !(KEEP_ALIVE_S.contains(&self.keep_alive.as_secs())) {
            return Err(LinkConfigFault::KeepAlive(self.keep_alive));
        }
        if self.max_packet < MIN_MAX_PACKET {
            return Err(LinkConfigFault::MaxPacket(self.max_packet));
        }
        if self.reconnect.min.is_zero() || self.reconnect.min > self.reconnect.max {
            return Err(LinkConfigFault::Reconnect);
        }
        if self.ca_file.is_some() && !self.url.is_tls() {
            return Err(LinkConfigFault::CaWithoutTls);
        }
        for subscription in &self.subscriptions {
            if !rumqttc::valid_filter(&subscription.filter) {
                return Err(LinkConfigFault::Filter(subscription.filter.clone()));
            }
        }
        Access::read(self).map(drop)
    }
}

impl fmt::Debug for LinkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkOptions")
            .field("url", &self.url)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .field("clock_file", &self.clock_file)
            .field("subscriptions", &self.subscriptions)
            .field("keep_alive", &self.keep_alive)
            .field("max_packet", &self.max_packet)
            .field("reconnect", &self.reconnect)
            .field("gather", &self.gather)
            .finish_non_exhaustive()
    }
}

/// Quality of service of a publication or subscription. QoS 2 is not offered: the receiver can still crash between
/// acting and acknowledging, so its promise helps nobody here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// QoS 0: written once, nobody acknowledges.
    AtMostOnce,
    /// QoS 1: the broker acknowledges that it has the message.
    AtLeastOnce,
}

/// What happens to the messages that the broker has stored under a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retained {
    /// Stored messages are not wanted. A message that carries the retain flag was *published* retained, which is
    /// an error for a command.
    Never,
    /// Stored messages come at each subscription with the retain flag set; live ones come without it.
    Send,
}

/// One topic filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// MQTT filter, `+` and `#` allowed.
    pub filter: String,
    /// Highest quality of service that the broker may use.
    pub qos: Qos,
    /// Whether stored messages are wanted.
    pub retained: Retained,
}

impl Subscription {
    /// QoS 1, live messages only.
    #[must_use]
    pub fn live(filter: impl Into<String>) -> Self {
        Self {
            filter: filter.into(),
            qos: Qos::AtLeastOnce,
            retained: Retained::Never,
        }
    }

    /// QoS 1, stored messages first.
    #[must_use]
    pub fn stored(filter: impl Into<String>) -> Self {
        Self {
            retained: Retained::Send,
            ..Self::live(filter)
        }
    }
}

/// A publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// MQTT topic, no wildcards.
    pub topic: String,
    /// The bytes.
    pub payload: Bytes,
    /// Whether the broker acknowledges.
    pub qos: Qos,
    /// Whether the broker stores it for later subscribers.
    pub retain: bool,
    /// After this time the broker forgets it, and an unsent one is given up. Rounded up to whole seconds on the wire.
    pub expiry: Option<Duration>,
}

impl Message {
    /// QoS 1, not retained, no expiry.
    #[must_use]
    pub fn once(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            expiry: None,
        }
    }
}
