//! Which patch a group gets, and until when.

use coordinator_core::MachineId;
use coordinator_crds::group_status::Wanted;
use http::Method;

use super::{
    super::fake_api::{Asked, Reply, count, object, writer},
    *,
};

fn record() -> GroupRecord {
    GroupRecord {
        wanted: vec![MachineId::new("a")],
        sequence: 5,
        last_increase: None,
    }
}

fn wish(sequence: i64) -> GroupStatus {
    let wanted = Wanted {
        sequence,
        ..Wanted::default()
    };
    GroupStatus {
        wanted: Some(wanted),
        ..GroupStatus::default()
    }
}

fn at(path: &str, status: Option<GroupStatus>) -> bool {
    let place = Place {
        uid: "u".into(),
        ..Place::default()
    };
    let steps = steps(&place, status.as_ref(), 4, &record()).as_json();
    steps[1]["op"] == "test" && steps[1]["path"] == path && steps[0]["path"] == "/metadata/uid"
}

#[test]
fn every_shape_of_a_group_has_its_own_test() {
    assert!(at("/status", None));
    assert!(at("/status/wanted", Some(GroupStatus::default())));
    assert!(at("/status/wanted/sequence", Some(wish(0))));
}

fn workers() -> GroupId {
    GroupId::new("lab/workers")
}

fn swap(left: Duration) -> Swap {
    let left_ms = u64::try_from(left.as_millis()).unwrap();
    Swap {
        expected: 4,
        record: record(),
        deadline_ms: Some(clock::boot_ms() + left_ms),
    }
}

fn failed(fault: StoreFault) -> Fact {
    Fact::CommitFailed {
        group: workers(),
        fault,
    }
}

#[tokio::test]
async fn after_the_callers_deadline_nothing_is_sent() {
    let (writer, asked) = writer(|_| Reply::Silence);
    writer.knows_group(Some(wish(4)));
    for left in [Duration::ZERO, MARGIN] {
        let fact = commit(&writer, workers(), swap(left)).await;
        assert_eq!(fact, failed(StoreFault::TooLate));
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_api_server_is_told_to_give_up_before_the_callers_deadline_and_so_do_we() {
    let (writer, asked) = writer(|method| {
        if *method == Method::GET {
            object(
                "Group",
                "workers",
                9,
                serde_json::to_value(wish(4)).unwrap(),
            )
        } else {
            Reply::Silence
        }
    });
    writer.knows_group(Some(wish(4)));
    let left = MARGIN + Duration::from_millis(300);
    assert_eq!(
        commit(&writer, workers(), swap(left)).await,
        failed(StoreFault::Unavailable)
    );
    assert_eq!(count(&asked, &Method::PATCH), 1);
    let uri = asked.lock().unwrap()[0].1.clone();
    let (_, timeout) = uri.split_once("timeout=").expect("a limit for the server");
    let limit_ms: u64 = timeout.strip_suffix("ms").unwrap().parse().unwrap();
    assert!(limit_ms <= 300, "{uri}");
}

#[tokio::test]
async fn a_change_of_a_wish_is_not_stored_in_an_object_that_has_none() {
    for known in [None, Some(GroupStatus::default())] {
        let (writer, asked) = writer(|method| match *method {
            Method::GET => object("Group", "workers", 9, serde_json::Value::Null),
            _ => Reply::Silence,
        });
        writer.knows_group(known);
        assert_eq!(
            commit(&writer, workers(), swap(CALL)).await,
            Fact::CommitLost {
                group: workers(),
                record: GroupRecord::default(),
            }
        );
        assert_eq!(count(&asked, &Method::PATCH), 0);
    }
}

/// In front of a server that holds this and takes every patch.
fn holding(status: GroupStatus) -> (Writer, Asked) {
    let status = serde_json::to_value(status).unwrap();
    writer(move |method| match *method {
        Method::GET => object("Group", "workers", 9, status.clone()),
        _ => Reply::With(200, json!({})),
    })
}

#[tokio::test]
async fn a_wish_that_was_seen_too_early_is_read_before_it_counts_as_gone() {
    let (writer, asked) = holding(wish(4));
    writer.knows_group(None);
    commit(&writer, workers(), swap(CALL)).await;
    assert_eq!(count(&asked, &Method::PATCH), 1);
}

#[tokio::test]
async fn a_wish_that_somebody_has_wiped_off_its_object_comes_back_with_the_next_change() {
    let (writer, asked) = holding(wish(5));
    writer.knows_group(Some(wish(4)));
    let wiped = Place {
        version: 8,
        ..writer.shared.mirror.group_place(&workers()).unwrap()
    };
    writer.shared.mirror.saw_group(&workers(), wiped, None);
    commit(&writer, workers(), swap(CALL)).await;
    assert_eq!(asked.lock().unwrap()[0].0, Method::PATCH);
}
