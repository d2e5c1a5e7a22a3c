//! A barrier: earlier leaders are refused from then on, whatever happens to agent and disk.

use super::fixture::*;
use crate::{Input, Journal, Step, Stored};
use alloc::vec;
use alloc::vec::Vec;
use proto_mqtt::report::{Code, ResultState};
use proto_mqtt::{CommandBody, Order, Token};

const DONE: (ResultState, Option<Code>) = (ResultState::Done, None);
const UNWRITTEN: (ResultState, Option<Code>) =
    (ResultState::Refused, Some(Code::JournalUnwritable));

fn barrier(rig: &mut Rig, epoch: u32, seq: u64) -> CommandBody {
    CommandBody {
        token: Token { epoch, seq },
        ..rig.command(Order::Barrier)
    }
}

/// What becomes of a wake that this leader orders, for a machine that no order has named before.
fn wake_of(rig: &mut Rig, epoch: u32) -> Option<Code> {
    let body = rig.command(wake());
    let body = CommandBody {
        token: Token { epoch, seq: 99 },
        target: id(&alloc::format!("m{}", body.token.seq)),
        ..body
    };
    results(&rig.send(&body))[0].1
}

#[test]
fn earlier_leaders_are_refused_for_all_targets_and_the_disk_knows_before_it_is_told() {
    let mut rig = Rig::new();
    let body = barrier(&mut rig, 5, 1);
    let steps = rig.send(&body);
    let written = steps
        .iter()
        .position(|step| matches!(step, Step::WriteJournal(_)));
    let told = steps
        .iter()
        .position(|step| matches!(step, Step::Publish { .. }));
    assert!(written.is_some() && written < told, "{steps:?}");
    assert_eq!(results(&steps), [DONE]);
    assert_eq!(rig.disk.floor, Token { epoch: 5, seq: 0 });
    assert_eq!(rig.agent.will(2).hwm, body.token);
    assert_eq!(wake_of(&mut rig, 4), Some(Code::SeqStale));
    assert_eq!(wake_of(&mut rig, 5), None);
}

#[test]
fn it_stands_in_the_next_process_too() {
    let mut rig = Rig::new();
    let body = barrier(&mut rig, 5, 1);
    rig.send(&body);
    let mut next = Rig::restarted(config(), Stored::Readable(rig.disk.clone()));
    assert_eq!(next.agent.will(2).hwm, Token { epoch: 5, seq: 0 });
    assert_eq!(wake_of(&mut next, 4), Some(Code::SeqStale));
    assert_eq!(wake_of(&mut next, 5), None);
}

#[test]
fn a_second_one_of_the_same_leader_is_not_written_again() {
    let mut rig = Rig::new();
    let writes_of = |rig: &mut Rig, epoch, seq| {
        let body = barrier(rig, epoch, seq);
        let steps = rig.send(&body);
        assert_eq!(results(&steps), [DONE]);
        writes(&steps)
    };
    let counted: Vec<usize> = [(5, 1), (5, 2), (6, 1)]
        .map(|(epoch, seq)| writes_of(&mut rig, epoch, seq))
        .into();
    assert_eq!(counted, [1, 0, 1]);
}

#[test]
fn where_it_cannot_be_written_it_stands_until_the_end_of_the_process_and_is_not_called_done() {
    let mut rig = Rig::new();
    rig.disk_fails = true;
    let body = barrier(&mut rig, 5, 1);
    let steps = rig.send(&body);
    assert_eq!(results(&steps), [UNWRITTEN]);
    assert_eq!(
        details(&steps),
        ["the barrier ends with this process: the journal could not be written"]
    );
    assert_eq!(wake_of(&mut rig, 4), Some(Code::SeqStale));
    assert_eq!(wake_of(&mut rig, 5), None, "waking needs no journal");
    // The same one again: nothing about it is settled.
    rig.disk_fails = false;
    assert_eq!(results(&rig.send(&body)), [DONE]);
    assert_eq!(rig.disk.floor, Token { epoch: 5, seq: 0 });
}

#[test]
fn it_is_not_called_done_because_another_write_that_failed_had_it_too() {
    let mut rig = Rig::new();
    rig.disk_fails = true;
    let body = barrier(&mut rig, 5, 1);
    assert_eq!(results(&rig.send(&body)), [UNWRITTEN]);
    let off = CommandBody {
        token: Token { epoch: 5, seq: 2 },
        ..rig.command(Order::PowerOff)
    };
    assert_eq!(results(&rig.send(&off)), [UNWRITTEN]);
    assert_eq!(results(&rig.send(&body)), [UNWRITTEN]);
    rig.disk_fails = false;
    assert_eq!(results(&rig.send(&body)), [DONE]);
    assert_eq!(rig.disk.floor, Token { epoch: 5, seq: 0 });
}

#[test]
fn a_second_one_that_comes_before_the_disk_has_answered_waits_too() {
    let mut rig = Rig::new();
    let bodies = [(5, 1), (5, 2)].map(|(epoch, seq)| barrier(&mut rig, epoch, seq));
    for body in &bodies {
        let steps = rig.agent.observe(message(sealed(body)), rig.now);
        assert_eq!(results(&steps), []);
    }
    for _ in &bodies {
        let steps = rig.feed(Input::Journaled { written: true });
        assert_eq!(results(&steps), [DONE]);
    }
}

#[test]
fn a_journal_that_cannot_be_read_is_not_replaced_by_it() {
    let mut rig = Rig::restarted(config(), Stored::Unreadable);
    let body = barrier(&mut rig, 5, 1);
    let steps = rig.send(&body);
    assert_eq!((results(&steps), writes(&steps)), (vec![UNWRITTEN], 0));
    assert_eq!(rig.disk, Journal::default());
    assert_eq!(wake_of(&mut rig, 4), Some(Code::SeqStale));
}
