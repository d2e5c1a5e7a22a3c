//! What others see of the agent: status, heartbeat, pings, farewell.

use super::fixture::*;
use crate::{Input, Report, Step};
use proto_mqtt::report::{AgentState, Code, HeartbeatState, Policy, ResultState, StatusReason};
use proto_mqtt::{AgentTopic, CommandBody, Order, Payload};

#[test]
fn presence_follows_connection_time_and_ping() {
    let mut rig = Rig::new();
    let steps = rig.feed(Input::Connected { conn: 2 });
    let status = statuses(&steps).pop().expect("a status");
    assert_eq!(
        (status.state, status.reason, status.conn),
        (AgentState::Online, StatusReason::Start, 2)
    );
    assert!(steps.contains(&Step::Announce) && steps.contains(&Step::Beat));
    assert_eq!(rig.agent.deadline(), Some(rig.now.boot_ms + 10_000));
    assert!(rig.pass(10_000).contains(&Step::Beat));

    let ping = || on(AgentTopic::Ping, b"{}".to_vec(), false);
    rig.pass(1000);
    assert!(rig.feed(ping()).contains(&Step::Beat));
    assert_eq!(rig.feed(ping()), [], "one answer in a second");
    rig.feed(Input::Disconnected);
    assert_eq!(rig.pass(60_000), [], "no heartbeat that nobody can hear");
}

#[test]
fn an_old_will_is_overwritten() {
    let mut rig = Rig::new();
    rig.feed(Input::Connected { conn: 2 });
    let old = rig.agent.will(1).encode();
    let steps = rig.feed(on(AgentTopic::Status, old.clone(), true));
    assert_eq!(
        statuses(&steps)
            .pop()
            .map(|status| (status.state, status.conn)),
        Some((AgentState::Online, 2))
    );
    let own = statuses(&steps)[0].encode();
    assert_eq!(rig.feed(on(AgentTopic::Status, own, true)), []);
    assert_eq!(
        rig.feed(on(AgentTopic::Status, old.clone(), true)),
        [],
        "not faster than every five seconds"
    );
    rig.pass(5000);
    assert_eq!(
        statuses(&rig.feed(on(AgentTopic::Status, old, true))).len(),
        1
    );
}

#[test]
fn marks_of_all_targets_are_told_with_the_next_heartbeat_and_once() {
    let mut rig = Rig::new();
    assert_eq!(statuses(&rig.pass(10_000)), []);
    let body = CommandBody {
        target: id("r720"),
        ..rig.command(wake())
    };
    assert_eq!(statuses(&rig.send(&body)), [], "not one for each order");
    let told = statuses(&rig.pass(10_000)).pop().expect("a status");
    assert_eq!(told.reason, StatusReason::Update);
    assert_eq!(told.marks, [(id("r720"), body.token)].into());
    assert_eq!(told.hwm, body.token);
    assert_eq!(statuses(&rig.pass(10_000)), []);
    let own = rig.command(Order::PowerOff);
    rig.send(&own);
    rig.feed(Input::Disconnected);
    let again = statuses(&rig.feed(Input::Connected { conn: 3 })).pop();
    let all = [(id("nas-01"), own.token), (id("r720"), body.token)];
    assert_eq!(again.map(|status| status.marks), Some(all.into()));
}

#[test]
fn heartbeats_say_how_the_agent_is() {
    let state = |rig: &mut Rig| {
        let steps = rig.pass(10_000);
        let beat = reports(&steps).find_map(|report| {
            if let Report::Heartbeat(beat) = report {
                Some(beat.st)
            } else {
                None
            }
        });
        beat.expect("a heartbeat")
    };
    let mut rig = Rig::new();
    assert_eq!(state(&mut rig), HeartbeatState::Ok);
    rig.order(wake());
    assert_eq!(state(&mut rig), HeartbeatState::Busy);
    rig.feed(Input::Policy(Policy {
        maintenance: true,
        inhibited: false,
    }));
    assert_eq!(state(&mut rig), HeartbeatState::Maintenance);
    rig.feed(Input::Policy(Policy::default()));
    rig.disk_fails = true;
    rig.order(Order::PowerOff);
    assert_eq!(state(&mut rig), HeartbeatState::Degraded);
}

#[test]
fn a_refresh_publishes_everything() {
    let mut rig = Rig::new();
    let steps = rig.order(Order::Refresh);
    assert_eq!(results(&steps), [(ResultState::Done, None)]);
    assert_eq!(statuses(&steps).len(), 1);
    assert!(steps.contains(&Step::Announce) && steps.contains(&Step::Beat));
}

#[test]
fn the_farewell_names_its_reason_and_does_not_wait_for_ever() {
    for (host, reason) in [
        (false, StatusReason::Sigterm),
        (true, StatusReason::HostShutdown),
    ] {
        let mut rig = Rig::new();
        let steps = rig.feed(Input::Terminating { host });
        let status = statuses(&steps).pop().expect("a farewell");
        assert_eq!((status.state, status.reason), (AgentState::Offline, reason));
        assert_eq!(
            results(&rig.order(wake())),
            [(ResultState::Refused, Some(Code::Busy))]
        );
        assert_eq!(rig.agent.deadline(), Some(rig.now.boot_ms + 2000));
        assert_eq!(rig.pass(2000), [Step::Exit]);
    }
    let mut rig = Rig::new();
    rig.feed(Input::Disconnected);
    assert_eq!(rig.feed(Input::Terminating { host: false }), [Step::Exit]);
}
