//! Each check refuses with its code, changes nothing and writes nothing.

use super::fixture::*;
use crate::{Config, Input, Journal, Stored};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use proto_mqtt::command::Expect;
use proto_mqtt::key::Signer;
use proto_mqtt::order::{OffMode, WakeOrder};
use proto_mqtt::report::{Code, Policy, ResultState};
use proto_mqtt::{
    AgentTopic, Challenge, CommandBody, Envelope, Order, Payload, Power, Purpose, Text, Token,
    Ulid, Verb,
};

/// Sends a power-off that was changed in one point and returns the code it was refused with.
fn code_of(change: impl FnOnce(&mut Rig, &mut CommandBody)) -> Option<Code> {
    let mut rig = Rig::new();
    let mut body = rig.command(Order::PowerOff);
    change(&mut rig, &mut body);
    let steps = rig.send(&body);
    assert_eq!(
        writes(&steps),
        usize::from(results(&steps)[0].0 == ResultState::Accepted),
        "a refusal writes nothing"
    );
    assert_eq!(jobs(&steps), [], "a refusal does nothing");
    assert_eq!(
        bodies(&steps)[0].id,
        body.id,
        "a proved refusal bears its id"
    );
    results(&steps)[0].1
}

#[test]
fn a_good_command_is_accepted() {
    assert_eq!(code_of(|_, _| {}), None);
}

#[test]
fn each_check_of_a_signed_command_has_its_code() {
    let unknown = |_: &mut Rig, body: &mut CommandBody| {
        body.order = Order::Unknown {
            verb: Text::from("power.nap"),
        }
    };
    assert_eq!(code_of(unknown), Some(Code::Unsupported));
    assert_eq!(
        code_of(|_, body| body.crit = vec![Text::from("moon")]),
        Some(Code::Unsupported)
    );
    assert_eq!(
        code_of(|_, body| body.aud = id("nas-02")),
        Some(Code::WrongAud)
    );
    assert_eq!(
        code_of(|_, body| body.target = id("nas-02")),
        Some(Code::WrongAud)
    );
    assert_eq!(
        code_of(|_, body| body.chal = Challenge([9; 16])),
        Some(Code::StaleChal)
    );
    assert_eq!(
        code_of(|_, body| body.boot = Some("boot-0".parse().expect("a boot id"))),
        Some(Code::BootMismatch)
    );
    assert_eq!(
        code_of(|_, body| body.boot = Some("boot-1".parse().expect("a boot id"))),
        None
    );
    assert_eq!(
        code_of(|_, body| body.expect = Some(Expect { power: Power::Off })),
        Some(Code::Precondition)
    );
    assert_eq!(
        code_of(|_, body| body.expect = Some(Expect { power: Power::On })),
        None
    );
    let policy = |maintenance, inhibited| {
        move |rig: &mut Rig, _: &mut CommandBody| {
            rig.feed(Input::Policy(Policy {
                maintenance,
                inhibited,
            }));
        }
    };
    assert_eq!(code_of(policy(true, false)), Some(Code::Maintenance));
    assert_eq!(code_of(policy(false, true)), Some(Code::Inhibited));
}

#[test]
fn a_challenge_lives_as_long_as_the_command_says() {
    let aged = |ms: u64, ttl_ms: u32| {
        code_of(|rig, body| {
            rig.now.boot_ms += ms;
            rig.now.awake_ms += ms;
            body.ttl_ms = ttl_ms;
        })
    };
    assert_eq!(aged(30_000, 30_000), None);
    assert_eq!(aged(30_001, 30_000), Some(Code::Expired));
    assert_eq!(aged(5001, 5000), Some(Code::Expired));
}

#[test]
fn tokens_must_rise_for_the_target() {
    let mut rig = Rig::new();
    let first = rig.command(wake());
    rig.send(&first);
    let cases = [
        (Token { epoch: 1, seq: 1 }, Some(Code::SeqStale)),
        (Token { epoch: 0, seq: 9 }, Some(Code::SeqStale)),
        (Token { epoch: 1, seq: 2 }, None),
        (Token { epoch: 2, seq: 0 }, None),
        (Token { epoch: 1, seq: 9 }, Some(Code::SeqStale)),
    ];
    for (token, code) in cases {
        let body = CommandBody {
            token,
            ..rig.command(wake())
        };
        assert_eq!(results(&rig.send(&body))[0].1, code, "{token}");
    }
    let other = CommandBody {
        token: Token { epoch: 1, seq: 1 },
        target: id("nuc1"),
        ..rig.command(wake())
    };
    assert_eq!(
        results(&rig.send(&other))[0].1,
        None,
        "marks are kept for each target"
    );
}

#[test]
fn verbs_need_permission() {
    let own_host_only = Config {
        segments: None,
        allow: vec![Verb::PowerOff],
        ..config()
    };
    let cases = [
        (Order::PowerReboot, Code::VerbDenied),
        (wake(), Code::VerbDenied),
        (Order::RedfishOn(bmc()), Code::VerbDenied),
        (Order::RedfishStatus(bmc()), Code::VerbDenied),
        (bmc_off(), Code::VerbDenied),
    ];
    for (order, code) in cases {
        let mut rig = Rig::with(own_host_only.clone());
        assert_eq!(
            results(&rig.order(order.clone())),
            [(ResultState::Refused, Some(code))],
            "{order:?}"
        );
    }
    let capabilities: Vec<Verb> = own_host_only.capabilities().collect();
    assert_eq!(
        capabilities,
        [Verb::PowerOff, Verb::Cancel, Verb::Barrier, Verb::Refresh]
    );
}

#[test]
fn a_relay_refuses_segments_and_modes_it_does_not_know() {
    let mut rig = Rig::new();
    let Order::Wake(train) = wake() else {
        unreachable!("wake() is a wake order")
    };
    let elsewhere = Order::Wake(WakeOrder {
        segment: Text::from("attic"),
        ..train
    });
    let steps = rig.order(elsewhere);
    assert_eq!(
        results(&steps),
        [(ResultState::Refused, Some(Code::VerbDenied))]
    );
    assert_eq!(
        details(&steps),
        ["the segment attic is not one of this relay's"]
    );
    let steps = rig.order(Order::RedfishOff {
        bmc: bmc(),
        mode: OffMode::Unknown,
    });
    assert_eq!(
        results(&steps),
        [(ResultState::Refused, Some(Code::Unsupported))]
    );
}

#[test]
fn waking_a_machine_that_is_believed_to_be_on_is_refused() {
    let mut rig = Rig::new();
    let body = CommandBody {
        expect: Some(Expect { power: Power::On }),
        ..rig.command(wake())
    };
    assert_eq!(
        results(&rig.send(&body)),
        [(ResultState::Refused, Some(Code::Precondition))]
    );
    let body = CommandBody {
        expect: Some(Expect { power: Power::Off }),
        ..rig.command(wake())
    };
    assert_eq!(jobs(&rig.send(&body))[0].expect, Some(Power::Off));
}

#[test]
fn a_young_host_is_not_switched_off_but_relays() {
    let young = crate::Now {
        boot_ms: 179_999,
        awake_ms: 179_999,
        wall_s: 0,
    };
    let mut rig =
        Rig::started_at(config(), Stored::Readable(Journal::default()), young).connected();
    let steps = rig.order(Order::PowerOff);
    assert_eq!(
        results(&steps),
        [(ResultState::Refused, Some(Code::MinUptime))]
    );
    assert_eq!(
        details(&steps),
        ["the host has been up for 179 s, less than min_uptime 180 s"]
    );
    assert_eq!(jobs(&rig.order(wake())).len(), 1);
    rig.pass(1);
    assert_eq!(
        results(&rig.order(Order::PowerOff)),
        [(ResultState::Accepted, None)]
    );
}

#[test]
fn messages_are_refused_before_anything_in_them_is_believed() {
    let mut rig = Rig::new();
    let body = rig.command(Order::PowerOff);
    let good = sealed(&body);
    let stranger = Signer::from_seed("c1", &[4; 32]);
    let renamed = Signer::from_seed("c9", &[3; 32]);
    let foreign = |signer: &Signer, topic: &str| {
        Envelope::seal(signer, Purpose::Command, topic, body.encode_text()).encode()
    };
    let result = Envelope::seal(&signer(), Purpose::Result, TOPIC, body.encode_text()).encode();
    let cases = [
        (vec![b'x'; 8193], false, Code::BadEnvelope),
        (vec![b'x'; 1_000_000], false, Code::BadEnvelope),
        (b"OFF".to_vec(), false, Code::BadEnvelope),
        (Vec::new(), false, Code::BadEnvelope),
        (body.encode(), false, Code::BadEnvelope),
        (good.clone(), true, Code::Retained),
        (foreign(&renamed, TOPIC), false, Code::UnknownKid),
        (foreign(&stranger, TOPIC), false, Code::BadSig),
        (
            foreign(&signer(), "hla/v1/a/nas-02/cmd"),
            false,
            Code::BadSig,
        ),
        (result, false, Code::BadSig),
    ];
    for (payload, retain, code) in cases {
        rig.pass(1000);
        let steps = rig.feed(on(AgentTopic::Command, payload, retain));
        assert_eq!(results(&steps), [(ResultState::Refused, Some(code))]);
        assert_eq!(
            bodies(&steps)[0].id,
            Ulid::NIL,
            "an unproved message has no id"
        );
        assert_eq!((writes(&steps), jobs(&steps).len()), (0, 0));
    }
    assert_eq!(
        results(&rig.feed(message(good))),
        [(ResultState::Accepted, None)],
        "the real one still works"
    );
}

#[test]
fn signed_text_that_is_no_command_is_refused_under_its_id() {
    let mut rig = Rig::new();
    let body = rig.command(Order::PowerOff);
    let cases = [
        (body.encode_text().replace("30000", "30001"), Code::BadBody),
        (
            body.encode_text().replace("\"v\":1", "\"v\":2"),
            Code::Unsupported,
        ),
    ];
    for (text, code) in cases {
        let payload = Envelope::seal(&signer(), Purpose::Command, TOPIC, text).encode();
        let steps = rig.feed(message(payload));
        assert_eq!(results(&steps), [(ResultState::Refused, Some(code))]);
        assert_eq!(bodies(&steps)[0].id, body.id);
    }
}

#[test]
fn a_flood_costs_no_signature_and_no_answer() {
    let mut rig = Rig::new();
    let garbage = || message(b"garbage".to_vec());
    let answers: usize = (0..10_000).map(|_| rig.feed(garbage()).len()).sum();
    assert_eq!(answers, 2, "one log line and one answer in a second");
    assert_eq!(rig.order(wake()), [], "the flood has used up the rate");
    rig.pass(1000);
    assert_eq!(results(&rig.order(wake())), [(ResultState::Accepted, None)]);
}

#[test]
fn other_topics_carry_no_commands() {
    let mut rig = Rig::new();
    let payload = sealed(&rig.command(Order::PowerOff));
    for topic in [
        "hla/v1/a/nas-02/cmd",
        "hla/v1/a/nas-01/res",
        "hla/v1/c/status",
        "x",
    ] {
        let steps = rig.feed(Input::Message {
            topic: topic.to_string(),
            payload: payload.clone(),
            retain: false,
        });
        assert!(
            results(&steps)
                .iter()
                .all(|result| *result == (ResultState::Refused, Some(Code::WrongAud)))
        );
        assert_eq!(jobs(&steps), []);
    }
}

#[test]
fn an_unreadable_journal_refuses_destructive_orders_only() {
    let mut rig = Rig::restarted(config(), Stored::Unreadable);
    assert_eq!(
        results(&rig.order(Order::PowerOff)),
        [(ResultState::Refused, Some(Code::JournalUnwritable))]
    );
    assert_eq!(
        results(&rig.order(bmc_off())),
        [(ResultState::Refused, Some(Code::JournalUnwritable))]
    );
    assert_eq!(jobs(&rig.order(wake())).len(), 1);
}

#[test]
fn a_suspend_makes_every_challenge_stale() {
    let mut rig = Rig::new();
    let body = rig.command(Order::PowerOff);
    rig.sleep(21_000);
    let before_resume = sealed(&body);
    assert_eq!(
        results(&rig.feed(message(before_resume))),
        [(ResultState::Refused, Some(Code::StaleChal))]
    );
}

#[test]
fn a_command_that_was_refused_in_time_stays_refused_when_it_is_repeated() {
    let mut rig = Rig::new();
    let policy = |maintenance| {
        Input::Policy(Policy {
            maintenance,
            inhibited: false,
        })
    };
    rig.feed(policy(true));
    let body = rig.command(Order::PowerOff);
    let refused = [(ResultState::Refused, Some(Code::Maintenance))];
    assert_eq!(results(&rig.send(&body)), refused);
    rig.feed(policy(false));
    assert_eq!(
        results(&rig.send(&body)),
        refused,
        "the coordinator has made other plans"
    );
    assert_eq!(
        results(&rig.order(Order::PowerOff)),
        [(ResultState::Accepted, None)]
    );
}

#[test]
fn a_wall_clock_that_is_wrong_changes_nothing() {
    for wall_s in [0, 4_102_444_800] {
        let mut rig = Rig::new();
        rig.now.wall_s = wall_s;
        let body = rig.command(Order::PowerOff);
        assert_eq!(
            results(&rig.send(&body)),
            [(ResultState::Accepted, None)],
            "{wall_s}"
        );
        rig.pass(30_001);
        let late = CommandBody {
            chal: body.chal,
            ..rig.command(wake())
        };
        rig.now.wall_s = 1_800_000_000;
        assert_eq!(
            results(&rig.send(&late)),
            [(ResultState::Refused, Some(Code::Expired))],
            "{wall_s}"
        );
    }
}
