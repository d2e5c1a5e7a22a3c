//! The wanted set of a group, changed by compare-and-swap in one call.
//!
//! In: the expected sequence, the new record, and until when it may be stored. Out: `Committed`, `CommitLost` or `CommitFailed`.
//! Holds: a refused or unanswered write is settled by reading back: the sequence tells who won.
//! Holds: nothing is stored after the deadline, because its caller was told by then that nothing happened.

use std::time::Duration;

use coordinator_core::{Fact, GroupId, GroupRecord, StoreFault};
use coordinator_crds::GroupStatus;
use serde_json::json;

use super::{patch::Steps, writer::Writer};
use crate::{
    clock, documents,
    inputs::kubernetes::{CALL, CallFault, Place},
};

/// So long before the deadline the API server is to have given up, in time for what it answers to arrive.
const MARGIN: Duration = Duration::from_millis(150);

/// A compare-and-swap of a group's wanted set.
#[derive(Clone, Debug)]
pub(super) struct Swap {
    /// The sequence that must stand there.
    pub(super) expected: u64,
    /// What to store instead.
    pub(super) record: GroupRecord,
    /// Not to be stored after this, on the boot clock, milliseconds.
    pub(super) deadline_ms: Option<u64>,
}

/// Stores a record if the expected sequence still stands, and tells what became of it.
pub(super) async fn commit(writer: &Writer, group: GroupId, swap: Swap) -> Fact {
    let mirror = &writer.shared.mirror;
    mirror.writing_group(&group, Some(swap.record.clone()));
    let outcome = perform(writer, &group, &swap).await;
    let record = swap.record;
    mirror.writing_group(&group, None);
    match outcome {
        Outcome::Done => Fact::Committed {
            sequence: record.sequence,
            group,
        },
        Outcome::Lost(record) => Fact::CommitLost { group, record },
        Outcome::Failed(fault) => Fact::CommitFailed { group, fault },
    }
}

enum Outcome {
    Done,
    Lost(GroupRecord),
    Failed(StoreFault),
}

async fn perform(writer: &Writer, id: &GroupId, swap: &Swap) -> Outcome {
    let Swap {
        expected,
        record,
        deadline_ms,
    } = swap;
    let known = writer.shared.mirror.group(id);
    // An object that never held a wish is not the one that the change was made from. Where somebody has wiped one off, the
    // change brings it back.
    let held = known.as_ref().is_some_and(|entry| entry.has_held_wish);
    let gone =
        |status: Option<&GroupStatus>| *expected > 0 && !held && shape(status) != Shape::Wish;
    let (mut place, mut status) = match known {
        Some(entry) if !gone(entry.status.as_ref()) => (entry.place, entry.status),
        Some(_) | None => match writer.read_group(id).await {
            Ok(found) => found,
            Err(fault) => return Outcome::Failed(store_fault(&fault)),
        },
    };
    if gone(status.as_ref()) {
        return Outcome::Lost(documents::group_record(status.as_ref()));
    }
    // The second try is for an object whose shape was not what the mirror held, as with a status that just came to be.
    for _ in 0..2 {
        // Nothing was sent, or the API server has said that it took nothing.
        let Some(limit) = time_left(*deadline_ms) else {
            return Outcome::Failed(StoreFault::TooLate);
        };
        let steps = steps(&place, status.as_ref(), *expected, record);
        let Err(fault) = writer.patch_group(id, &place, steps, limit).await else {
            return Outcome::Done;
        };
        let refused = matches!(fault, CallFault::Unprocessable(_));
        tracing::debug!(group = %id, %fault, "commit not taken");
        if let CallFault::Refused(_) | CallFault::NotFound = fault {
            return Outcome::Failed(StoreFault::Refused);
        }
        let shape = shape(status.as_ref());
        (place, status) = match writer.read_group(id).await {
            Ok(found) => found,
            Err(fault) => return Outcome::Failed(store_fault(&fault)),
        };
        let stored = documents::group_record(status.as_ref());
        if stored == whole_seconds(record) {
            return Outcome::Done;
        }
        if stored.sequence != *expected {
            return Outcome::Lost(stored);
        }
        if !refused {
            return Outcome::Failed(StoreFault::Unavailable);
        }
        if shape == self::shape(status.as_ref()) {
            tracing::error!(group = %id, %fault, "the API server refuses our status");
            return Outcome::Failed(StoreFault::Refused);
        }
    }
    Outcome::Failed(StoreFault::Unavailable)
}

/// How long the API server may take to store something; `None` where it is too late to ask.
fn time_left(deadline_ms: Option<u64>) -> Option<Duration> {
    let Some(deadline_ms) = deadline_ms else {
        return Some(CALL);
    };
    let left = clock::until(deadline_ms).saturating_sub(MARGIN);
    (!left.is_zero()).then_some(left.min(CALL))
}

fn steps(
    place: &Place,
    status: Option<&GroupStatus>,
    expected: u64,
    record: &GroupRecord,
) -> Steps {
    let wanted = documents::wanted(record);
    let size = record.wanted.len();
    let steps = Steps::of(&place.uid);
    match shape(status) {
        Shape::NoStatus => steps
            .test(&["status"], ())
            .add(&["status"], json!({"wanted": wanted, "targetSize": size})),
        Shape::NoWish => steps
            .test(&["status", "wanted"], ())
            .add(&["status", "wanted"], wanted)
            .add(&["status", "targetSize"], size),
        Shape::Wish => steps
            .test(&["status", "wanted", "sequence"], expected)
            .add(&["status", "wanted"], wanted)
            .add(&["status", "targetSize"], size),
    }
}

/// What of the path to the sequence exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    NoStatus,
    NoWish,
    Wish,
}

fn shape(status: Option<&GroupStatus>) -> Shape {
    match status {
        None => Shape::NoStatus,
        Some(GroupStatus { wanted: None, .. }) => Shape::NoWish,
        Some(GroupStatus {
            wanted: Some(_), ..
        }) => Shape::Wish,
    }
}

/// A record as the store gives it back.
fn whole_seconds(record: &GroupRecord) -> GroupRecord {
    documents::group_record(Some(&GroupStatus {
        wanted: Some(documents::wanted(record)),
        ..GroupStatus::default()
    }))
}

/// What a fault means to the core.
fn store_fault(fault: &CallFault) -> StoreFault {
    match fault {
        CallFault::Unsure(_) | CallFault::Conflict(_) => StoreFault::Unavailable,
        CallFault::NotFound | CallFault::Refused(_) | CallFault::Unprocessable(_) => {
            StoreFault::Refused
        }
    }
}

#[cfg(test)]
mod tests;
