//! What a new process makes of the journal that the last one left.

use super::fixture::*;
use crate::{Config, Entry, Input, Journal, MAX_ENTRIES, Now, Progress, Report, Step, Stored};
use alloc::vec;
use proto_mqtt::report::{Code, ResultState};
use proto_mqtt::{CommandBody, Order, Token, Ulid, Verb};

fn entry(number: u8, verb: Verb, progress: Progress) -> Entry {
    Entry {
        id: Ulid::from_bits(u128::from(number)),
        token: Token {
            epoch: 1,
            seq: u64::from(number),
        },
        target: id("nas-01"),
        verb,
        progress,
        boot: "boot-1".parse().expect("a boot id"),
        at_boot_ms: 3_590_000,
        at_wall_s: 1_799_999_990,
    }
}

/// The result that is told after a start with one open entry.
fn told(boot: &str, verb: Verb, progress: Progress) -> ResultState {
    let journal = Journal {
        entries: vec![entry(1, verb, progress)],
        ..Journal::default()
    };
    let config = Config {
        boot: boot.parse().expect("a boot id"),
        ..config()
    };
    let now = Now {
        boot_ms: 3_600_000,
        awake_ms: 3_600_000,
        wall_s: 1_800_000_000,
    };
    let mut rig = Rig::started_at(config, Stored::Readable(journal), now);
    assert!(
        matches!(rig.disk.entries[0].progress, Progress::Ended(_)),
        "the end is durable before it is told"
    );
    let steps = rig.feed(Input::Connected { conn: 1 });
    assert!(steps.iter().any(|step| matches!(step, Step::Publish { report: Report::Last(last), .. } if last.results.len() == 1)));
    assert_eq!(jobs(&rig.pass(600_000)), [], "nothing is carried out again");
    assert_eq!(
        results(&rig.feed(Input::Connected { conn: 2 })),
        [],
        "and told once"
    );
    results(&steps)[0].0
}

#[test]
fn open_orders_of_the_last_process_are_ended_by_rule() {
    let cases = [
        (
            "boot-2",
            Verb::PowerOff,
            Progress::Executing,
            ResultState::Done,
        ),
        (
            "boot-2",
            Verb::PowerReboot,
            Progress::Executing,
            ResultState::Done,
        ),
        (
            "boot-1",
            Verb::PowerOff,
            Progress::Executing,
            ResultState::Interrupted,
        ),
        (
            "boot-2",
            Verb::RedfishOff,
            Progress::Executing,
            ResultState::Interrupted,
        ),
        (
            "boot-1",
            Verb::PowerOff,
            Progress::Accepted,
            ResultState::Aborted,
        ),
        (
            "boot-2",
            Verb::PowerOff,
            Progress::Accepted,
            ResultState::Aborted,
        ),
    ];
    for (boot, verb, progress, state) in cases {
        assert_eq!(
            told(boot, verb, progress.clone()),
            state,
            "{boot} {verb} {progress:?}"
        );
    }
}

#[test]
fn ids_tokens_and_rate_survive_a_restart_and_challenges_do_not() {
    let mut rig = Rig::new();
    let first = rig.command(Order::PowerOff);
    rig.send(&first);
    rig.confirm(true);
    let second = CommandBody {
        token: Token { epoch: 1, seq: 9 },
        ..rig.command(Order::PowerReboot)
    };
    let mut next = Rig::restarted(
        Config {
            acts_per_hour: 1,
            ..config()
        },
        Stored::Readable(rig.disk.clone()),
    );
    assert_eq!(
        results(&next.send(&first)),
        [(ResultState::Interrupted, None)],
        "the same id gets its end"
    );
    next.chal = proto_mqtt::Challenge([0; 16]);
    let stale = CommandBody {
        chal: next.chal,
        ..second
    };
    assert_eq!(
        results(&next.send(&stale)),
        [(ResultState::Refused, Some(Code::StaleChal))]
    );
    next.pass(10_000);
    let old_token = CommandBody {
        chal: next.chal,
        token: Token { epoch: 1, seq: 1 },
        ..stale.clone()
    };
    assert_eq!(
        results(&next.send(&old_token)),
        [(ResultState::Refused, Some(Code::SeqStale))]
    );
    let fresh = CommandBody {
        chal: next.chal,
        ..stale
    };
    assert_eq!(
        results(&next.send(&fresh)),
        [(ResultState::Refused, Some(Code::RateLimited))]
    );
}

#[test]
fn acts_of_earlier_boots_count_by_the_wall_clock() {
    let journal = || {
        let done = crate::Ending {
            state: ResultState::Done,
            code: None,
            msg: proto_mqtt::Text::default(),
        };
        let entries = (1..7)
            .map(|number| entry(number, Verb::PowerOff, Progress::Ended(done.clone())))
            .collect();
        Stored::Readable(Journal {
            entries,
            ..Journal::default()
        })
    };
    let other_boot = || Config {
        boot: "boot-2".parse().expect("a boot id"),
        ..config()
    };
    let code = |boot_ms, wall_s| {
        let now = Now {
            boot_ms,
            awake_ms: boot_ms,
            wall_s,
        };
        let mut rig = Rig::started_at(other_boot(), journal(), now).connected();
        let body = CommandBody {
            token: Token { epoch: 2, seq: 1 },
            id: Ulid::from_bits(99),
            ..rig.command(Order::PowerOff)
        };
        results(&rig.send(&body)).last().and_then(|last| last.1)
    };
    assert_eq!(code(200_000, 1_800_000_000), Some(Code::RateLimited));
    assert_eq!(
        code(200_000, 1_800_010_000),
        None,
        "they are more than an hour old"
    );
    assert_eq!(
        code(200_000, 0),
        Some(Code::RateLimited),
        "a dead clock cannot tell"
    );
    assert_eq!(code(3_600_000, 0), None, "but an hour of uptime can");
}

#[test]
fn the_journal_is_bounded() {
    let mut rig = Rig::with(Config {
        acts_per_hour: usize::MAX,
        ..config()
    });
    for _ in 0..2 * MAX_ENTRIES {
        rig.pass(1000);
        rig.order(bmc_off());
        rig.confirm(false);
    }
    assert_eq!(rig.disk.entries.len(), MAX_ENTRIES);
    assert_eq!(rig.disk.marks.len(), 1);
    assert_eq!(
        rig.disk.marks[0].token,
        Token {
            epoch: 1,
            seq: 2 * MAX_ENTRIES as u64
        }
    );
}

#[test]
fn marks_outlive_the_entries_that_they_came_from() {
    let mut rig = Rig::new();
    let off = |rig: &mut Rig, name: &str| {
        rig.pass(1000);
        let body = CommandBody {
            target: id(name),
            ..rig.command(bmc_off())
        };
        rig.send(&body);
        rig.confirm(false);
        body
    };
    let first = off(&mut rig, "bmc-first");
    for number in 0..MAX_ENTRIES {
        off(&mut rig, &alloc::format!("bmc-{number}"));
    }
    assert!(rig.disk.entries.iter().all(|entry| entry.id != first.id));
    let mut next = Rig::restarted(config(), Stored::Readable(rig.disk.clone()));
    let older = CommandBody {
        id: Ulid::from_bits(u128::MAX),
        chal: next.chal,
        ..first
    };
    assert_eq!(
        results(&next.send(&older)),
        [(ResultState::Refused, Some(Code::SeqStale))]
    );
}
