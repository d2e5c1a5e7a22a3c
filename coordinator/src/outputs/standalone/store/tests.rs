//! The store against real files: reopening, the sequence guard, two openers, kill -9 in the middle of writing.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use coordinator_core::{Fact, PowerRecord, PowerState, Token, Witness};

use super::*;

fn wish(names: &[&str], sequence: u64) -> GroupRecord {
    GroupRecord {
        wanted: names.iter().map(|name| MachineId::new(name)).collect(),
        sequence,
        last_increase: None,
    }
}

fn commit(expected: u64, names: &[&str]) -> Write {
    Write::Group {
        group: GroupId::new("default/workers"),
        expected,
        record: wish(names, expected + 1),
        deadline_ms: None,
    }
}

fn machine(epoch: u32) -> Write {
    Write::Machine {
        machine: MachineId::new("nuc1"),
        version: 1,
        record: Box::new(MachineRecord {
            token: Token { epoch, seq: 1 },
            power: PowerRecord {
                state: PowerState::Off,
                witness: Some(Witness::Silence),
                since_ms: 5,
            },
            ..MachineRecord::default()
        }),
    }
}

#[test]
fn what_is_stored_is_there_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, first) = Store::open(dir.path()).unwrap();
    assert_eq!(first.epoch, 1);
    let key = Write::Agent {
        agent: AgentId::new("nuc1"),
        key: "ed25519:k".to_owned(),
    };
    let outcomes = store
        .write(&[commit(0, &["nuc1"]), machine(1), key])
        .unwrap();
    assert_eq!(
        outcomes,
        [Outcome::Stored, Outcome::Stored, Outcome::Stored]
    );
    drop(store);

    let (_store, second) = Store::open(dir.path()).unwrap();
    assert_eq!(second.seed, first.seed);
    assert_eq!(second.epoch, 2);
    assert_eq!(
        second.groups,
        [(GroupId::new("default/workers"), wish(&["nuc1"], 1))]
    );
    assert_eq!(second.machines.len(), 1);
    let facts: Vec<Fact> = second.into_facts().collect();
    assert_eq!(facts.len(), 5);
    assert!(matches!(&facts[2], Fact::AgentStored { key, .. } if key == "ed25519:k"));
    assert_eq!(facts[3..], [Fact::Loaded, Fact::Leading { epoch: 2 }]);
}

#[test]
fn the_epoch_rises_above_every_token_that_was_granted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).unwrap();
    store.write(&[machine(40)]).unwrap();
    drop(store);
    assert_eq!(Store::open(dir.path()).unwrap().1.epoch, 41);
    assert_eq!(Store::open(dir.path()).unwrap().1.epoch, 42);
}

#[test]
fn a_wish_computed_from_another_sequence_is_refused_and_the_stored_one_returned() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).unwrap();
    let outcomes = store
        .write(&[commit(0, &["a"]), commit(0, &["b"]), commit(1, &["a", "c"])])
        .unwrap();
    assert_eq!(
        outcomes,
        [
            Outcome::Stored,
            Outcome::Moved(wish(&["a"], 1)),
            Outcome::Stored
        ]
    );
    let group = GroupId::new("default/workers");
    assert_eq!(store.group(&group).unwrap(), Some(wish(&["a", "c"], 2)));
    assert_eq!(store.group(&GroupId::new("default/other")).unwrap(), None);
}

#[test]
fn a_second_coordinator_on_the_same_folder_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Store::open(dir.path()).unwrap();
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, OpenStore::InUse { .. }));
    let words = refused.to_string();
    assert!(
        words.contains("another homelab-coordinator is using it"),
        "{words}"
    );
    assert!(words.contains(&dir.path().display().to_string()), "{words}");
}

#[test]
fn state_is_private_to_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("deep/state");
    let _open = Store::open(&state).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join(FILE)), 0o600);
}

#[test]
fn a_value_of_a_newer_build_stops_the_start_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let newer = r#"{"v":9}"#;
    let transaction = store.database.as_ref().unwrap().begin_write().unwrap();
    transaction
        .open_table(MACHINES)
        .unwrap()
        .insert("nuc1", newer)
        .unwrap();
    transaction.commit().unwrap();
    drop(store);
    for _ in 0..2 {
        let refused = Store::open(dir.path()).unwrap_err();
        assert!(
            refused.to_string().contains("machine nuc1 is unreadable"),
            "{refused}"
        );
    }
}

#[test]
fn a_damaged_file_is_refused_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE);
    fs::write(&file, b"this is no database").unwrap();
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, OpenStore::Database { .. }), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), b"this is no database");
}

/// Set in the child process of the next test only.
const CHILD: &str = "STORE_TEST_CHILD";

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Ok(dir) = std::env::var(CHILD) {
        write_for_ever(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg(
                concat!(module_path!(), "::what_was_acknowledged_survives_kill_9")
                    .split_once("::")
                    .unwrap()
                    .1,
            )
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let acknowledged = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.rsplit_once("stored ")?.1.parse::<u64>().ok())
            .nth(7 * round as usize)
            .expect("the child stores until it is killed");
        child.kill().unwrap();
        child.wait().unwrap();

        let (store, replay) = Store::open(dir.path()).unwrap();
        drop(store);
        let (_, record) = &replay.groups[0];
        assert!(
            record.sequence >= acknowledged,
            "{} < {acknowledged}",
            record.sequence
        );
        assert_eq!(
            record.wanted.len() as u64,
            record.sequence % 5,
            "a wish is stored whole"
        );
        // Each round is two starts: the child's and this one.
        assert_eq!(replay.epoch, round * 2);
    }
}

fn write_for_ever(dir: &Path) -> ! {
    let (mut store, replay) = Store::open(dir).unwrap();
    let mut sequence = replay
        .groups
        .first()
        .map_or(0, |(_, record)| record.sequence);
    loop {
        let names = ["a", "b", "c", "d"];
        let next = usize::try_from((sequence + 1) % 5).unwrap();
        let outcomes = store.write(&[commit(sequence, &names[..next])]).unwrap();
        assert_eq!(outcomes, [Outcome::Stored]);
        sequence += 1;
        println!("stored {sequence}");
    }
}
