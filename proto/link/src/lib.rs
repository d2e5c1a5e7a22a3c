//! An MQTT v5 connection over TCP or TLS that reconnects by itself.
//! In: [`LinkOptions`] once, then [`Message`]s by [`LinkHandle`]. Out: [`LinkEvent`]s, and one [`Delivery`] for each message.
//! Holds: clean start, no session, one rumqttc event loop for each connection, subscriptions renewed on every connection;
//! a message published by [`LinkHandle::publish`] is written at most once; password and authorities are read for each connection.
//! Not here: topics and payloads (`proto-mqtt`), and any decision about them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use proto_link::{LinkEvent, LinkOptions, Message, Subscription};
//!
//! let mut options = LinkOptions::new("mqtts://192.168.1.10:8883".parse()?, "nuc1");
//! options.ca_file = Some("/etc/homelab-agent/ca.pem".into());
//! options.subscriptions = vec![Subscription::live("hla/v1/a/nuc1/cmd")];
//! let (link, mut events) = proto_link::connect(options)?;
//! while let Some(event) = events.recv().await {
//!     if let LinkEvent::Up { connection } = event {
//!         let text = format!("connection {connection}");
//!         let delivery = link.publish(Message::once("hla/v1/a/nuc1/status", text)).await;
//!         println!("{delivery:?}");
//!     }
//! }
//! # Ok(()) }
//! ```

mod access;
mod backoff;
mod clock_file;
mod connection;
mod driver;
mod events;
mod fault;
mod handle;
mod options;
mod outbox;
mod pace;
mod tls;
mod tunnel;
mod url;
mod verifier;

pub use backoff::Backoff;
pub use fault::{LinkConfigFault, LinkFault, LinkSetting};
pub use handle::{Delivery, LinkEvent, LinkHandle, OutboxFull, connect};
pub use options::{LinkOptions, Message, Qos, Retained, Subscription, Will};
pub use url::{BrokerUrl, BrokerUrlFault};
