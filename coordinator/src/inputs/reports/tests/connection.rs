//! A whole connection through the embedded broker.

use super::*;
use crate::mandate::Mandate;
use crate::outputs::commands::{Commands, CoordinatorKey, Line};
use proto_link::{Backoff, BrokerUrl};

const IN_TIME: Duration = Duration::from_secs(30);

async fn next_on(events: &mut mpsc::Receiver<LinkEvent>, wanted: &str) -> Vec<u8> {
    let found = async {
        loop {
            if let Some(LinkEvent::Message { topic, payload, .. }) = events.recv().await
                && topic == wanted
            {
                return payload.to_vec();
            }
        }
    };
    tokio::time::timeout(IN_TIME, found).await.expect(wanted)
}

/// Our side, quick to reconnect, and where its connection can be seen.
fn ours(url: BrokerUrl) -> (Connection, Line) {
    let mut ours = LinkOptions::new(url, "");
    ours.reconnect = Backoff {
        min: Duration::from_millis(50),
        max: Duration::from_millis(200),
    };
    let (line, present) = watch::channel(None);
    let connection = Connection {
        options: options(ours, "host"),
        line,
        metrics: Metrics::unregistered(),
        readings: Readings::default(),
    };
    (connection, present)
}

/// What an agent sees of a coordinator that comes, sends, hears, and goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_connects_while_serving_sends_hears_and_says_goodbye() {
    let address = crate::broker::start("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let mut bench = Bench::new().await;
    let url: BrokerUrl = format!("mqtt://{address}").parse().unwrap();

    let mut agent = LinkOptions::new(url.clone(), "pi");
    agent.subscriptions = vec![
        Subscription::live("hla/v1/a/pi/ping"),
        Subscription::stored("hla/v1/c/status"),
    ];
    let (agent, mut heard) = proto_link::connect(agent).unwrap();

    let (connection, present) = ours(url);
    let (stopper, stop) = watch::channel(false);
    let engine = bench.engine.clone();
    let running = tokio::spawn(async move { run(engine, connection, "host", stop).await });
    assert!(
        present.borrow().is_none(),
        "a follower stays away from the broker"
    );

    bench.engine.facts.tell(Fact::Leading { epoch: 1 }).await;
    let up = bench.engine.view.wait_for(|view| view.broker_up);
    tokio::time::timeout(IN_TIME, up).await.unwrap().unwrap();
    let status = CoordinatorStatus::decode(&next_on(&mut heard, "hla/v1/c/status").await).unwrap();
    assert_eq!(
        (status.state, status.leader.as_str()),
        (CoordinatorState::Online, "host")
    );

    let key = Arc::new(CoordinatorKey::from_bytes(&[7; 32]).unwrap());
    let mut commands = Commands::new(
        present.clone(),
        (key, Mandate::standing()),
        bench.engine.facts.clone(),
        Metrics::unregistered(),
    );
    commands.perform(Action::Ping {
        agent: AgentId::new("pi"),
    });
    assert_eq!(next_on(&mut heard, "hla/v1/a/pi/ping").await, b"{}");

    agent
        .publish(Message::once("hla/v1/a/pi/hb", heartbeat().encode()))
        .await;
    let facts = Arc::clone(&bench.facts);
    let beaten = async {
        while !facts
            .lock()
            .unwrap()
            .iter()
            .any(|fact| matches!(fact, Fact::Beat(_)))
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(IN_TIME, beaten)
        .await
        .expect("the heartbeat arrives");

    stopper.send_replace(true);
    tokio::time::timeout(IN_TIME, running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let status = CoordinatorStatus::decode(&next_on(&mut heard, "hla/v1/c/status").await).unwrap();
    assert_eq!(status.state, CoordinatorState::Offline);
    assert!(present.borrow().is_none());
    assert_eq!(
        bench.facts.lock().unwrap().last(),
        Some(&Fact::Broker { up: false })
    );
}
