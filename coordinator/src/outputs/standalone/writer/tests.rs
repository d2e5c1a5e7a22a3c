//! The store's thread, run by hand: a prepared queue in, told facts out.

use std::{cell::RefCell, rc::Rc, sync::mpsc};

use coordinator_core::{AgentId, GroupRecord, MachineId, MachineRecord, Token};

use super::*;

type Told = Rc<RefCell<Vec<Fact>>>;

fn writer(dir: &std::path::Path) -> (Writer<impl Fn(Fact) + use<>>, Told) {
    let told = Told::default();
    let (store, _) = Store::open(dir).unwrap();
    let copy = Rc::clone(&told);
    let tell = move |fact| copy.borrow_mut().push(fact);
    (Writer::new(store, Memory::default(), tell), told)
}

fn run<T: Fn(Fact)>(writer: &mut Writer<T>, tasks: Vec<Task>) {
    let (sender, queue) = mpsc::channel();
    for task in tasks {
        sender.send(task).unwrap();
    }
    drop(sender);
    writer.run(&queue);
}

fn group() -> GroupId {
    GroupId::new("default/workers")
}

fn wish(sequence: u64) -> GroupRecord {
    GroupRecord {
        wanted: vec![MachineId::new("nuc1")],
        sequence,
        last_increase: None,
    }
}

fn commit(expected: u64) -> Task {
    Task::Write(Write::Group {
        group: group(),
        expected,
        record: wish(expected + 1),
        deadline_ms: None,
    })
}

fn record(version: u64) -> Task {
    Task::Write(Write::Machine {
        machine: MachineId::new("nuc1"),
        version,
        record: Box::new(MachineRecord {
            token: Token { epoch: 1, seq: 7 },
            ..MachineRecord::default()
        }),
    })
}

fn key() -> Task {
    Task::Write(Write::Agent {
        agent: AgentId::new("nuc1"),
        key: "ed25519:k".to_owned(),
    })
}

fn recorded(version: u64) -> Fact {
    Fact::Recorded {
        machine: MachineId::new("nuc1"),
        version,
    }
}

#[test]
fn outcomes_are_told_in_the_order_of_the_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, told) = writer(dir.path());
    run(
        &mut writer,
        vec![
            record(1),
            commit(0),
            commit(0),
            record(2),
            Task::Tell(Box::new(Fact::Loaded)),
        ],
    );
    let (sequence, record) = (1, wish(1));
    assert_eq!(
        *told.borrow(),
        [
            recorded(1),
            Fact::Committed {
                group: group(),
                sequence
            },
            Fact::CommitLost {
                group: group(),
                record
            },
            recorded(2),
            Fact::Loaded,
        ]
    );
    let shown = writer.memory.record(&MachineId::new("nuc1"));
    assert_eq!(shown.token, Token { epoch: 1, seq: 7 });
}

#[test]
fn a_store_that_fails_says_so_and_tells_what_is_stored_once_it_works_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, told) = writer(dir.path());
    run(&mut writer, vec![commit(0)]);
    told.borrow_mut().clear();

    let working = writer
        .store
        .swap_file(dir.path().join("gone/coordinator.redb"));
    run(&mut writer, vec![commit(1), record(1), key()]);
    let (fault, machine) = (StoreFault::Unavailable, MachineId::new("nuc1"));
    assert_eq!(
        told.take(),
        [
            Fact::CommitFailed {
                group: group(),
                fault
            },
            Fact::RecordFailed { machine, fault },
        ]
    );
    assert_eq!(
        writer.memory.record(&MachineId::new("nuc1")),
        MachineRecord::default()
    );

    writer.store.swap_file(working);
    run(&mut writer, vec![record(2)]);
    let record = wish(1);
    assert_eq!(
        told.take(),
        [
            Fact::GroupStored {
                group: group(),
                record
            },
            recorded(2)
        ]
    );
    drop(writer);
    let (_, replay) = Store::open(dir.path()).unwrap();
    assert_eq!(
        replay.agents,
        [(AgentId::new("nuc1"), "ed25519:k".to_owned())]
    );
}
