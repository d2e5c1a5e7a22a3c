//! Events on their way to the caller.
//! Holds: `Up` and `Down` are never dropped and come in order; messages of a connection come after its `Up`; a caller who does
//! not read loses the newest messages, never the connection.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::fault::LinkFault;
use crate::handle::LinkEvent;

/// Messages that may wait for a slow caller.
const BACKLOG: usize = 1024;

pub(crate) struct EventQueue {
    caller: mpsc::Sender<LinkEvent>,
    waiting: VecDeque<LinkEvent>,
    /// Messages that overtook the broker's answer to SUBSCRIBE.
    early: VecDeque<LinkEvent>,
    up: bool,
    dropping: bool,
}

impl EventQueue {
    pub(crate) fn new(caller: mpsc::Sender<LinkEvent>) -> Self {
        Self {
            caller,
            waiting: VecDeque::new(),
            early: VecDeque::new(),
            up: false,
            dropping: false,
        }
    }

    pub(crate) fn up(&mut self, connection: u32) {
        self.up = true;
        self.waiting.push_back(LinkEvent::Up { connection });
        self.waiting.append(&mut self.early);
    }

    /// The connection ended; what came before its `Up` is forgotten with it.
    pub(crate) fn ended(&mut self) {
        self.up = false;
        self.early.clear();
    }

    pub(crate) fn down(&mut self, reason: LinkFault) {
        self.waiting.push_back(LinkEvent::Down { reason });
    }

    pub(crate) fn message(&mut self, message: LinkEvent) {
        let full = self.waiting.len() + self.early.len() >= BACKLOG;
        if full && !self.dropping {
            tracing::warn!(
                backlog = BACKLOG,
                "messages dropped because nobody reads them"
            );
        }
        self.dropping = full;
        if full {
            return;
        }
        let queue = if self.up {
            &mut self.waiting
        } else {
            &mut self.early
        };
        queue.push_back(message);
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Hands one event over as soon as the caller has room; cancelling it loses nothing.
    pub(crate) async fn forward(&mut self) {
        match self.caller.reserve().await {
            Ok(room) => {
                if let Some(event) = self.waiting.pop_front() {
                    room.send(event);
                }
            }
            // Nobody listens any more: publishing goes on.
            Err(_) => self.waiting.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize) -> LinkEvent {
        LinkEvent::Message {
            topic: number.to_string(),
            payload: bytes::Bytes::new(),
            retain: false,
        }
    }

    #[tokio::test]
    async fn messages_wait_for_up_and_a_flood_never_displaces_lifecycle_events() {
        let (caller, mut events) = mpsc::channel(4096);
        let mut queue = EventQueue::new(caller);
        queue.message(message(0));
        assert!(!queue.has_waiting());
        queue.up(1);
        for number in 1..2 * BACKLOG {
            queue.message(message(number));
        }
        let fault = LinkFault::Timeout {
            broker: "b".to_owned(),
        };
        queue.ended();
        queue.down(fault.clone());
        while queue.has_waiting() {
            queue.forward().await;
        }
        assert_eq!(events.recv().await, Some(LinkEvent::Up { connection: 1 }));
        assert_eq!(events.recv().await, Some(message(0)));
        drop(queue);
        let mut last = None;
        while let Some(event) = events.recv().await {
            last = Some(event);
        }
        assert_eq!(last, Some(LinkEvent::Down { reason: fault }));
    }
}
