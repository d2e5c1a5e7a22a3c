//! Which magic packets belong together: one train is what was sent for one MAC within one second of its first packet.

use std::collections::HashMap;

use super::Mac;

/// A sender repeats its packet a few times within some hundred milliseconds and comes back after many seconds; one second
/// separates the two. It counts from the first packet, so an endless stream stays visible as many trains.
const TRAIN_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub(super) struct Trains {
    /// For each MAC the start of its newest train and that train's record.
    newest: HashMap<Mac, (u64, usize)>,
}

/// What a packet is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Observed {
    /// The first of a train.
    New,
    /// One more of the train with this record.
    Merged { record: usize },
}

impl Trains {
    /// Sorts in a packet; a new train gets the record number `next`.
    pub(super) fn observe(&mut self, mac: Mac, at_ms: u64, next: usize) -> Observed {
        match self.newest.get(&mac) {
            Some(&(start, record)) if at_ms < start + TRAIN_MS => Observed::Merged { record },
            Some(_) | None => {
                self.newest.insert(mac, (at_ms, next));
                Observed::New
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn packets_within_a_second_of_the_first_are_one_train() {
        let mut trains = Trains::default();
        let cases = [
            (A, 0, Observed::New),
            (A, 100, Observed::Merged { record: 0 }),
            (B, 150, Observed::New),
            (A, 999, Observed::Merged { record: 0 }),
            (A, 1_000, Observed::New),
            (B, 1_149, Observed::Merged { record: 2 }),
            (A, 1_998, Observed::Merged { record: 4 }),
        ];
        for (next, (mac, at_ms, expected)) in cases.into_iter().enumerate() {
            assert_eq!(trains.observe(mac, at_ms, next), expected, "at {at_ms}");
        }
    }
}
