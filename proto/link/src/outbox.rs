//! Messages on their way: waiting, written, or not yet acknowledged. Pure bookkeeping, no I/O.
//! Holds: `Effort::Once` is handed to the wire at most once; every parcel gets exactly one answer; order of publication is
//! kept; packet ids of the window never collide, whatever order the broker acknowledges in.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::handle::Delivery;
use crate::options::{Message, Qos};

/// Parcels that may wait; a further one is lost. Bounds memory when the broker is away or slow.
const WAITING: usize = 512;

/// How hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Written at most once.
    Once,
    /// Written again on each connection until acknowledged or expired.
    UntilAcked,
}

/// Whether a message may still be written; asked right before it is.
pub(crate) struct Permit(Box<dyn Fn() -> bool + Send>);

impl Permit {
    pub(crate) fn new(allows: impl Fn() -> bool + Send + 'static) -> Self {
        Self(Box::new(allows))
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").finish_non_exhaustive()
    }
}

/// A message with the one who waits for its outcome.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) message: Message,
    effort: Effort,
    expires: Option<Instant>,
    permit: Option<Permit>,
    answer: Option<oneshot::Sender<Delivery>>,
}

impl Parcel {
    pub(crate) fn new(
        message: Message,
        effort: Effort,
        answer: Option<oneshot::Sender<Delivery>>,
    ) -> Self {
        let expires = message.expiry.map(|expiry| Instant::now() + expiry);
        Self {
            message,
            effort,
            expires,
            permit: None,
            answer,
        }
    }

    /// The same parcel, written only while this allows it.
    pub(crate) fn while_permitted(self, permit: Permit) -> Self {
        Self {
            permit: Some(permit),
            ..self
        }
    }

    /// The same parcel, whose outcome goes there.
    pub(crate) fn answering(self, answer: oneshot::Sender<Delivery>) -> Self {
        Self {
            answer: Some(answer),
            ..self
        }
    }

    pub(crate) fn settle(mut self, delivery: Delivery) {
        if let Some(answer) = self.answer.take() {
            // Nobody waits any more: allowed.
            let _ = answer.send(delivery);
        }
    }

    /// Time until the message is of no use.
    pub(crate) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.expires
            .map(|expires| expires.saturating_duration_since(now))
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn is_permitted(&self) -> bool {
        self.permit.as_ref().is_none_or(|permit| (permit.0)())
    }
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Parcel>,
    /// Handed to rumqttc, not yet reported as written.
    written: VecDeque<(u64, Parcel)>,
    /// By packet id; the number is the order in which packet ids were given out.
    unacked: BTreeMap<u16, (u64, Parcel)>,
    /// Packet ids that one connection may have under way; zero while there is none.
    window: u16,
    issued: u64,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            written: VecDeque::new(),
            unacked: BTreeMap::new(),
            window: 0,
            issued: 0,
        }
    }

    pub(crate) fn is_online(&self) -> bool {
        self.window > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.written.is_empty() && self.unacked.is_empty()
    }

    /// Takes a parcel, or settles it at once.
    pub(crate) fn put(&mut self, parcel: Parcel) {
        let waits = match parcel.effort {
            Effort::Once => self.is_online(),
            Effort::UntilAcked => true,
        };
        if waits && self.waiting.len() < WAITING {
            self.waiting.push_back(parcel);
        } else {
            tracing::debug!(
                topic = parcel.message.topic,
                online = self.is_online(),
                "message lost"
            );
            parcel.settle(Delivery::Lost);
        }
    }

    /// A connection is ready and accepts `window` unacknowledged packets.
    pub(crate) fn connected(&mut self, window: u16) {
        self.window = window.max(1);
        self.issued = 0;
    }

    /// The next parcel that may be written now. The caller hands it to the wire and returns it by [`Self::handed`].
    pub(crate) fn next(&mut self, now: Instant) -> Option<Parcel> {
        while let Some(parcel) = self.waiting.pop_front() {
            if parcel.is_expired(now) || !parcel.is_permitted() {
                parcel.settle(Delivery::Lost);
            } else if self.is_online() && self.has_room(parcel.message.qos) {
                return Some(parcel);
            } else {
                self.waiting.push_front(parcel);
                return None;
            }
        }
        None
    }

    /// The wire took the parcel.
    pub(crate) fn handed(&mut self, parcel: Parcel) {
        if parcel.message.qos == Qos::AtLeastOnce {
            self.issued += 1;
        }
        self.written.push_back((self.issued, parcel));
    }

    /// The wire had no room for the parcel: it stays first.
    pub(crate) fn give_back(&mut self, parcel: Parcel) {
        self.waiting.push_front(parcel);
    }

    /// The oldest handed parcel is on the wire, under this packet id if it has QoS 1.
    pub(crate) fn wrote(&mut self, packet_id: u16) {
        if let Some((order, parcel)) = self.written.pop_front() {
            match parcel.message.qos {
                Qos::AtMostOnce => parcel.settle(Delivery::Delivered),
                Qos::AtLeastOnce => {
                    self.unacked.insert(packet_id, (order, parcel));
                }
            }
        }
    }

    /// The broker answered for this packet id.
    pub(crate) fn acked(&mut self, packet_id: u16, delivery: Delivery) {
        if let Some((_, parcel)) = self.unacked.remove(&packet_id) {
            parcel.settle(delivery);
        }
    }

    /// The connection ended: what is tried once is lost, the rest waits for the next one in its old order.
    pub(crate) fn disconnected(&mut self) {
        self.window = 0;
        let mut open: Vec<_> = std::mem::take(&mut self.unacked).into_values().collect();
        open.sort_by_key(|(order, _)| *order);
        open.extend(std::mem::take(&mut self.written));
        let older = open.into_iter().map(|(_, parcel)| parcel);
        let waiting = std::mem::take(&mut self.waiting);
        for parcel in older.chain(waiting) {
            match parcel.effort {
                Effort::Once => parcel.settle(Delivery::Lost),
                Effort::UntilAcked => self.waiting.push_back(parcel),
            }
        }
    }

    /// Gives up what has expired while waiting.
    pub(crate) fn expire(&mut self, now: Instant) {
        let (expired, alive) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|parcel| parcel.is_expired(now));
        self.waiting = alive;
        for parcel in expired {
            parcel.settle(Delivery::Lost);
        }
    }

    /// When [`Self::expire`] has something to do next.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.waiting
            .iter()
            .filter_map(|parcel| parcel.expires)
            .min()
    }

    /// rumqttc gives out packet ids in a circle as long as the window, so the oldest unacknowledged and the newest must
    /// lie within one turn of it.
    fn has_room(&self, qos: Qos) -> bool {
        if qos == Qos::AtMostOnce {
            return true;
        }
        let unacked = self.unacked.values().map(|(order, _)| *order);
        let written = self
            .written
            .iter()
            .filter(|(_, parcel)| parcel.message.qos == Qos::AtLeastOnce)
            .map(|(order, _)| *order);
        match unacked.chain(written).min() {
            None => true,
            Some(oldest) => self.issued + 1 - oldest < u64::from(self.window),
        }
    }
}

#[cfg(test)]
mod tests;
