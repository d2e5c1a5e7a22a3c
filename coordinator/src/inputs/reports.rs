//! What agents say over MQTT, and the connection it comes by.
//! In: messages under `hla/v1/a/+/…`. Out: facts; the present connection for `outputs::commands`.
//! Holds: connected only while this process serves, because a broker drops the older of two coordinators.
//! Holds: a retained heartbeat is no sign of life; a result counts as trusted only under the agent's pinned key.
//! Not here: what a message means for a machine (`coordinator-core`).

use std::sync::Arc;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use coordinator_core::Fact;
use proto_link::{LinkConfigFault, LinkEvent, LinkHandle, LinkOptions, Message, Subscription};
use proto_mqtt::report::{CoordinatorState, CoordinatorStatus};
use proto_mqtt::version::V1;
use proto_mqtt::{AgentTopic, MAX_PAYLOAD_BYTES, Payload as _, Text, Topic};
use tokio::sync::{mpsc, watch};

use crate::engine::Handle;
use crate::metrics::Metrics;

pub mod parse;
mod reader;
mod readings;
mod words;

pub use readings::{Reading, Readings};

use reader::Reader;

/// The MQTT client id. One for all replicas: the broker then keeps only the newest leader connected.
pub const CLIENT_ID: &str = "homelab-coordinator";
/// Payloads have their own limit; a packet also carries topic and properties, and `last` holds several results.
const MAX_PACKET: u32 = 4 * MAX_PAYLOAD_BYTES as u32;
/// A thousand agents beat a hundred times a second, and waking for each costs more than reading it. Short enough that nobody
/// notices; commands never wait for it.
const GATHER: Duration = Duration::from_millis(100);
/// Before a link that ended by itself is made anew.
const REVIVAL: Duration = Duration::from_secs(1);

/// Everything that the connection needs.
pub struct Connection {
    /// Where the broker is and who we are there; see [`options`].
    pub options: LinkOptions,
    /// Where the present connection is put, for `outputs::commands`.
    pub line: watch::Sender<Option<LinkHandle>>,
    /// Counts messages.
    pub metrics: Metrics,
    /// Where the agents' sensors are put, for people.
    pub readings: Readings,
}

/// Completes the options of a connection: client id, subscriptions, will.
#[must_use]
pub fn options(mut options: LinkOptions, leader: &str) -> LinkOptions {
    CLIENT_ID.clone_into(&mut options.client_id);
    options.max_packet = MAX_PACKET;
    options.gather = GATHER;
    options.subscriptions = vec![
        Subscription::stored(AgentTopic::Status.of_all()),
        Subscription::stored(AgentTopic::Inventory.of_all()),
        Subscription::stored(AgentTopic::Last.of_all()),
        Subscription::stored(AgentTopic::Health.of_all()),
        Subscription::live(AgentTopic::Heartbeat.of_all()),
        Subscription::live(AgentTopic::Result.of_all()),
    ];
    let will = presence(CoordinatorState::Offline, leader);
    options.will = Arc::new(move |_connection| Some(will.clone()));
    options
}

fn presence(state: CoordinatorState, leader: &str) -> Message {
    let status = CoordinatorStatus {
        v: V1,
        state,
        leader: Text::shortened(leader),
        since: Text::shortened(&Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)),
    };
    Message {
        retain: true,
        ..Message::once(Topic::CoordinatorStatus.to_string(), status.encode())
    }
}

/// Keeps the connection while this process serves; returns after `stop` became true and the broker was told.
///
/// # Errors
/// The options do not make a connection; trying again would not help.
pub async fn run(
    engine: Handle,
    connection: Connection,
    leader: &str,
    mut stop: watch::Receiver<bool>,
) -> Result<(), LinkConfigFault> {
    let mut serving = engine.view.clone();
    let mut reader = Reader::new(engine.clone(), connection.metrics, connection.readings);
    loop {
        tokio::select! {
            // The sender outlives every task; an error means that the process is ending.
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            waited = serving.wait_for(|view| view.serving) => if waited.is_err() {
                return Ok(());
            },
        }
        let (link, mut events) = proto_link::connect(connection.options.clone())?;
        connection.line.send_replace(Some(link.clone()));
        let ended = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Ended::Stop,
            _ = serving.wait_for(|view| !view.serving) => Ended::NotServing,
            () = pump(&mut reader, &link, &mut events, leader) => Ended::ByItself,
        };
        connection.line.send_replace(None);
        if let Ended::Stop = ended {
            // The will is dropped by a farewell, so the same is said before it. `close` waits for both.
            drop(link.publish(presence(CoordinatorState::Offline, leader)));
        }
        link.close().await;
        engine.facts.tell(Fact::Broker { up: false }).await;
        match ended {
            Ended::Stop => return Ok(()),
            Ended::NotServing => tracing::info!("not serving any more; broker left"),
            Ended::ByItself => tokio::time::sleep(REVIVAL).await,
        }
    }
}

enum Ended {
    Stop,
    NotServing,
    ByItself,
}

/// Turns events into facts until the link ends.
async fn pump(
    reader: &mut Reader,
    link: &LinkHandle,
    events: &mut mpsc::Receiver<LinkEvent>,
    leader: &str,
) {
    while let Some(event) = events.recv().await {
        match event {
            LinkEvent::Up { connection } => {
                tracing::info!(connection, "broker connected");
                // Only people read it; if it is lost, the next connection says it again.
                drop(link.publish(presence(CoordinatorState::Online, leader)));
                reader.tell(Fact::Broker { up: true }).await;
            }
            LinkEvent::Down { reason } => {
                tracing::warn!(reason = reason.reason(), %reason, "broker not connected");
                reader.tell(Fact::Broker { up: false }).await;
            }
            LinkEvent::Message {
                topic,
                payload,
                retain,
            } => reader.read(&topic, &payload, retain).await,
        }
    }
}

#[cfg(test)]
mod tests;
