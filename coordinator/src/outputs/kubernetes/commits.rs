//! The wanted set of a group, changed by compare-and-swap in one call.
//!
//! In: the expected sequence and the new record. Out: `Committed`, `CommitLost` or `CommitFailed`.
//! Holds: a refused or unanswered write is settled by reading back: the sequence tells who won.

use coordinator_core::{Fact, GroupId, GroupRecord, StoreFault};
use coordinator_crds::GroupStatus;
use serde_json::json;

use super::{patch::Steps, writer::Writer};
use crate::{
    documents,
    inputs::kubernetes::{CallFault, Place},
};

/// Stores a record if the expected sequence still stands, and tells what became of it.
pub(super) async fn commit(
    writer: &Writer,
    group: GroupId,
    expected: u64,
    record: GroupRecord,
) -> Fact {
    let mirror = &writer.shared.mirror;
    mirror.writing_group(&group, Some(record.clone()));
    let outcome = swap(writer, &group, expected, &record).await;
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

async fn swap(writer: &Writer, id: &GroupId, expected: u64, record: &GroupRecord) -> Outcome {
    let known = writer.shared.mirror.group(id);
    let (mut place, mut status) = match known {
        Some(entry) => (entry.place, entry.status),
        None => match writer.read_group(id).await {
            Ok(found) => found,
            Err(fault) => return Outcome::Failed(store_fault(&fault)),
        },
    };
    // The second try is for an object whose shape was not what the mirror held, as with a status that just came to be.
    for _ in 0..2 {
        let steps = steps(&place, status.as_ref(), expected, record);
        let Err(fault) = writer.patch_group(id, &place, steps).await else {
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
        if stored.sequence != expected {
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
pub(super) fn store_fault(fault: &CallFault) -> StoreFault {
    match fault {
        CallFault::Unsure(_) | CallFault::Conflict(_) => StoreFault::Unavailable,
        CallFault::NotFound | CallFault::Refused(_) | CallFault::Unprocessable(_) => {
            StoreFault::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coordinator_core::MachineId;
    use coordinator_crds::group_status::Wanted;

    fn at(path: &str, status: Option<GroupStatus>) -> bool {
        let place = Place {
            uid: "u".into(),
            ..Place::default()
        };
        let record = GroupRecord {
            wanted: vec![MachineId::new("a")],
            sequence: 5,
            last_increase: None,
        };
        let steps = steps(&place, status.as_ref(), 4, &record).as_json();
        steps[1]["op"] == "test" && steps[1]["path"] == path && steps[0]["path"] == "/metadata/uid"
    }

    #[test]
    fn every_shape_of_a_group_has_its_own_test() {
        assert!(at("/status", None));
        assert!(at("/status/wanted", Some(GroupStatus::default())));
        let wish = GroupStatus {
            wanted: Some(Wanted::default()),
            ..GroupStatus::default()
        };
        assert!(at("/status/wanted/sequence", Some(wish)));
    }
}
