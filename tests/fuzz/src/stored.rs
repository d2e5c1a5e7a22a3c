//! What is kept for the next start: the agent's journal, the coordinator's store, statuses, Secrets. Others can write there too.

use std::fmt::Debug;

use coordinator::documents;
use coordinator::inputs::autoscaler;
use coordinator::outputs::standalone::fuzz as store;
use coordinator_core::MachineId;
use coordinator_crds::{GroupStatus, NodeStatus};

/// A moment at which the certificates among the seeds are valid, in seconds since 1970.
pub(crate) const NOW: i64 = 1_800_000_000;
/// A line of a key in PEM form has 64 characters; from so many on, one is recognized.
const OF_A_KEY: usize = 32;

pub(crate) fn journal(bytes: &[u8]) {
    if let Some(journal) = agent::fuzz::journal(bytes) {
        let written = agent::fuzz::journal_bytes(&journal).expect("what is read can be written");
        assert_eq!(agent::fuzz::journal(&written), Some(journal));
    }
}

/// The first byte chooses the kind, as the table does.
pub(crate) fn values(bytes: &[u8]) {
    let Some((kind, json)) = bytes.split_first() else {
        return;
    };
    let Some(json) = super::text(json) else {
        return;
    };
    match kind {
        b'g' => same(store::group(json), |record| {
            store::group(&store::group_text(record))
        }),
        _ => same(store::machine(json), |record| {
            store::machine(&store::machine_text(record))
        }),
    }
}

/// What was read is written and read alike.
fn same<R: PartialEq + Debug>(read: Option<R>, again: impl Fn(&R) -> Option<R>) {
    if let Some(record) = read {
        assert_eq!(again(&record).as_ref(), Some(&record));
    }
}

/// The first byte chooses the kind, as the resource does.
pub(crate) fn statuses(bytes: &[u8]) {
    let Some((kind, json)) = bytes.split_first() else {
        return;
    };
    match kind {
        b'g' => {
            if let Ok(status) = serde_json::from_slice::<GroupStatus>(json) {
                group_status(&status);
            }
        }
        _ => {
            if let Ok(status) = serde_json::from_slice::<NodeStatus>(json) {
                node_status(&status);
            }
        }
    }
}

/// Whatever was in a status, the record that is made of it survives being stored, from the second time on without a change:
/// the first cuts to what the schema takes and to whole seconds.
fn node_status(status: &NodeStatus) {
    let _ = documents::ask(&MachineId::new("nuc1"), status);
    let _ = documents::pinned_key(Some(status));
    let stored = |status: &NodeStatus| {
        let mut written = NodeStatus::default();
        documents::store_machine(&documents::machine_record(Some(status)), &mut written);
        let json = serde_json::to_vec(&written).expect("a status is JSON");
        serde_json::from_slice::<NodeStatus>(&json).expect("what is written can be read")
    };
    let once = stored(status);
    let twice = stored(&once);
    assert_eq!(
        documents::machine_record(Some(&once)),
        documents::machine_record(Some(&twice)),
        "{status:?}"
    );
}

fn group_status(status: &GroupStatus) {
    let stored = |status: &GroupStatus| {
        let written = GroupStatus {
            wanted: Some(documents::wanted(&documents::group_record(Some(status)))),
            ..GroupStatus::default()
        };
        let json = serde_json::to_vec(&written).expect("a status is JSON");
        serde_json::from_slice::<GroupStatus>(&json).expect("what is written can be read")
    };
    let once = stored(status);
    let twice = stored(&once);
    assert_eq!(
        documents::group_record(Some(&once)),
        documents::group_record(Some(&twice)),
        "{status:?}"
    );
}

/// Nothing that is said against a pair shows its key.
pub(crate) fn pairs(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else {
        return;
    };
    let said = autoscaler::fuzz::pairs(text, NOW);
    let keys = text.split("PRIVATE KEY-----").skip(1);
    let lines = keys.flat_map(str::lines);
    for secret in lines.filter(|line| line.len() >= OF_A_KEY && !line.contains(' ')) {
        for told in &said {
            assert!(!told.contains(secret), "{told}");
        }
    }
}
