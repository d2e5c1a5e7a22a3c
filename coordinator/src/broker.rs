//! The embedded MQTT broker of standalone mode, for trials on one host.
//!
//! In: a loopback address, port 0 for any free port. Out: the address it listens on.
//! Holds: it never listens beyond loopback, because it can neither encrypt nor say who may publish where. Commands are
//! signed and bound to a challenge, so this guards against noise, not against forged orders.
//! Not here: a broker for a real lab. That is mosquitto with the shipped ACL, named with `--broker`.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use tokio::{net::TcpStream, sync::oneshot, time};

/// What rumqttd's log lines start with. It reports every closed connection as an error, so its lines are best filtered out.
pub const LOG_TARGET: &str = "rumqttd";
/// Agents, relays and a few people with `mosquitto_sub`.
const CONNECTIONS: usize = 2_000;
/// Messages handed to one connection at a time.
const BURST: u64 = 200;
/// Bytes of one piece of a topic's log; the oldest piece is dropped when there are [`SEGMENTS`].
const SEGMENT: usize = 64 << 10;
const SEGMENTS: usize = 4;
/// Largest packet; agents accept 8 KiB, an inventory with many network cards is larger.
const PAYLOAD: usize = 64 << 10;
/// Unacknowledged messages of one connection.
const IN_FLIGHT: usize = 200;
/// How long a new connection may take until it says CONNECT, milliseconds.
const CONNECT_MS: u16 = 5_000;
/// How long the broker may take until it listens. It takes a few milliseconds.
const START: Duration = Duration::from_secs(10);
/// Between two looks whether it listens.
const LOOK: Duration = Duration::from_millis(5);

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum StartBroker {
    /// The address can be reached from other hosts.
    #[error(
        "--embedded-broker {address}: only a loopback address such as 127.0.0.1:1883 is allowed, because this broker \
         has neither TLS nor access rules; for other hosts run mosquitto and name it with --broker"
    )]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address is taken or does not exist.
    #[error(
        "--embedded-broker {address}: cannot listen there; if a broker runs there already, use it with \
         --broker mqtt://{address}, else choose another port (0 = any)"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gave no thread.
    #[error("embedded broker: no thread for it")]
    Thread(#[source] io::Error),
    /// It gave up while starting.
    #[error("embedded broker at {address}: ended while it was starting")]
    Ended {
        /// Where it was to listen.
        address: SocketAddr,
    },
}

/// Starts the broker in a thread of its own and waits until it accepts connections. It runs until the process ends.
///
/// # Errors
///
/// The address is not loopback or is taken, or the broker gives up.
pub async fn start(address: SocketAddr) -> Result<SocketAddr, StartBroker> {
    if !address.ip().is_loopback() {
        return Err(StartBroker::NotLoopback { address });
    }
    let listening = free_port(address).map_err(|source| StartBroker::Listen { address, source })?;
    let mut broker = Broker::new(config(listening));
    let (ended, mut end) = oneshot::channel();
    thread::Builder::new()
        .name("broker".to_owned())
        .spawn(move || {
            // It returns only if it could not listen, or if its own thread died.
            let outcome = broker.start();
            if ended.send(()).is_err() {
                tracing::error!(?outcome, "the embedded broker has ended");
            }
        })
        .map_err(StartBroker::Thread)?;
    let heard = time::timeout(START, async {
        while TcpStream::connect(listening).await.is_err() {
            time::sleep(LOOK).await;
        }
    });
    tokio::select! {
        biased;
        _ = &mut end => Err(StartBroker::Ended { address: listening }),
        heard = heard => match heard {
            Ok(()) => Ok(listening),
            Err(_) => Err(StartBroker::Ended { address: listening }),
        },
    }
}

/// The address with its port, or with a port that is free now: the broker cannot tell us which one the system chose.
fn free_port(address: SocketAddr) -> Result<SocketAddr, io::Error> {
    TcpListener::bind(address)?.local_addr()
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: CONNECT_MS,
        max_payload_size: PAYLOAD,
        max_inflight_count: IN_FLIGHT,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "mqtt".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 0,
        connections,
    };
    Config {
        router: RouterConfig {
            max_connections: CONNECTIONS,
            max_outgoing_packet_count: BURST,
            max_segment_size: SEGMENT,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("mqtt".to_owned(), server)])),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn it_listens_on_a_port_of_the_systems_choice_and_speaks_mqtt_5() {
        let listening = start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        assert_ne!(listening.port(), 0);
        let mut stream = TcpStream::connect(listening).await.unwrap();
        // CONNECT: MQTT, version 5, clean start, keep-alive 15 s, no properties, client id "a".
        let connect = [
            0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 15, 0, 0, 1, b'a',
        ];
        stream.write_all(&connect).await.unwrap();
        let mut answer = [0; 4];
        let read = time::timeout(START, stream.read_exact(&mut answer)).await;
        read.expect("an answer in time").unwrap();
        assert_eq!(answer[0], 0x20, "CONNACK");
        assert_eq!(answer[3], 0, "success");
    }

    #[tokio::test]
    async fn addresses_beyond_loopback_are_refused_with_the_reason() {
        for address in ["0.0.0.0:0", "192.168.1.10:1883", "[::]:0"] {
            let refused = start(address.parse().unwrap()).await.unwrap_err();
            assert!(matches!(refused, StartBroker::NotLoopback { .. }));
            let words = refused.to_string();
            assert!(
                words.contains(address) && words.contains("--broker"),
                "{words}"
            );
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let refused = start(address).await.unwrap_err();
        assert!(matches!(refused, StartBroker::Listen { .. }));
        assert!(refused.to_string().contains(&format!("mqtt://{address}")));
    }
}
