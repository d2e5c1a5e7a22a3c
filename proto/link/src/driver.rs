//! The task behind a link: connects, subscribes, sends, and starts again after each end.
//! In: requests of the handles, reports of the connection. Out: [`LinkEvent`]s, and the answers to parcels.
//! Holds: it never waits for the caller, so a slow caller cannot stop the pings.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{Publish, SubscribeReasonCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::backoff::{Waits, chance};
use crate::connection::{Connection, Wire, packet_size};
use crate::events::EventQueue;
use crate::fault::{LinkConfigFault, LinkFault};
use crate::handle::{Delivery, LinkEvent};
use crate::options::LinkOptions;
use crate::outbox::{Outbox, Parcel};

/// A broker that accepts us but does not answer SUBSCRIBE is a broken one.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a close waits for acknowledgements, and then again for the broker to hang up.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Far enough away to mean "no deadline".
const NEVER: Duration = Duration::from_secs(3600);

/// What handles ask for.
#[derive(Debug)]
pub(crate) enum Request {
    Publish(Parcel),
    Close(oneshot::Sender<()>),
}

/// Why a phase of the driver ended.
enum End {
    /// Connect again after a wait.
    Fault(LinkFault),
    /// A handle asked to close.
    Closing(oneshot::Sender<()>),
    /// No handle is left.
    Abandoned,
}

pub(crate) struct Driver {
    options: LinkOptions,
    requests: mpsc::Receiver<Request>,
    events: EventQueue,
    outbox: Outbox,
    /// Number of the connection that is being made or was made last.
    connection: u32,
    /// Whether a CONNECT of this number may have reached the broker, which may then hold a will of this number.
    number_used: bool,
    /// Unacknowledged packets that the broker allows on this connection.
    window: u16,
    /// Largest packet that the broker takes on this connection.
    max_packet: Option<u32>,
    /// The fault that was told last, while it lasts.
    told: Option<LinkFault>,
    online_since: Option<Instant>,
    subscribe_deadline: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(
        options: LinkOptions,
        requests: mpsc::Receiver<Request>,
        events: mpsc::Sender<LinkEvent>,
    ) -> Result<Self, LinkConfigFault> {
        options.check()?;
        Ok(Self {
            options,
            requests,
            events: EventQueue::new(events),
            outbox: Outbox::new(),
            connection: 1,
            number_used: false,
            window: 0,
            max_packet: None,
            told: None,
            online_since: None,
            subscribe_deadline: None,
        })
    }

    pub(crate) async fn run(mut self) {
        let mut waits = Waits::new(self.options.reconnect);
        loop {
            let end = match Connection::open(&self.options, self.connection) {
                Ok(connection) => self.serve(connection).await,
                Err(fault) => End::Fault(fault),
            };
            let online = self
                .online_since
                .take()
                .map_or(Duration::ZERO, |since| since.elapsed());
            self.subscribe_deadline = None;
            self.outbox.disconnected();
            self.events.ended();
            if std::mem::take(&mut self.number_used) {
                self.connection = self.connection.saturating_add(1);
            }
            let end = match end {
                End::Fault(fault) => {
                    self.tell(fault);
                    let wait = waits.after(online, chance());
                    self.rest(Instant::now() + wait).await
                }
                end @ (End::Closing(_) | End::Abandoned) => Some(end),
            };
            match end {
                None | Some(End::Fault(_)) => {}
                Some(End::Closing(done)) => {
                    // The caller may have stopped waiting.
                    let _ = done.send(());
                    return;
                }
                Some(End::Abandoned) => return,
            }
        }
    }

    /// Works with one connection until it ends.
    async fn serve(&mut self, mut connection: Connection) -> End {
        loop {
            self.pump(&connection);
            let deadline = self.deadline();
            tokio::select! {
                wire = connection.next() => {
                    let ended = match wire {
                        Some(wire) => self.on_wire(wire, &connection),
                        None => Some(self.ended("its task failed")),
                    };
                    if let Some(fault) = ended {
                        return End::Fault(fault);
                    }
                }
                request = self.requests.recv() => match request {
                    Some(Request::Publish(parcel)) => self.accept(parcel),
                    Some(Request::Close(done)) => {
                        self.farewell(connection).await;
                        return End::Closing(done);
                    }
                    None => return End::Abandoned,
                },
                () = self.events.forward(), if self.events.has_waiting() => {}
                () = sleep_until(deadline) => {
                    let now = Instant::now();
                    self.outbox.expire(now);
                    if self.subscribe_deadline.is_some_and(|at| at <= now) {
                        return End::Fault(LinkFault::Timeout { broker: self.options.url.to_string() });
                    }
                }
            }
        }
    }

    /// Waits before the next attempt, serving the handles meanwhile.
    async fn rest(&mut self, until: Instant) -> Option<End> {
        loop {
            let deadline = self.deadline().min(until);
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request::Publish(parcel)) => self.accept(parcel),
                    Some(Request::Close(done)) => return Some(End::Closing(done)),
                    None => return Some(End::Abandoned),
                },
                () = self.events.forward(), if self.events.has_waiting() => {}
                () = sleep_until(deadline) => {
                    let now = Instant::now();
                    self.outbox.expire(now);
                    if now >= until {
                        return None;
                    }
                }
            }
        }
    }

    /// Sends what is left, says good-bye, and waits for the broker to hang up.
    async fn farewell(&mut self, mut connection: Connection) {
        if !self.outbox.is_online() {
            return;
        }
        let flushed = Instant::now() + CLOSE_TIMEOUT;
        while !self.outbox.is_empty() {
            self.pump(&connection);
            tokio::select! {
                wire = connection.next() => {
                    let fault = wire.map(|wire| self.on_wire(wire, &connection));
                    if !matches!(fault, Some(None)) {
                        return;
                    }
                }
                () = sleep_until(flushed) => break,
            }
        }
        connection.disconnect();
        let gone = Instant::now() + CLOSE_TIMEOUT;
        // Cutting the connection ourselves could destroy the DISCONNECT on its way.
        while let Ok(Some(_)) = tokio::time::timeout_at(gone, connection.next()).await {}
    }

    /// Hands to the wire what may go.
    fn pump(&mut self, connection: &Connection) {
        let now = Instant::now();
        while let Some(parcel) = self.outbox.next(now) {
            let size = packet_size(&parcel.message);
            if let Some(max) = self.max_packet.filter(|max| size > *max as usize) {
                let reason = format!("{size} bytes are more than the broker's limit of {max}");
                parcel.settle(Delivery::Refused { reason });
            } else if connection.publish(&parcel.message, parcel.remaining(now)) {
                self.outbox.handed(parcel);
            } else {
                self.outbox.give_back(parcel);
                return;
            }
        }
    }

    fn accept(&mut self, parcel: Parcel) {
        if rumqttc::valid_topic(&parcel.message.topic) && !parcel.message.topic.is_empty() {
            self.outbox.put(parcel);
        } else {
            let reason = format!(
                "`{}` is not a valid topic to publish to",
                parcel.message.topic
            );
            parcel.settle(Delivery::Refused { reason });
        }
    }

    /// Takes a report; `Some` ends the connection.
    fn on_wire(&mut self, wire: Wire, connection: &Connection) -> Option<LinkFault> {
        match wire {
            Wire::Accepted { window, max_packet } => {
                self.number_used = true;
                self.window = window;
                self.max_packet = max_packet;
                self.on_accepted(connection)
            }
            Wire::Subscribed(codes) => self.on_subscribed(&codes),
            Wire::Wrote(packet_id) => {
                self.outbox.wrote(packet_id);
                None
            }
            Wire::Acked(packet_id, delivery) => {
                self.outbox.acked(packet_id, delivery);
                None
            }
            Wire::Received(publish) => {
                self.on_message(publish);
                None
            }
            Wire::Ended { fault, reached } => {
                self.number_used |= reached;
                Some(fault)
            }
        }
    }

    fn on_accepted(&mut self, connection: &Connection) -> Option<LinkFault> {
        if self.options.subscriptions.is_empty() {
            self.go_up();
            return None;
        }
        self.subscribe_deadline = Some(Instant::now() + SUBSCRIBE_TIMEOUT);
        // The channel of a new connection is empty, so there is room.
        if connection.subscribe(&self.options.subscriptions) {
            None
        } else {
            Some(self.ended("SUBSCRIBE could not be sent"))
        }
    }

    fn on_subscribed(&mut self, codes: &[SubscribeReasonCode]) -> Option<LinkFault> {
        self.subscribe_deadline = None;
        let answers = self.options.subscriptions.iter().zip(codes);
        for (subscription, code) in answers {
            if !matches!(code, SubscribeReasonCode::Success(_)) {
                return Some(LinkFault::Subscription {
                    broker: self.options.url.to_string(),
                    filter: subscription.filter.clone(),
                    detail: format!("{code:?}"),
                });
            }
        }
        if codes.len() < self.options.subscriptions.len() {
            return Some(self.ended("SUBACK has too few answers"));
        }
        self.go_up();
        None
    }

    fn on_message(&mut self, publish: Publish) {
        match String::from_utf8(publish.topic.to_vec()) {
            Ok(topic) => self.events.message(LinkEvent::Message {
                topic,
                payload: publish.payload,
                retain: publish.retain,
            }),
            Err(_) => tracing::debug!("message with a topic that is not UTF-8 dropped"),
        }
    }

    fn go_up(&mut self) {
        tracing::info!(broker = %self.options.url, connection = self.connection, "link up");
        self.told = None;
        self.online_since = Some(Instant::now());
        self.outbox.connected(self.window);
        self.events.up(self.connection);
    }

    /// Tells a fault when it is another one than the last.
    fn tell(&mut self, fault: LinkFault) {
        if self.told.as_ref() == Some(&fault) {
            tracing::debug!(%fault, "link still down");
            return;
        }
        tracing::warn!(%fault, reason = fault.reason(), "link down");
        self.told = Some(fault.clone());
        self.events.down(fault);
    }

    fn ended(&self, detail: &str) -> LinkFault {
        LinkFault::Ended {
            broker: self.options.url.to_string(),
            detail: detail.to_owned(),
        }
    }

    fn deadline(&self) -> Instant {
        let never = Instant::now() + NEVER;
        let expiry = self.outbox.next_expiry().unwrap_or(never);
        self.subscribe_deadline.unwrap_or(never).min(expiry)
    }
}
