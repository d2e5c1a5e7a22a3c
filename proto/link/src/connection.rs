//! One rumqttc event loop for one connection, polled in a task of its own.
//! In: SUBSCRIBE, PUBLISH, DISCONNECT. Out: [`Wire`] events, the last one saying why it ended.
//! Holds: nothing is carried over to the next connection; dropping it cuts the connection.
//! Not here: reconnecting (`driver`), and which message may be sent when (`outbox`).

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason, Publish,
    PublishProperties, RetainForwardRule, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{Outgoing, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::fault::LinkFault;
use crate::handle::Delivery;
use crate::options::{LinkOptions, Message, Qos, Retained, Subscription};
use crate::pace::{Hurry, Pace};
use crate::tunnel::Tunnel;

/// Unacknowledged QoS 1 publications on one connection; rumqttc's own default costs 14 MB.
const INFLIGHT: u16 = 16;
/// Unacknowledged messages that the broker may have on its way to us.
const RECEIVE_MAXIMUM: u16 = 8;
/// TCP, TLS and MQTT handshake together.
const CONNECT_TIMEOUT_S: u64 = 10;
/// Requests and events on their way between the two tasks.
const CHANNEL: usize = 64;

/// What a connection reports.
pub(crate) enum Wire {
    /// The broker accepted us.
    Accepted {
        window: u16,
        max_packet: Option<u32>,
    },
    /// The broker answered SUBSCRIBE, one code for each filter.
    Subscribed(Vec<SubscribeReasonCode>),
    /// The oldest publication not yet reported was written; zero for QoS 0.
    Wrote(u16),
    /// The broker answered a publication.
    Acked(u16, Delivery),
    /// A message came in.
    Received(Publish),
    /// The connection ended. `reached` tells whether our CONNECT can have reached the broker.
    Ended { fault: LinkFault, reached: bool },
}

/// A connection that is being made, is up, or has just ended.
pub(crate) struct Connection {
    client: AsyncClient,
    wire: mpsc::Receiver<Wire>,
    hurry: Hurry,
    poll: JoinHandle<()>,
}

impl Connection {
    /// Reads what may have been renewed, and begins to connect.
    pub(crate) fn open(options: &LinkOptions, number: u32) -> Result<Self, LinkFault> {
        let Access { password, tls } = Access::read(options)?;
        let tunnel = tls.map(|tls| Tunnel::open(&options.url, tls)).transpose()?;
        let mut mqtt = mqtt_options(options, tunnel.as_ref(), number);
        if let Some(user) = &options.username {
            mqtt.set_credentials(user, password.unwrap_or_default());
        }
        let (client, event_loop) = AsyncClient::new(mqtt, CHANNEL);
        let (events, wire) = mpsc::channel(CHANNEL);
        let (pace, hurry) = Pace::new(options.gather);
        let broker = Broker::of(options);
        let poll = tokio::spawn(poll((event_loop, pace), tunnel, events, broker));
        Ok(Self {
            client,
            wire,
            hurry,
            poll,
        })
    }

    /// The next report; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Option<Wire> {
        self.wire.recv().await
    }

    /// Asks for all subscriptions in one packet.
    pub(crate) fn subscribe(&self, subscriptions: &[Subscription]) -> bool {
        let filters = subscriptions.iter().map(filter);
        let handed = self.client.try_subscribe_many(filters).is_ok();
        self.hurry.now();
        handed
    }

    /// Hands over a publication with the time that is left for it; `false` = no room now.
    pub(crate) fn publish(&self, message: &Message, remaining: Option<Duration>) -> bool {
        let properties = publish_properties(remaining);
        let handed = self.client.try_publish_with_properties(
            message.topic.clone(),
            qos(message.qos),
            message.retain,
            message.payload.clone(),
            properties,
        );
        self.hurry.now();
        handed.is_ok()
    }

    /// Says good-bye; the broker then closes the connection.
    pub(crate) fn disconnect(&self) {
        if self.client.try_disconnect().is_err() {
            tracing::debug!("no room for DISCONNECT, the connection is cut instead");
        }
        self.hurry.now();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

/// Bytes that a publication takes on the wire at most.
pub(crate) fn packet_size(message: &Message) -> usize {
    let properties = publish_properties(message.expiry);
    // The packet id is not yet known, so its two bytes are added.
    2 + Publish::new(
        message.topic.clone(),
        qos(message.qos),
        message.payload.clone(),
        Some(properties),
    )
    .size()
}

fn publish_properties(remaining: Option<Duration>) -> PublishProperties {
    PublishProperties {
        message_expiry_interval: remaining.map(whole_seconds),
        ..PublishProperties::default()
    }
}

/// MQTT counts whole seconds, and zero would mean "never keep it".
fn whole_seconds(duration: Duration) -> u32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

fn filter(subscription: &Subscription) -> Filter {
    let mut filter = Filter::new(subscription.filter.clone(), qos(subscription.qos));
    match subscription.retained {
        Retained::Never => {
            filter.retain_forward_rule = RetainForwardRule::Never;
            // Stored messages never come, so a retain flag can show that the publisher set it.
            filter.preserve_retain = true;
        }
        Retained::Send => {
            filter.retain_forward_rule = RetainForwardRule::OnEverySubscribe;
            // The flag then tells a stored message from a live one.
            filter.preserve_retain = false;
        }
    }
    filter
}

fn mqtt_options(options: &LinkOptions, tunnel: Option<&Tunnel>, number: u32) -> MqttOptions {
    let mut mqtt = match tunnel {
        Some(tunnel) => {
            let path = tunnel.socket().to_string_lossy().into_owned();
            let mut mqtt = MqttOptions::new(options.client_id.clone(), path, 0);
            mqtt.set_transport(Transport::unix());
            mqtt
        }
        None => MqttOptions::new(
            options.client_id.clone(),
            options.url.bracketed_host(),
            options.url.port(),
        ),
    };
    mqtt.set_clean_start(true)
        .set_session_expiry_interval(Some(0))
        .set_keep_alive(options.keep_alive)
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_max_packet_size(Some(options.max_packet))
        .set_outgoing_inflight_upper_limit(INFLIGHT)
        .set_connection_timeout(CONNECT_TIMEOUT_S);
    let mut network = mqtt.network_options();
    network.set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    if let Some(will) = (options.will)(number) {
        mqtt.set_last_will(last_will(will));
    }
    mqtt
}

fn last_will(will: Message) -> LastWill {
    let properties = LastWillProperties {
        delay_interval: None,
        payload_format_indicator: None,
        message_expiry_interval: will.expiry.map(whole_seconds),
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    LastWill::new(
        will.topic,
        will.payload,
        qos(will.qos),
        will.retain,
        Some(properties),
    )
}

async fn poll(
    (mut event_loop, mut pace): (EventLoop, Pace),
    tunnel: Option<Tunnel>,
    events: mpsc::Sender<Wire>,
    broker: Broker,
) {
    let mut accepted = false;
    loop {
        let wire = match event_loop.poll().await {
            Ok(event) => report(event),
            Err(error) => {
                let reached = match &tunnel {
                    Some(tunnel) => tunnel.reached_broker(),
                    // Without a tunnel an I/O error is one of the TCP connection before any MQTT.
                    None => !matches!(error, ConnectionError::Io(_)),
                };
                let fault = tunnel
                    .as_ref()
                    .and_then(Tunnel::fault)
                    .unwrap_or_else(|| broker.fault(error, accepted));
                // The driver is gone: nobody left to tell.
                let _ = events.send(Wire::Ended { fault, reached }).await;
                return;
            }
        };
        accepted |= matches!(wire, Some(Wire::Accepted { .. }));
        match wire {
            Some(Wire::Received(_)) => pace.received(),
            Some(Wire::Wrote(_)) => pace.sent(),
            Some(
                Wire::Accepted { .. } | Wire::Subscribed(_) | Wire::Acked(..) | Wire::Ended { .. },
            )
            | None => {}
        }
        if let Some(wire) = wire
            && events.send(wire).await.is_err()
        {
            return;
        }
        // A broker that owes an answer is listened to at once.
        if event_loop.state.events.is_empty() && event_loop.state.inflight() == 0 {
            pace.rest().await;
        }
    }
}

fn report(event: Event) -> Option<Wire> {
    let packet = match event {
        Event::Outgoing(Outgoing::Publish(packet_id)) => return Some(Wire::Wrote(packet_id)),
        Event::Outgoing(_) => return None,
        Event::Incoming(packet) => packet,
    };
    if let Packet::ConnAck(ack) = packet {
        let properties = ack.properties.as_ref();
        let window = properties.and_then(|p| p.receive_max).unwrap_or(INFLIGHT);
        let max_packet = properties.and_then(|p| p.max_packet_size);
        return Some(Wire::Accepted {
            window: window.min(INFLIGHT),
            max_packet,
        });
    }
    if let Packet::SubAck(ack) = packet {
        return Some(Wire::Subscribed(ack.return_codes));
    }
    if let Packet::PubAck(ack) = packet {
        let delivery = match ack.reason {
            PubAckReason::Success => Delivery::Delivered,
            PubAckReason::NoMatchingSubscribers => Delivery::NoSubscribers,
            refusal @ (PubAckReason::UnspecifiedError
            | PubAckReason::ImplementationSpecificError
            | PubAckReason::NotAuthorized
            | PubAckReason::TopicNameInvalid
            | PubAckReason::PacketIdentifierInUse
            | PubAckReason::QuotaExceeded
            | PubAckReason::PayloadFormatInvalid) => Delivery::Refused {
                reason: format!("broker says {refusal:?}"),
            },
        };
        return Some(Wire::Acked(ack.pkid, delivery));
    }
    if let Packet::Publish(publish) = packet {
        return Some(Wire::Received(publish));
    }
    None
}

/// Names for faults.
struct Broker {
    address: String,
    user: String,
}

impl Broker {
    fn of(options: &LinkOptions) -> Self {
        Self {
            address: options.url.to_string(),
            user: options
                .username
                .clone()
                .unwrap_or_else(|| options.client_id.clone()),
        }
    }

    fn fault(&self, error: ConnectionError, accepted: bool) -> LinkFault {
        let broker = self.address.clone();
        if let ConnectionError::ConnectionRefused(code) = &error {
            return self.refusal(*code);
        }
        if let ConnectionError::Io(source) = &error {
            let detail = source.to_string();
            return LinkFault::Unreachable { broker, detail };
        }
        if matches!(error, ConnectionError::Timeout(_)) {
            return LinkFault::Timeout { broker };
        }
        let unanswered_ping =
            matches!(error, ConnectionError::MqttState(StateError::AwaitPingResp));
        let detail = if unanswered_ping {
            "no answer to a ping".to_owned()
        } else {
            error.to_string()
        };
        if accepted {
            LinkFault::Ended { broker, detail }
        } else {
            LinkFault::Refused { broker, detail }
        }
    }

    fn refusal(&self, code: ConnectReturnCode) -> LinkFault {
        let broker = self.address.clone();
        let detail = format!("{code:?}");
        let login = matches!(
            code,
            ConnectReturnCode::BadUserNamePassword
                | ConnectReturnCode::NotAuthorized
                | ConnectReturnCode::Banned
                | ConnectReturnCode::BadClientId
                | ConnectReturnCode::ClientIdentifierNotValid
        );
        if login {
            let user = self.user.clone();
            LinkFault::Login {
                broker,
                user,
                detail,
            }
        } else {
            LinkFault::Refused { broker, detail }
        }
    }
}
