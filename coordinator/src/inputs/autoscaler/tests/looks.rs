//! What counts as a look at a group, also where the group goes and is made anew.

use coordinator_core::{GroupRecord, Policy};

use super::writes::{increase, size, sleeping, spec};
use super::*;

fn shown(name: &str, sequence: u64) -> GroupView {
    GroupView {
        sequence,
        ..group(name)
    }
}

#[test]
fn groups_are_apart_and_a_look_at_all_is_one_at_each() {
    let looked = Looked::default();
    let mut turn = looked.turn();
    let (a, b) = (shown("lab/a", 3), shown("lab/b", 5));
    let view = lab([a.clone(), b.clone()]);
    turn.at(&a);
    let latest = (turn.latest(&view, &a.id), turn.latest(&view, &b.id));
    assert_eq!(latest, (3, 0));
    turn.at_all(&view);
    let latest = (turn.latest(&view, &a.id), turn.latest(&view, &b.id));
    assert_eq!(latest, (3, 5));
}

#[test]
fn a_sequence_that_nobody_was_shown_is_no_look() {
    let looked = Looked::default();
    let mut turn = looked.turn();
    let before = shown("lab/a", 3);
    turn.at(&before);
    let risen = lab([shown("lab/a", 4)]);
    assert_eq!(turn.latest(&risen, &before.id), 3);
}

#[test]
fn what_was_shown_of_a_group_that_is_gone_or_made_anew_counts_no_more() {
    let old = shown("lab/a", 57);
    for now in [lab([]), lab([shown("lab/a", 0)])] {
        let looked = Looked::default();
        let mut turn = looked.turn();
        turn.at(&old);
        assert_eq!(turn.latest(&now, &old.id), 0);
        let risen = lab([shown("lab/a", 58)]);
        assert_eq!(turn.latest(&risen, &old.id), 0, "nor later");
    }
}

#[test]
fn a_look_at_a_group_made_anew_replaces_one_at_the_old() {
    let looked = Looked::default();
    let mut turn = looked.turn();
    let (old, new) = (shown("lab/a", 57), shown("lab/a", 1));
    turn.at(&old);
    turn.at(&new);
    assert_eq!(turn.latest(&lab([new]), &old.id), 1);

    turn.at(&old);
    turn.at_all(&lab([]));
    let back = lab([old.clone()]);
    assert_eq!(turn.latest(&back, &old.id), 0, "it was gone in between");
}

/// Waits for a view that shows this sequence.
async fn shows(engine: &Handle, sequence: u64) {
    let mut view = engine.view.clone();
    let shown = view.wait_for(|view| {
        let group = view.groups.get(&workers());
        group.is_some_and(|group| group.sequence == sequence)
    });
    tokio::time::timeout(Duration::from_secs(30), shown)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn five_identical_calls_about_a_group_made_anew_have_one_effect_and_a_look_makes_two() {
    let (mut client, engine, _) = sleeping(6, Policy::default()).await;
    let stored = |sequence| Fact::GroupStored {
        group: workers(),
        record: GroupRecord {
            sequence,
            ..GroupRecord::default()
        },
    };
    engine.facts.tell(stored(57)).await;
    shows(&engine, 57).await;
    client.refresh(RefreshRequest {}).await.unwrap();
    let anew = [
        Fact::GroupRemoved(workers()),
        stored(0),
        Fact::GroupApplied(spec()),
    ];
    for fact in anew {
        engine.facts.tell(fact).await;
    }
    shows(&engine, 0).await;
    for _repeated in 0..5 {
        client.node_group_increase_size(increase(1)).await.unwrap();
    }
    assert_eq!(size(&mut client).await, 1);
    client.node_group_increase_size(increase(1)).await.unwrap();
    assert_eq!(size(&mut client).await, 2, "the size was looked at");
}
