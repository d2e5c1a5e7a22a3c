//! The way of a command: acceptance, grace, act, end.

use super::fixture::*;
use crate::{DriverFault, Input, Report, Step};
use alloc::vec::Vec;
use proto_mqtt::report::{
    AgentState, Code, HostOutcome, Outcome, Policy, ResultState, StatusReason,
};
use proto_mqtt::{CommandBody, Order, Text, Ulid};

/// A power-off with five seconds of grace that was accepted and confirmed.
fn in_grace() -> (Rig, CommandBody) {
    let mut rig = Rig::new();
    let body = CommandBody {
        delay_ms: 5000,
        ..rig.command(Order::PowerOff)
    };
    assert_eq!(results(&rig.send(&body)), [(ResultState::Accepted, None)]);
    assert_eq!(rig.confirm(true), []);
    (rig, body)
}

/// The same, after the driver told the host to go down.
fn falling() -> (Rig, CommandBody) {
    let (mut rig, body) = in_grace();
    rig.pass(5000);
    rig.feed(Input::Armed {
        id: body.id,
        outcome: None,
    });
    assert_eq!(jobs(&rig.confirm(true)).len(), 1);
    rig.feed(Input::Ended {
        id: body.id,
        result: Ok(None),
    });
    (rig, body)
}

#[test]
fn power_off_is_journaled_confirmed_announced_and_then_done() {
    let (mut rig, body) = in_grace();
    assert_eq!(rig.disk.entries[0].progress, crate::Progress::Accepted);
    let steps = rig.pass(5000);
    assert_eq!((writes(&steps), jobs(&steps).len()), (1, 0));
    assert_eq!(rig.disk.entries[0].progress, crate::Progress::Executing);
    assert!(steps.contains(&Step::Arm { id: body.id }));

    let outcome = HostOutcome { nics: [].into() };
    let steps = rig.feed(Input::Armed {
        id: body.id,
        outcome: Some(outcome.clone()),
    });
    assert_eq!(results(&steps), [(ResultState::Running, None)]);
    assert_eq!(bodies(&steps)[0].out, Some(Outcome::Host(outcome)));
    let status = statuses(&steps).pop().expect("a status");
    assert_eq!(
        (status.state, status.reason, status.op),
        (AgentState::Stopping, StatusReason::Op, Some(body.op))
    );

    let steps = rig.confirm(true);
    assert_eq!(jobs(&steps).len(), 1);
    assert_eq!(
        (jobs(&steps)[0].id, &jobs(&steps)[0].order),
        (body.id, &Order::PowerOff)
    );
    assert_eq!(
        rig.feed(Input::Ended {
            id: body.id,
            result: Ok(None)
        }),
        []
    );

    let steps = rig.feed(Input::Terminating { host: true });
    let status = statuses(&steps).pop().expect("a farewell");
    assert_eq!(
        (status.state, status.reason),
        (AgentState::Offline, StatusReason::Op)
    );
    assert_eq!(rig.confirm(true), [Step::Exit]);
    assert_eq!(
        rig.disk.entries[0].progress,
        crate::Progress::Executing,
        "the next boot says done"
    );
}

#[test]
fn going_down_is_retained_before_it_begins_for_a_coordinator_that_is_away() {
    let (mut rig, body) = in_grace();
    rig.pass(5000);
    let steps = rig.feed(Input::Armed {
        id: body.id,
        outcome: None,
    });
    let told = |step: &Step| {
        let Step::Publish { report, .. } = step else {
            return None;
        };
        let (topic, result) = match report {
            Report::Last(last) => ("last", last.results.last()?),
            Report::Result(result) => ("res", result),
            Report::Status(_) | Report::Heartbeat(_) => return None,
        };
        Some((topic, result.id, result.state))
    };
    let told: Vec<_> = steps.iter().filter_map(told).collect();
    let running = |topic| (topic, body.id, ResultState::Running);
    assert_eq!(told, [running("last"), running("res")]);
    assert_eq!(jobs(&steps), [], "it waits until the broker has both");
}

#[test]
fn without_a_confirmation_in_three_seconds_nothing_happens() {
    let accepted = || {
        let mut rig = Rig::new();
        rig.order(Order::PowerOff);
        rig
    };
    let no_ack = [(ResultState::Aborted, Some(Code::NoAckPath))];
    let mut silent = accepted();
    assert_eq!(results(&silent.pass(2999)), []);
    assert_eq!(results(&silent.pass(1)), no_ack);
    let mut late = accepted();
    late.now.boot_ms += 3000;
    assert_eq!(
        results(&late.confirm(true)),
        no_ack,
        "a late confirmation does not count"
    );
    let mut nobody = accepted();
    assert_eq!(results(&nobody.confirm(false)), no_ack);
    let mut cut_off = accepted();
    assert_eq!(results(&cut_off.feed(Input::Disconnected)), no_ack);
    for rig in [&mut silent, &mut late, &mut nobody, &mut cut_off] {
        assert_eq!(jobs(&rig.pass(600_000)), []);
        assert!(matches!(
            rig.disk.entries[0].progress,
            crate::Progress::Ended(_)
        ));
    }
}

#[test]
fn a_cancel_in_grace_stops_the_order_and_later_it_is_refused() {
    let (mut rig, body) = in_grace();
    let steps = rig.order(Order::Cancel { id: body.id });
    assert_eq!(
        results(&steps),
        [(ResultState::Cancelled, None), (ResultState::Done, None)]
    );
    assert_eq!(jobs(&rig.pass(600_000)), []);

    let (mut rig, body) = in_grace();
    rig.pass(5000);
    let steps = rig.order(Order::Cancel { id: body.id });
    assert_eq!(results(&steps), [(ResultState::Refused, Some(Code::Busy))]);
    let steps = rig.order(Order::Cancel {
        id: Ulid::from_bits(77),
    });
    assert_eq!(
        results(&steps),
        [(ResultState::Refused, Some(Code::Precondition))]
    );
}

#[test]
fn the_end_of_grace_asks_again_whether_somebody_works_here() {
    let cases = [
        (
            Policy {
                maintenance: true,
                inhibited: false,
            },
            Code::Maintenance,
        ),
        (
            Policy {
                maintenance: false,
                inhibited: true,
            },
            Code::Inhibited,
        ),
    ];
    for (policy, code) in cases {
        let (mut rig, _) = in_grace();
        rig.feed(Input::Policy(policy));
        assert_eq!(
            results(&rig.pass(5000)),
            [(ResultState::Aborted, Some(code))]
        );
        assert_eq!(jobs(&rig.pass(600_000)), []);
    }
}

#[test]
fn what_has_not_begun_is_given_up_when_the_world_changes() {
    let aborts = |change: &dyn Fn(&mut Rig) -> Vec<Step>| {
        let (mut rig, _) = in_grace();
        let mut steps = change(&mut rig);
        steps.extend(rig.pass(6000));
        assert_eq!(jobs(&steps), []);
        results(&steps)
    };
    assert_eq!(
        aborts(&|rig| rig.sleep(21_000)),
        [(ResultState::Aborted, Some(Code::Expired))]
    );
    assert_eq!(
        aborts(&|rig| rig.pass(15_001)),
        [(ResultState::Aborted, Some(Code::Expired))]
    );
    assert_eq!(
        aborts(&|rig| rig.feed(Input::Disconnected)),
        [(ResultState::Aborted, Some(Code::NoAckPath))]
    );
    assert_eq!(
        aborts(&|rig| rig.feed(Input::Terminating { host: false })),
        [(ResultState::Aborted, None)]
    );
}

#[test]
fn stopping_goes_on_although_nobody_confirms_it() {
    let (mut rig, body) = in_grace();
    rig.pass(5000);
    assert_eq!(jobs(&rig.pass(4999)), []);
    let steps = rig.pass(1);
    assert_eq!(
        results(&steps),
        [(ResultState::Running, None)],
        "unarmed interfaces are no reason to stay"
    );
    assert_eq!(jobs(&rig.pass(1999)), []);
    assert_eq!(jobs(&rig.pass(1))[0].id, body.id);
}

#[test]
fn a_host_that_does_not_go_down_has_stalled() {
    let (mut rig, _) = falling();
    assert_eq!(results(&rig.pass(179_999)), []);
    let steps = rig.pass(1);
    assert_eq!(
        results(&steps),
        [(ResultState::Failed, Some(Code::Stalled))]
    );
    assert_eq!(
        statuses(&steps).pop().map(|status| status.state),
        Some(AgentState::Online)
    );
}

#[test]
fn a_silent_or_faulty_driver_ends_the_order() {
    let running = || {
        let (mut rig, body) = in_grace();
        rig.pass(5000);
        rig.feed(Input::Armed {
            id: body.id,
            outcome: None,
        });
        rig.confirm(true);
        (rig, body)
    };
    let (mut rig, body) = running();
    assert_eq!(
        results(&rig.pass(60_000)),
        [(ResultState::Failed, Some(Code::ExecTimeout))]
    );
    assert_eq!(
        rig.feed(Input::Ended {
            id: body.id,
            result: Ok(None)
        }),
        [],
        "its late answer is ignored"
    );
    let (mut rig, body) = running();
    let fault = DriverFault {
        code: Code::Inhibited,
        msg: Text::from("backup holds a lock"),
    };
    let steps = rig.feed(Input::Ended {
        id: body.id,
        result: Err(fault),
    });
    assert_eq!(
        results(&steps),
        [(ResultState::Failed, Some(Code::Inhibited))]
    );
    assert_eq!(details(&steps), ["backup holds a lock"]);
}

#[test]
fn a_known_id_gets_its_old_answer_and_has_no_second_effect() {
    let (mut rig, body) = in_grace();
    assert_eq!(results(&rig.send(&body)), [(ResultState::Accepted, None)]);
    rig.pass(5000);
    rig.feed(Input::Armed {
        id: body.id,
        outcome: None,
    });
    let resigned = CommandBody {
        chal: rig.chal,
        ..body.clone()
    };
    assert_eq!(
        results(&rig.send(&resigned)),
        [(ResultState::Running, None)]
    );
    assert_eq!(jobs(&rig.confirm(true)).len(), 1);
    let steps = rig.send(&resigned);
    assert_eq!((results(&steps).len(), jobs(&steps).len()), (1, 0));
    let stolen_id = CommandBody {
        token: proto_mqtt::Token { epoch: 9, seq: 9 },
        ..body
    };
    assert_eq!(
        results(&rig.send(&stolen_id)),
        [(ResultState::Duplicate, Some(Code::SeqStale))]
    );
}

#[test]
fn a_refused_command_may_be_signed_again() {
    let mut rig = Rig::new();
    let body = rig.command(Order::PowerOff);
    rig.pass(31_000);
    assert_eq!(
        results(&rig.send(&body)),
        [(ResultState::Refused, Some(Code::Expired))]
    );
    let resigned = CommandBody {
        chal: rig.chal,
        ..body
    };
    assert_eq!(
        results(&rig.send(&resigned)),
        [(ResultState::Accepted, None)]
    );
}

#[test]
fn a_disk_that_fails_stops_destructive_orders_and_only_those() {
    let mut rig = Rig::new();
    rig.disk_fails = true;
    let body = rig.command(Order::PowerOff);
    assert_eq!(
        results(&rig.send(&body)),
        [(ResultState::Refused, Some(Code::JournalUnwritable))]
    );
    assert_eq!(jobs(&rig.order(wake())).len(), 1);
    rig.disk_fails = false;
    let again = CommandBody {
        token: proto_mqtt::Token { epoch: 1, seq: 50 },
        ..body
    };
    assert_eq!(
        results(&rig.send(&again)),
        [(ResultState::Accepted, None)],
        "the failed one left no trace"
    );

    let (mut rig, _) = in_grace();
    rig.disk_fails = true;
    assert_eq!(
        results(&rig.pass(5000)),
        [(ResultState::Aborted, Some(Code::JournalUnwritable))]
    );
}

#[test]
fn wakes_run_at_once_without_journal_and_side_by_side() {
    let mut rig = Rig::new();
    let first = CommandBody {
        target: id("nuc1"),
        ..rig.command(wake())
    };
    let steps = rig.send(&first);
    assert_eq!((writes(&steps), jobs(&steps).len()), (0, 1));
    assert_eq!(results(&steps), [(ResultState::Accepted, None)]);
    assert_eq!(jobs(&rig.order(wake())).len(), 1);
    let steps = rig.feed(Input::Ended {
        id: first.id,
        result: Ok(None),
    });
    assert_eq!(results(&steps), [(ResultState::Done, None)]);
    assert_eq!(
        results(&rig.send(&first)),
        [(ResultState::Done, None)],
        "and the answer is kept"
    );
    let later = CommandBody {
        delay_ms: 1000,
        target: id("nuc2"),
        ..rig.command(wake())
    };
    assert_eq!(jobs(&rig.send(&later)), []);
    assert_eq!(jobs(&rig.pass(1000))[0].id, later.id);
}

#[test]
fn orders_exclude_each_other_where_they_must() {
    let mut rig = Rig::new();
    let mut redfish = |order: Order, target: &str| {
        let body = CommandBody {
            target: id(target),
            delay_ms: 60_000,
            ..rig.command(order)
        };
        let first = results(&rig.send(&body))[0];
        if first.0 == ResultState::Accepted {
            rig.confirm(true);
        }
        first.1
    };
    assert_eq!(redfish(bmc_off(), "r720"), None);
    assert_eq!(redfish(bmc_off(), "r720"), Some(Code::Busy));
    assert_eq!(redfish(Order::RedfishOn(bmc()), "r720"), Some(Code::Busy));
    assert_eq!(redfish(Order::RedfishStatus(bmc()), "r720"), None);
    assert_eq!(redfish(bmc_off(), "r730"), None);
    assert_eq!(redfish(Order::PowerOff, "nas-01"), Some(Code::Busy));

    let (mut rig, _) = in_grace();
    assert_eq!(
        results(&rig.order(Order::PowerReboot)),
        [(ResultState::Refused, Some(Code::Busy))]
    );
    assert_eq!(
        jobs(&rig.order(wake())).len(),
        1,
        "others are woken until the host goes down"
    );
    rig.pass(5000);
    assert_eq!(
        results(&rig.order(wake())),
        [(ResultState::Refused, Some(Code::Busy))]
    );
}

#[test]
fn the_number_of_orders_under_way_is_bounded() {
    let mut rig = Rig::new();
    let mut codes = (0..33).map(|_| {
        rig.pass(100);
        results(&rig.order(wake()))[0].1
    });
    assert!(codes.by_ref().take(32).all(|code| code.is_none()));
    assert_eq!(codes.next(), Some(Some(Code::Busy)));
}

#[test]
fn six_power_acts_in_an_hour_and_no_seventh() {
    let mut rig = Rig::new();
    for _ in 0..6 {
        let body = rig.command(Order::PowerReboot);
        assert_eq!(results(&rig.send(&body)), [(ResultState::Accepted, None)]);
        rig.confirm(true);
        rig.pass(5000);
        rig.pass(2000);
        assert_eq!(
            results(&rig.pass(60_000)),
            [(ResultState::Failed, Some(Code::ExecTimeout))]
        );
    }
    assert_eq!(
        results(&rig.order(Order::PowerOff)),
        [(ResultState::Refused, Some(Code::RateLimited))]
    );
    for _ in 0..60 {
        rig.pass(60_000);
    }
    assert_eq!(
        results(&rig.order(Order::PowerOff)),
        [(ResultState::Accepted, None)]
    );
}
