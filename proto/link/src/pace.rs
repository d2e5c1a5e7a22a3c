//! How long messages that came in are left lying, so that many are taken in at one waking.
//! In: what a connection took in; what it is about to send. Out: the time to look at the socket again.
//! Holds: a full batch, and anything to send, is followed by another look at once; so is all that comes soon after a message
//! was sent, because somebody may wait for the answer.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// Messages that rumqttc takes in at one look; as many may mean that more lie there.
const FULL: usize = 9;
/// How long after a message was sent its answer is waited for.
const ANSWER: Duration = Duration::from_secs(1);

/// Ends a rest: there is something to send.
#[derive(Clone)]
pub(crate) struct Hurry(Arc<Notify>);

impl Hurry {
    pub(crate) fn now(&self) {
        self.0.notify_one();
    }
}

/// Keeps the pace of one connection.
pub(crate) struct Pace {
    gather: Duration,
    hurry: Hurry,
    /// Messages since the last rest.
    batch: usize,
    /// An answer may come until then.
    awaits: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(gather: Duration) -> (Self, Hurry) {
        let hurry = Hurry(Arc::default());
        let pace = Self {
            gather,
            hurry: hurry.clone(),
            batch: 0,
            awaits: None,
        };
        (pace, hurry)
    }

    /// A message was taken in.
    pub(crate) fn received(&mut self) {
        self.batch += 1;
    }

    /// A message was sent.
    pub(crate) fn sent(&mut self) {
        self.awaits = Some(Instant::now() + ANSWER);
    }

    /// Rests, if everything that lay there was taken in.
    pub(crate) async fn rest(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let awaits = self.awaits.is_some_and(|until| Instant::now() < until);
        if self.gather.is_zero() || batch == 0 || batch >= FULL || awaits {
            return;
        }
        tokio::select! {
            () = sleep(self.gather) => {}
            () = self.hurry.0.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATHER: Duration = Duration::from_millis(100);

    /// How long a rest takes after so many messages.
    async fn rested(pace: &mut Pace, messages: usize) -> Duration {
        let started = Instant::now();
        for _ in 0..messages {
            pace.received();
        }
        pace.rest().await;
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_messages_are_followed_by_a_rest_and_many_by_another_look() {
        let (mut pace, _hurry) = Pace::new(GATHER);
        assert_eq!(rested(&mut pace, 1).await, GATHER);
        assert_eq!(rested(&mut pace, FULL).await, Duration::ZERO);
        assert_eq!(rested(&mut pace, 1).await, GATHER, "counted anew");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_rests_who_gathers_nothing_or_took_in_no_message() {
        let (mut at_once, _hurry) = Pace::new(Duration::ZERO);
        assert_eq!(rested(&mut at_once, 1).await, Duration::ZERO);
        let (mut pace, _hurry) = Pace::new(GATHER);
        assert_eq!(rested(&mut pace, 0).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_rests_who_may_be_answered() {
        let (mut pace, _hurry) = Pace::new(GATHER);
        pace.sent();
        assert_eq!(rested(&mut pace, 1).await, Duration::ZERO);
        sleep(ANSWER).await;
        assert_eq!(rested(&mut pace, 1).await, GATHER);
    }

    #[tokio::test(start_paused = true)]
    async fn something_to_send_ends_a_rest_also_one_that_begins_later() {
        let (mut pace, hurry) = Pace::new(GATHER);
        hurry.now();
        assert_eq!(rested(&mut pace, 1).await, Duration::ZERO);
        let early = Duration::from_millis(3);
        let (slept, ()) = tokio::join!(rested(&mut pace, 1), async {
            sleep(early).await;
            hurry.now();
        });
        assert_eq!(slept, early);
    }
}
