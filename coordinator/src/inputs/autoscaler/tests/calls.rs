//! Calls under way: how long, how many, and what a stop makes of them.

use super::admission::CALLS;
use super::raw::{Raw, code_of, framed};
use super::server::STREAMS;
use super::writes::increase;
use super::*;

/// A call with the longest time limit, which no test reaches.
fn patient<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(60));
    request
}

#[tokio::test]
async fn a_body_that_comes_after_the_deadline_reaches_nobody() {
    let bench = Bench::showing(lab([group("default/workers")])).await;
    let mut raw = Raw::connect(bench.address).await;
    let (answer, mut body) = raw
        .open("NodeGroupIncreaseSize", &[("grpc-timeout", "50m")])
        .await;
    assert_eq!(code_of(answer).await, Code::DeadlineExceeded);
    let message = prost::Message::encode_to_vec(&increase(1));
    // The stream may be closed already.
    let _ = body.send_data(framed(&message), true);
    assert_eq!(raw.call("Refresh", b"").await, Code::Ok);
    assert_eq!(bench.script.asked(), 0);
}

#[tokio::test]
async fn the_callers_time_runs_from_the_head_of_its_call() {
    let bench = Bench::showing(lab([group("default/workers")])).await;
    let mut raw = Raw::connect(bench.address).await;
    let before = crate::clock::boot_ms();
    let (answer, mut body) = raw
        .open("NodeGroupIncreaseSize", &[("grpc-timeout", "1H")])
        .await;
    // Answered on the same connection after the head, so the head has arrived.
    assert_eq!(raw.call("Refresh", b"").await, Code::Ok);
    let arrived_by = crate::clock::boot_ms();
    until("a later moment", || {
        crate::clock::boot_ms() > arrived_by + 5
    })
    .await;
    let message = prost::Message::encode_to_vec(&increase(1));
    body.send_data(framed(&message), true).unwrap();
    assert_eq!(code_of(answer).await, Code::Ok);
    let deadline = bench.asked.lock().unwrap()[0].1;
    // It names an hour, and gets the minute that is the most.
    let limit = 60_000 - 400;
    assert!(
        (before + limit..=arrived_by + limit).contains(&deadline),
        "{deadline}"
    );
}

#[tokio::test]
async fn more_calls_than_there_are_places_for_are_unavailable_and_do_nothing() {
    let bench = Bench::showing(lab([group("default/workers")])).await;
    bench.script.held.store(true, Ordering::SeqCst);
    let mut calls = Vec::new();
    while calls.len() < CALLS {
        let client = connected(bench.address).await;
        for _ in 0..(STREAMS as usize).min(CALLS - calls.len()) {
            let mut client = client.clone();
            let call = async move { client.node_group_increase_size(patient(increase(1))).await };
            calls.push(tokio::spawn(call));
        }
    }
    until("all are under way", || bench.script.asked() == CALLS).await;
    let mut late = bench.client.clone();
    for refused in [
        code(late.node_group_increase_size(patient(increase(1))).await),
        code(late.refresh(RefreshRequest {}).await),
    ] {
        assert_eq!(refused, Code::Unavailable);
    }
    assert_eq!(bench.script.asked(), CALLS);
    bench.script.release().await;
    for call in calls {
        call.await.unwrap().unwrap();
    }
    late.node_group_increase_size(patient(increase(1)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stop_says_goaway_and_lets_the_running_call_end() {
    let script = Script::showing(lab([group("default/workers")]), Answer::Done).await;
    script.held.store(true, Ordering::SeqCst);
    let service = Autoscaler::new(
        script.engine.clone(),
        Metrics::unregistered(),
        Callers::default(),
    );
    let listening = listen(&plain(), service).await.unwrap();
    let address = listening.address();
    let (stopper, stop) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(listening.serve(async move {
        let _ = stop.await;
    }));
    let mut raw = Raw::connect(address).await;
    let (answer, mut body) = raw
        .open("NodeGroupIncreaseSize", &[("grpc-timeout", "1H")])
        .await;
    let message = prost::Message::encode_to_vec(&increase(1));
    body.send_data(framed(&message), true).unwrap();
    until("the call is under way", || script.asked() == 1).await;
    stopper.send(()).unwrap();
    // GOAWAY: this client opens no stream any more, and the port is closed.
    let refused = async {
        loop {
            let ready = raw.sender.clone().ready().await;
            let Ok(mut sender) = ready else { break };
            let another = http::Request::post("http://localhost/").body(()).unwrap();
            // Each one is waited for: a client that gives many up is cut off.
            let Ok((answer, _)) = sender.send_request(another, true) else {
                break;
            };
            if answer.await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused)
        .await
        .unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    assert!(!serving.is_finished(), "it waits for the running call");
    script.release().await;
    assert_eq!(code_of(answer).await, Code::Ok);
    tokio::time::timeout(Duration::from_secs(60), serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let _ = raw.connection.await.unwrap();
}
