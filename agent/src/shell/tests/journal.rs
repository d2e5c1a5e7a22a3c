//! Disks that fail: nothing takes power away that cannot be written down first, and nothing that was written is lost.

use super::*;
use proto_mqtt::report::{Code, HeartbeatState};
use std::path::PathBuf;

impl Rig {
    fn file(&self) -> PathBuf {
        self.state.path().join("journal.json")
    }

    /// Code and text of the newest result.
    fn refusal(&self) -> (Option<Code>, String) {
        let result = self.results().pop().expect("a result");
        assert_eq!(result.state, ResultState::Refused);
        (result.code, result.msg.to_string())
    }

    fn carried(&self) -> usize {
        let carried = |seen: &&Seen| matches!(seen, Seen::Carried(_));
        self.seen().iter().filter(carried).count()
    }
}

#[tokio::test]
async fn a_state_folder_that_vanished_stops_power_orders_only() {
    let mut rig = Rig::new(Delivery::Delivered);
    std::fs::remove_dir_all(rig.state.path()).expect("gone");
    rig.order(Order::PowerOff);
    let refused = rig.results().pop().expect("a result");
    assert_eq!(refused.code, Some(Code::JournalUnwritable));
    rig.order(wake());
    rig.until(ResultState::Done).await;
}

#[tokio::test]
async fn a_full_disk_refuses_power_orders_until_there_is_room_and_keeps_the_old_journal() {
    let mut rig = Rig::new(Delivery::NoSubscribers);
    rig.order(Order::PowerOff);
    rig.until(ResultState::Aborted).await;
    let before = std::fs::read(rig.file()).expect("a journal");

    // Whatever is written to this device fails as on a full disk.
    let beside = rig.state.path().join("journal.json.new");
    std::os::unix::fs::symlink("/dev/full", &beside).expect("linked");
    rig.order(Order::PowerOff);
    let (code, told) = rig.refusal();
    assert_eq!(code, Some(Code::JournalUnwritable));
    assert_eq!(told, "the journal could not be written");
    assert_eq!(std::fs::read(rig.file()).expect("still there"), before);
    rig.order(wake());
    rig.until(ResultState::Done).await;
    assert_eq!(rig.carried(), 1, "only the wake");

    std::fs::remove_file(&beside).expect("room again");
    rig.order(Order::PowerOff);
    rig.until(ResultState::Aborted).await;
    let Stored::Readable(journal) = rig.shell.journal.load() else {
        panic!("the journal is readable")
    };
    let told: Vec<u64> = journal
        .entries
        .iter()
        .map(|entry| entry.token.seq)
        .collect();
    assert_eq!(told, [1, 4], "the refused order left no trace");
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_refuses_power_orders_and_is_left_as_it_is() {
    let mut rig = Rig::new(Delivery::NoSubscribers);
    rig.order(Order::PowerOff);
    rig.until(ResultState::Aborted).await;
    let good = std::fs::read(rig.file()).expect("a journal");
    let half = &good[..good.len() / 2];
    std::fs::write(rig.file(), half).expect("written");

    let mut next = Rig::on(rig.state, Delivery::Delivered);
    next.order(Order::PowerOff);
    let (code, told) = next.refusal();
    assert_eq!(code, Some(Code::JournalUnwritable));
    assert_eq!(told, "the journal cannot be read; repair or remove it");
    let beat = next
        .heard(AgentTopic::Heartbeat)
        .pop()
        .expect("a heartbeat");
    let beat = Heartbeat::decode(&beat).expect("its bytes");
    assert_eq!(beat.st, HeartbeatState::Degraded);
    next.order(wake());
    next.until(ResultState::Done).await;
    assert_eq!(next.carried(), 1, "only the wake");
    assert_eq!(std::fs::read(next.file()).expect("still there"), half);

    std::fs::write(next.file(), &good).expect("repaired");
    let repaired = Rig::on(next.state, Delivery::Delivered);
    let will = repaired
        .shell
        .will
        .lock()
        .expect("no panic holds it")
        .clone();
    assert_eq!(will.hwm, Token { epoch: 1, seq: 1 });
}

#[tokio::test]
async fn what_was_begun_before_a_kill_is_neither_repeated_nor_forgotten() {
    let mut rig = Rig::new(Delivery::Delivered);
    let id = rig.order(Order::PowerOff);
    rig.until_carried().await;

    let mut next = Rig::on(rig.state, Delivery::Delivered);
    let told = next.results();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].id, told[0].state), (id, ResultState::Interrupted));
    // The same command once more: a coordinator that heard nothing sends it again.
    assert_eq!(next.order(Order::PowerOff), id);
    assert_eq!(
        next.results().pop().map(|result| result.state),
        Some(ResultState::Interrupted)
    );
    assert_eq!(next.carried(), 0);
}
