//! The outbox driven by hand: no connection, no waiting.

use super::*;

type Outcome = oneshot::Receiver<Delivery>;

fn parcel(text: &str, qos: Qos, effort: Effort, expiry_s: Option<u64>) -> (Parcel, Outcome) {
    let (answer, outcome) = oneshot::channel();
    let message = Message {
        qos,
        expiry: expiry_s.map(Duration::from_secs),
        ..Message::once("t", text.to_owned())
    };
    (Parcel::new(message, effort, Some(answer)), outcome)
}

fn once(text: &str) -> (Parcel, Outcome) {
    parcel(text, Qos::AtLeastOnce, Effort::Once, None)
}

fn until_acked(text: &str) -> (Parcel, Outcome) {
    parcel(text, Qos::AtLeastOnce, Effort::UntilAcked, Some(60))
}

/// Hands over all that may go; the wire gives out packet ids in a circle, after one for SUBSCRIBE.
fn pump(outbox: &mut Outbox, ids: &mut impl Iterator<Item = u16>) -> Vec<String> {
    let mut sent = Vec::new();
    while let Some(parcel) = outbox.next(Instant::now()) {
        sent.push(String::from_utf8(parcel.message.payload.to_vec()).expect("text"));
        let qos = parcel.message.qos;
        outbox.handed(parcel);
        outbox.wrote(if qos == Qos::AtLeastOnce {
            ids.next().expect("endless")
        } else {
            0
        });
    }
    sent
}

#[test]
fn a_message_tried_once_is_lost_while_offline_and_when_the_connection_ends() {
    let mut outbox = Outbox::new();
    let (early, mut early_outcome) = once("early");
    outbox.put(early);
    assert_eq!(early_outcome.try_recv(), Ok(Delivery::Lost));

    outbox.connected(16);
    let (sent, mut sent_outcome) = once("sent");
    outbox.put(sent);
    assert_eq!(pump(&mut outbox, &mut (2..)), ["sent"]);
    assert!(sent_outcome.try_recv().is_err());
    outbox.disconnected();
    assert_eq!(sent_outcome.try_recv(), Ok(Delivery::Lost));
    outbox.connected(16);
    assert!(pump(&mut outbox, &mut (2..)).is_empty());
    assert!(outbox.is_empty());
}

#[test]
fn a_message_until_acked_is_sent_again_in_its_old_order() {
    let mut outbox = Outbox::new();
    let (first, mut first_outcome) = until_acked("first");
    let (second, mut second_outcome) = until_acked("second");
    outbox.put(first);
    outbox.put(second);
    outbox.connected(16);
    // The ids come out of order, as after a turn of the circle.
    assert_eq!(
        pump(&mut outbox, &mut [9, 3].into_iter()),
        ["first", "second"]
    );
    outbox.disconnected();
    outbox.connected(16);
    assert_eq!(pump(&mut outbox, &mut (2..)), ["first", "second"]);
    outbox.acked(2, Delivery::Delivered);
    outbox.acked(3, Delivery::NoSubscribers);
    assert_eq!(first_outcome.try_recv(), Ok(Delivery::Delivered));
    assert_eq!(second_outcome.try_recv(), Ok(Delivery::NoSubscribers));
    assert!(outbox.is_empty());
}

#[test]
fn the_window_stops_before_a_packet_id_comes_round_even_if_acks_come_out_of_order() {
    let mut outbox = Outbox::new();
    outbox.connected(4);
    for number in 0..9 {
        outbox.put(once(&number.to_string()).0);
    }
    let mut ids = [2, 3, 4, 1].into_iter().cycle();
    assert_eq!(pump(&mut outbox, &mut ids), ["0", "1", "2", "3"]);
    outbox.acked(3, Delivery::Delivered);
    outbox.acked(4, Delivery::Delivered);
    assert!(
        pump(&mut outbox, &mut ids).is_empty(),
        "0 still holds id 2, the next one"
    );
    outbox.acked(2, Delivery::Delivered);
    assert_eq!(pump(&mut outbox, &mut ids), ["4", "5", "6"]);
}

#[test]
fn quality_zero_needs_no_window_and_is_delivered_once_written() {
    let mut outbox = Outbox::new();
    outbox.connected(1);
    outbox.put(once("holds the window").0);
    let (zero, mut outcome) = parcel("zero", Qos::AtMostOnce, Effort::Once, None);
    outbox.put(zero);
    assert_eq!(pump(&mut outbox, &mut (1..)), ["holds the window", "zero"]);
    assert_eq!(outcome.try_recv(), Ok(Delivery::Delivered));
}

#[test]
fn what_expires_while_waiting_is_lost_and_never_written() {
    let mut outbox = Outbox::new();
    let (parcel, mut outcome) = parcel("late", Qos::AtLeastOnce, Effort::UntilAcked, Some(0));
    outbox.put(parcel);
    let expiry = outbox.next_expiry().expect("it expires");
    outbox.expire(expiry);
    assert_eq!(outcome.try_recv(), Ok(Delivery::Lost));
    assert!(outbox.is_empty());
}

#[test]
fn a_full_outbox_loses_the_newest() {
    let mut outbox = Outbox::new();
    for _ in 0..WAITING {
        outbox.put(until_acked("old").0);
    }
    let (parcel, mut outcome) = until_acked("new");
    outbox.put(parcel);
    assert_eq!(outcome.try_recv(), Ok(Delivery::Lost));
}

#[test]
fn a_message_whose_permit_ends_while_it_waits_is_never_written() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    let mut outbox = Outbox::new();
    outbox.connected(1);
    let allowed = Arc::new(AtomicBool::new(true));
    let permit = || {
        let allowed = Arc::clone(&allowed);
        Permit::new(move || allowed.load(Ordering::Relaxed))
    };
    let (first, _unanswered) = once("first");
    let (second, mut outcome) = once("second");
    outbox.put(first.while_permitted(permit()));
    outbox.put(second.while_permitted(permit()));
    let mut ids = 1..;
    assert_eq!(pump(&mut outbox, &mut ids), ["first"], "no room for more");
    allowed.store(false, Ordering::Relaxed);
    outbox.acked(1, Delivery::Delivered);
    assert!(pump(&mut outbox, &mut ids).is_empty());
    assert_eq!(outcome.try_recv(), Ok(Delivery::Lost));
}
