//! The link against a real mosquitto: connect, publish, lose the broker, be refused.

mod access;
mod mosquitto;

use std::sync::Arc;
use std::time::Duration;

use mosquitto::Mosquitto;
use proto_link::{
    Backoff, Delivery, LinkEvent, LinkFault, LinkHandle, LinkOptions, Message, Qos, Retained,
    Subscription, connect,
};
use tokio::sync::mpsc::Receiver;

type Events = Receiver<LinkEvent>;

fn options(broker: &Mosquitto, id: &str) -> LinkOptions {
    let mut options = LinkOptions::new(broker.url().parse().expect("an address"), id);
    options.reconnect = Backoff {
        min: Duration::from_millis(20),
        max: Duration::from_millis(200),
    };
    options
}

fn start(options: LinkOptions) -> (LinkHandle, Events) {
    connect(options).expect("valid options")
}

async fn next(events: &mut Events) -> LinkEvent {
    tokio::time::timeout(Duration::from_secs(20), events.recv())
        .await
        .expect("an event in time")
        .expect("the link lives")
}

async fn up(events: &mut Events) -> u32 {
    loop {
        if let LinkEvent::Up { connection } = next(events).await {
            return connection;
        }
    }
}

async fn down(events: &mut Events) -> LinkFault {
    loop {
        if let LinkEvent::Down { reason } = next(events).await {
            return reason;
        }
    }
}

async fn message(events: &mut Events) -> (String, Vec<u8>, bool) {
    loop {
        if let LinkEvent::Message {
            topic,
            payload,
            retain,
        } = next(events).await
        {
            return (topic, payload.to_vec(), retain);
        }
    }
}

#[tokio::test]
async fn a_message_reaches_the_subscriber_and_the_publisher_learns_it() {
    let broker = Mosquitto::open();
    let mut subscriber = options(&broker, "s");
    subscriber.subscriptions = vec![Subscription::live("a/+/cmd")];
    let (_keep, mut heard) = start(subscriber);
    assert_eq!(up(&mut heard).await, 1);
    let (publisher, mut events) = start(options(&broker, "p"));
    up(&mut events).await;

    assert_eq!(
        publisher.publish(Message::once("a/x/cmd", "1")).await,
        Delivery::Delivered
    );
    let zero = Message {
        qos: Qos::AtMostOnce,
        ..Message::once("a/y/cmd", "2")
    };
    assert_eq!(publisher.publish(zero).await, Delivery::Delivered);
    assert_eq!(
        message(&mut heard).await,
        ("a/x/cmd".into(), b"1".to_vec(), false)
    );
    assert_eq!(
        message(&mut heard).await,
        ("a/y/cmd".into(), b"2".to_vec(), false)
    );
}

#[tokio::test]
async fn a_message_that_nobody_listens_to_is_told_from_one_that_arrived() {
    let broker = Mosquitto::open();
    let (publisher, mut events) = start(options(&broker, "p"));
    up(&mut events).await;
    assert_eq!(
        publisher.publish(Message::once("a/x/cmd", "1")).await,
        Delivery::NoSubscribers
    );
}

#[tokio::test]
async fn hundreds_of_messages_at_once_are_all_acknowledged_in_order() {
    let broker = Mosquitto::open();
    let mut subscriber = options(&broker, "s");
    subscriber.subscriptions = vec![Subscription::live("t")];
    let (_keep, mut heard) = start(subscriber);
    up(&mut heard).await;
    let (publisher, mut events) = start(options(&broker, "p"));
    up(&mut events).await;
    let sent: Vec<_> = (0..200)
        .map(|number: u32| publisher.publish(Message::once("t", number.to_string())))
        .collect();
    for outcome in sent {
        assert_eq!(outcome.await, Delivery::Delivered);
    }
    for number in 0..200 {
        assert_eq!(message(&mut heard).await.1, number.to_string().into_bytes());
    }
}

#[tokio::test]
async fn stored_messages_come_only_where_wanted_and_show_the_flag() {
    let broker = Mosquitto::open();
    let (publisher, mut events) = start(options(&broker, "p"));
    up(&mut events).await;
    let stored = |text: &'static str| Message {
        retain: true,
        ..Message::once("status", text)
    };
    publisher.publish(stored("old")).await;

    let mut wants = options(&broker, "wants");
    wants.subscriptions = vec![Subscription::stored("status")];
    let (_a, mut wanted) = start(wants);
    up(&mut wanted).await;
    assert_eq!(
        message(&mut wanted).await,
        ("status".into(), b"old".to_vec(), true)
    );
    let mut refuses = options(&broker, "refuses");
    refuses.subscriptions = vec![Subscription::live("status")];
    let (_b, mut live) = start(refuses);
    up(&mut live).await;

    assert_eq!(publisher.publish(stored("new")).await, Delivery::Delivered);
    // A live message has the flag only where stored ones never come: there it shows what the publisher did.
    assert_eq!(
        message(&mut wanted).await,
        ("status".into(), b"new".to_vec(), false)
    );
    assert_eq!(
        message(&mut live).await,
        ("status".into(), b"new".to_vec(), true)
    );
}

#[tokio::test]
async fn after_a_broker_restart_the_link_is_up_and_subscribed_again() {
    let mut broker = Mosquitto::open();
    let mut subscriber = options(&broker, "s");
    subscriber.subscriptions = vec![Subscription::live("t")];
    let (link, mut events) = start(subscriber);
    let first = up(&mut events).await;

    broker.kill();
    assert_eq!(down(&mut events).await.reason(), "ended");
    // Lost at once, not kept for later: a command must not run when its time is over.
    assert_eq!(
        link.publish(Message::once("t", "dropped")).await,
        Delivery::Lost
    );
    let kept = link.publish_until_acked(Message::once("t", "kept"), Duration::from_secs(60));
    assert_eq!(down(&mut events).await.reason(), "unreachable");

    broker.restart();
    assert!(up(&mut events).await > first);
    assert_eq!(kept.await, Delivery::Delivered);
    assert_eq!(message(&mut events).await.1, b"kept");
}

#[tokio::test]
async fn a_fault_that_lasts_is_told_once() {
    let mut broker = Mosquitto::open();
    let (link, mut events) = start(options(&broker, "s"));
    up(&mut events).await;
    broker.kill();
    assert_eq!(down(&mut events).await.reason(), "ended");
    assert_eq!(down(&mut events).await.reason(), "unreachable");
    // Outlives several attempts (each at most 250 ms apart): the message expires, no further Down came.
    let outcome = link.publish_until_acked(Message::once("t", "x"), Duration::from_millis(900));
    assert_eq!(outcome.await, Delivery::Lost);
    broker.restart();
    assert!(matches!(next(&mut events).await, LinkEvent::Up { .. }));
}

#[tokio::test]
async fn a_message_beyond_the_brokers_limit_is_refused_and_the_link_stays() {
    let broker = Mosquitto::start("allow_anonymous true\nmax_packet_size 2000");
    let mut own = options(&broker, "s");
    own.subscriptions = vec![Subscription::live("t")];
    let (link, mut events) = start(own);
    up(&mut events).await;
    let outcome = link.publish(Message::once("t", vec![0; 2000])).await;
    assert!(
        matches!(&outcome, Delivery::Refused { reason } if reason.contains("2000")),
        "{outcome:?}"
    );
    assert_eq!(
        link.publish(Message::once("t", "small")).await,
        Delivery::Delivered
    );
    assert_eq!(message(&mut events).await.1, b"small");
}

#[tokio::test]
async fn a_message_beyond_our_own_limit_is_kept_from_us_and_the_link_stays() {
    let broker = Mosquitto::open();
    let mut own = options(&broker, "s");
    own.max_packet = 1000;
    own.subscriptions = vec![Subscription::live("t")];
    let (_keep, mut heard) = start(own);
    up(&mut heard).await;
    let (publisher, mut events) = start(options(&broker, "p"));
    up(&mut events).await;
    publisher
        .publish(Message::once("t", vec![b'x'; 5000]))
        .await;
    publisher.publish(Message::once("t", "small")).await;
    assert!(
        matches!(next(&mut heard).await, LinkEvent::Message { payload, .. } if payload == "small")
    );
}

#[tokio::test]
async fn a_topic_with_a_wildcard_is_refused_before_it_is_sent() {
    let broker = Mosquitto::open();
    let (link, mut events) = start(options(&broker, "p"));
    up(&mut events).await;
    let outcome = link.publish(Message::once("a/#", "x")).await;
    assert!(matches!(outcome, Delivery::Refused { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_forbidden_publication_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let acl = folder.path().join("acl");
    std::fs::write(&acl, "topic readwrite allowed\n").expect("written");
    let lines = format!("allow_anonymous true\nacl_file {}", acl.display());
    let broker = Mosquitto::start_in(folder, &lines);
    let (link, mut events) = start(options(&broker, "p"));
    up(&mut events).await;
    let outcome = link.publish(Message::once("forbidden", "x")).await;
    assert!(
        matches!(&outcome, Delivery::Refused { reason } if reason.contains("NotAuthorized")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn the_will_is_published_when_the_link_is_cut_and_not_when_it_is_closed() {
    let broker = Mosquitto::open();
    let mut watcher = options(&broker, "w");
    watcher.subscriptions = vec![Subscription {
        filter: "will".to_owned(),
        qos: Qos::AtLeastOnce,
        retained: Retained::Never,
    }];
    let (control, mut heard) = start(watcher);
    up(&mut heard).await;
    let with_will = |id: &str| {
        let mut options = options(&broker, id);
        let id = id.to_owned();
        options.will =
            Arc::new(move |number| Some(Message::once("will", format!("{id} {number}"))));
        options
    };
    let (closed, mut events) = start(with_will("closed"));
    up(&mut events).await;
    // Not awaited: closing itself waits for what was handed over.
    let last_words = closed.publish(Message::once("will", "last words"));
    closed.close().await;
    assert_eq!(last_words.await, Delivery::Delivered);
    assert_eq!(
        closed.publish(Message::once("will", "too late")).await,
        Delivery::Lost
    );
    let (cut, mut events) = start(with_will("cut"));
    up(&mut events).await;
    drop(cut);

    assert_eq!(message(&mut heard).await.1, b"last words");
    assert_eq!(message(&mut heard).await.1, b"cut 1");
    control.close().await;
}

#[tokio::test]
async fn options_that_cannot_work_are_refused_at_once() {
    let plain = || LinkOptions::new("mqtt://127.0.0.1".parse().expect("an address"), "id");
    let secure = || LinkOptions::new("mqtts://127.0.0.1".parse().expect("an address"), "id");
    let with = |mut options: LinkOptions, change: fn(&mut LinkOptions)| {
        change(&mut options);
        let checked = options.check().err().map(|fault| fault.to_string());
        let refused = connect(options).err().map(|fault| fault.to_string());
        assert_eq!(checked, refused);
        refused.unwrap_or_default()
    };
    for (said, told) in [
        (with(plain(), |o| o.client_id.clear()), "client id"),
        (
            with(plain(), |o| o.password_file = Some("/nowhere".into())),
            "no user name",
        ),
        (
            with(plain(), |o| {
                o.username = Some("nuc1".to_owned());
                o.password_file = Some("/nowhere".into());
            }),
            "cannot read the broker's password from /nowhere",
        ),
        (
            with(plain(), |o| {
                o.username = Some("nuc1".to_owned());
                o.password_file = Some("/dev/null".into());
            }),
            "the broker's password in /dev/null is empty",
        ),
        (
            with(plain(), |o| o.keep_alive = Duration::from_secs(4)),
            "keep-alive",
        ),
        (with(plain(), |o| o.max_packet = 10), "packet limit"),
        (
            with(plain(), |o| o.reconnect.min = Duration::ZERO),
            "reconnect",
        ),
        (
            with(plain(), |o| o.ca_file = Some("/nowhere".into())),
            "without TLS",
        ),
        (
            with(plain(), |o| {
                o.subscriptions = vec![Subscription::live("a/#/b")]
            }),
            "a/#/b",
        ),
        (
            with(secure(), |o| o.ca_file = Some("/nowhere".into())),
            "cannot read the broker's CA certificates from /nowhere",
        ),
        (
            with(secure(), |o| o.ca_file = Some("/dev/null".into())),
            "BEGIN CERTIFICATE",
        ),
    ] {
        assert!(said.contains(told), "`{said}` should tell `{told}`");
    }
}
