//! Brokers that keep, delay, repeat and lose: no command is carried out that was not asked for now.
//! Holds: at the end of each test a good command shows that the agent still listens, and that nothing was begun before it.

use proto_link::Delivery;
use proto_mqtt::report::{AgentState, Code, ResultState};
use proto_mqtt::{AgentTopic, CommandBody, Ulid};
use rustix::process::Signal;

use crate::agent::{Agent, Folder, until};
use crate::door::Door;
use crate::lab::{Lab, Session};
use crate::mosquitto::Mosquitto;

/// Enough for a broker's queues to be full all the time.
const FLOOD: usize = 3_000;
/// More than the agent's queues hold, less than the flood.
const GROWTH_KIB: u64 = 2_048;

impl Lab {
    /// A good command is carried out, and is the first that is.
    async fn obeys(&mut self) {
        let order = self.order_power_off().await;
        assert_eq!(self.result_of(&order).await.state, ResultState::Accepted);
        assert_eq!(self.result_of(&order).await.state, ResultState::Running);
        until("the order begins", || self.begun().first().cloned());
        assert_eq!(self.begun().len(), 1);
    }

    async fn refused(&mut self, order: &CommandBody) -> Option<Code> {
        let result = self.result_of(order).await;
        assert_eq!(result.state, ResultState::Refused, "{result:?}");
        result.code
    }
}

#[tokio::test]
async fn a_command_sent_while_the_agent_was_down_is_not_carried_out_when_it_is_back() {
    for (left_behind, told) in [
        (None, Delivery::NoSubscribers),
        (Some(Session::Kept), Delivery::Delivered),
    ] {
        let mut lab = Lab::start().await;
        let mut agent = Agent::start(&lab.folder);
        let order = lab.power_off().await;
        agent.signal(Signal::TERM);
        assert_eq!(agent.end().code(), Some(0));
        if let Some(session) = left_behind {
            lab.impersonate(session);
        }
        assert_eq!(lab.send(&order).await, told, "{left_behind:?}");

        let _agent = Agent::start(&lab.folder);
        lab.status(AgentState::Online).await;
        // As a broker does that keeps the session of an agent that wants none.
        lab.send(&order).await;
        assert_eq!(lab.refused(&order).await, Some(Code::StaleChal));
        lab.obeys().await;
    }
}

#[tokio::test]
async fn a_retained_command_is_refused_and_does_not_come_again_with_the_next_connection() {
    let mut lab = Lab::start().await;
    let _agent = Agent::start(&lab.folder);
    let order = lab.power_off().await;
    lab.send_retained(&order).await;
    let refused = lab.result().await;
    let told = (refused.id, refused.state, refused.code);
    assert_eq!(
        told,
        (Ulid::NIL, ResultState::Refused, Some(Code::Retained))
    );
    // The same process comes back, with its challenges: nothing but the retained command itself is old.
    lab.impersonate(Session::Clean);
    while lab.status(AgentState::Online).await.conn < 2 {}
    lab.obeys().await;
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_acceptance_is_known_leaves_the_host_up() {
    let broker = Mosquitto::open();
    let door = Door::open(broker.port);
    let mut lab = Lab::with(broker, &door.url()).await;
    let _agent = Agent::start(&lab.folder);
    let order = lab.power_off().await;
    door.break_at(AgentTopic::Result.of(&order.aud).to_string());
    assert_eq!(lab.send(&order).await, Delivery::Delivered);
    let result = lab.result_of(&order).await;
    assert!(door.has_broken());
    assert_eq!(
        (result.state, result.code),
        (ResultState::Aborted, Some(Code::NoAckPath))
    );
    lab.obeys().await;
}

#[tokio::test]
async fn of_two_agents_with_one_name_only_the_one_that_was_heard_obeys() {
    let mut lab = Lab::start().await;
    let heard = Agent::start(&lab.folder);
    let order = lab.power_off().await;
    // Held up, so that it does not come back and throw the other one out.
    heard.signal(Signal::STOP);
    let other = Folder::new(&lab.address());
    let mut second = Agent::start(&other);
    lab.status(AgentState::Online).await;
    lab.send(&order).await;
    assert_eq!(lab.refused(&order).await, Some(Code::StaleChal));
    assert!(!other.path("begun").exists());

    second.signal(Signal::TERM);
    assert_eq!(second.end().code(), Some(0));
    heard.signal(Signal::CONT);
    lab.status(AgentState::Online).await;
    lab.obeys().await;
}

#[tokio::test]
async fn a_flood_of_a_stranger_leaves_nothing_on_disk_and_a_good_command_comes_through() {
    let mut lab = Lab::start().await;
    let agent = Agent::start(&lab.folder);
    let order = lab.power_off().await;
    let before = agent.own_memory_kib();
    lab.flood(&order, FLOOD).await;
    assert!(!lab.folder.path("state/journal.json").exists());
    assert_eq!(lab.insist(&order).await.state, ResultState::Accepted);
    until("the order begins", || lab.begun().first().cloned());
    assert_eq!(lab.begun().len(), 1);
    let after = agent.own_memory_kib();
    assert!(after < before + GROWTH_KIB, "{before} KiB, then {after}");
}
