//! The caller's side of a link: publish, close, and the events that come back.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::driver::{Driver, Request};
use crate::fault::{LinkConfigFault, LinkFault};
use crate::options::{LinkOptions, Message, Qos};
use crate::outbox::{Effort, Parcel, Permit};

/// Messages on their way from handles to the driver, which takes them at once.
const REQUESTS: usize = 256;
/// Events that may wait in the channel to the caller; a further backlog is in the driver.
const EVENTS: usize = 64;

/// Starts a link; it connects in the background and keeps trying. Must be called inside a tokio runtime.
///
/// The link ends after [`LinkHandle::close`], or without a farewell (so that the broker publishes the will) when the
/// last handle is dropped. Dropping the receiver only means that events are thrown away.
///
/// # Errors
/// What is wrong with the options; nothing was started then.
pub fn connect(
    options: LinkOptions,
) -> Result<(LinkHandle, mpsc::Receiver<LinkEvent>), LinkConfigFault> {
    let (requests, incoming) = mpsc::channel(REQUESTS);
    let (events, outgoing) = mpsc::channel(EVENTS);
    let driver = Driver::new(options, incoming, events)?;
    tokio::spawn(driver.run());
    Ok((LinkHandle { requests }, outgoing))
}

/// Publishes over one link; clones share it.
#[derive(Clone, Debug)]
pub struct LinkHandle {
    requests: mpsc::Sender<Request>,
}

impl LinkHandle {
    /// Publishes once: the message is taken over in the call, in the order of the calls; the future only waits for what
    /// became of it, and dropping it recalls nothing. While the link is down the answer is `Lost` at once; if the
    /// connection ends before the acknowledgement it is `Lost` too, although the broker may have the message.
    pub fn publish(&self, message: Message) -> impl Future<Output = Delivery> + Send + use<> {
        self.hand_over(Parcel::new(message, Effort::Once, None))
    }

    /// The same, but the message is written only if `permit` still allows it at that moment, however long it had to wait;
    /// else it is `Lost`. What `permit` reads must be quick: the link waits for it.
    pub fn publish_while<P>(
        &self,
        message: Message,
        permit: P,
    ) -> impl Future<Output = Delivery> + Send + use<P>
    where
        P: Fn() -> bool + Send + 'static,
    {
        let parcel = Parcel::new(message, Effort::Once, None);
        self.hand_over(parcel.while_permitted(Permit::new(permit)))
    }

    /// Publishes with QoS 1 until the broker acknowledges or `within` has passed, through reconnections: the receiver
    /// may see it more than once. For reports, never for commands.
    pub fn publish_until_acked(
        &self,
        mut message: Message,
        within: Duration,
    ) -> impl Future<Output = Delivery> + Send + use<> {
        message.qos = Qos::AtLeastOnce;
        message.expiry = Some(message.expiry.map_or(within, |expiry| expiry.min(within)));
        self.hand_over(Parcel::new(message, Effort::UntilAcked, None))
    }

    /// Publishes once and forgets; nothing tells what became of the message.
    ///
    /// # Errors
    /// [`OutboxFull`] if the link does not keep up or is closed; the message is dropped.
    pub fn try_send(&self, message: Message) -> Result<(), OutboxFull> {
        let parcel = Parcel::new(message, Effort::Once, None);
        self.requests
            .try_send(Request::Publish(parcel))
            .map_err(|_| OutboxFull)
    }

    /// Ends the link: what was handed over is sent and acknowledged if that takes less than two seconds, then the broker
    /// gets a DISCONNECT, so that it drops the will. Returns when the connection is gone. Later messages are `Lost`.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close(done)).await.is_ok() {
            // An error means that the driver has ended, which is what was asked for.
            let _ = closed.await;
        }
    }

    fn hand_over(&self, parcel: Parcel) -> impl Future<Output = Delivery> + Send + use<> {
        let (answer, outcome) = oneshot::channel();
        let parcel = parcel.answering(answer);
        // A full or closed channel drops the parcel and with it the sender: the outcome is `Lost`.
        let _ = self.requests.try_send(Request::Publish(parcel));
        async move { outcome.await.unwrap_or(Delivery::Lost) }
    }
}

/// The link has as many messages waiting as it may hold, or is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the link's outbox is full or closed")]
pub struct OutboxFull;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// QoS 1: the broker has it. QoS 0: it was written to the connection.
    Delivered,
    /// The broker has it and knows of no subscriber (only some brokers tell): the receiver is not connected.
    NoSubscribers,
    /// It was not and will not be accepted.
    Refused {
        /// The broker's reason code, or what is wrong with the message.
        reason: String,
    },
    /// Not sent, or sent without an acknowledgement.
    Lost,
}

/// What a link tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Connected, and all subscriptions granted.
    Up {
        /// Number of the connection, the same that its will was built from. Rises from 1; failed attempts may leave gaps.
        connection: u32,
    },
    /// Not connected. Told when a connection ends and when the reason changes, not for each attempt.
    Down {
        /// Why.
        reason: LinkFault,
    },
    /// A message arrived.
    Message {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: Bytes,
        /// The retain flag; see [`Retained`](crate::Retained).
        retain: bool,
    },
}
