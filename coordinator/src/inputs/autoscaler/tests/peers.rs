//! Peers that misbehave below gRPC: silent, dead, greedy, or never reading.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::accept::CONNECTIONS;
use super::raw::{Raw, framed};
use super::server::STREAMS;
use super::*;

/// What every HTTP/2 client says first, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Reads until the server closes; an end by force counts too.
async fn closed(stream: &mut TcpStream) {
    let mut heard = Vec::new();
    let end = stream.read_to_end(&mut heard);
    let _ = tokio::time::timeout(Duration::from_secs(3_600), end)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_too_little_or_the_wrong_thing_is_let_go() {
    let bench = Bench::showing(lab([])).await;
    for said in [
        &b""[..],
        b"P",
        &PREFACE[..23],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        closed(&mut stream).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_ping_is_let_go() {
    let bench = Bench::showing(lab([])).await;
    for said in [&PREFACE[..24], PREFACE] {
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        closed(&mut stream).await;
    }
}

#[tokio::test]
async fn a_clients_ping_is_answered() {
    let bench = Bench::showing(lab([])).await;
    let stream = TcpStream::connect(bench.address).await.unwrap();
    let (_sender, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    for _ in 0..10 {
        let pong = pings.ping(h2::Ping::opaque());
        tokio::time::timeout(Duration::from_secs(60), pong)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn connections_have_a_limit_and_a_place_comes_free_again() {
    let bench = Bench::showing(lab([])).await;
    // The bench's own client has one of them.
    let mut open = Vec::new();
    while open.len() + 1 < CONNECTIONS {
        let mut raw = Raw::connect(bench.address).await;
        assert_eq!(raw.call("Refresh", b"").await, Code::Ok);
        open.push(raw);
    }
    let mut over = TcpStream::connect(bench.address).await.unwrap();
    over.write_all(PREFACE).await.unwrap();
    closed(&mut over).await;
    let leaving = open.pop().unwrap();
    drop(leaving.sender);
    let _ = leaving.connection.await.unwrap();
    let served = async {
        loop {
            let stream = TcpStream::connect(bench.address).await.unwrap();
            let Ok((sender, connection)) = h2::client::handshake(stream).await else {
                continue;
            };
            tokio::spawn(connection);
            let Ok(mut sender) = sender.ready().await else {
                continue;
            };
            let request = http::Request::get("http://localhost/").body(()).unwrap();
            let Ok((answer, _)) = sender.send_request(request, true) else {
                continue;
            };
            if answer.await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), served)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_may_leave_only_so_many_answers_lying() {
    let bench = Bench::showing(lab([group("default/workers")])).await;
    let mut builder = h2::client::Builder::new();
    // No byte of any answer may be sent.
    builder.initial_window_size(0);
    let mut greedy = Raw::with(bench.address, &builder).await;
    let mut unread = Vec::new();
    for _ in 0..STREAMS {
        let (answer, mut body) = greedy.open("NodeGroups", &[]).await;
        body.send_data(framed(b""), true).unwrap();
        // The head comes; the answer itself stays with the server.
        unread.push(answer.await.unwrap());
    }
    assert_eq!(greedy.sender.current_max_send_streams(), STREAMS as usize);
    let another = async {
        let mut sender = greedy.sender.clone().ready().await.unwrap();
        let request = http::Request::post("http://localhost/").body(()).unwrap();
        sender.send_request(request, true).unwrap().0.await.unwrap()
    };
    let mut another = Box::pin(another);
    let mut client = bench.client.clone();
    for _ in 0..3 {
        assert!(futures::poll!(&mut another).is_pending());
        client.node_groups(NodeGroupsRequest {}).await.unwrap();
    }
    // Whoever gives one up may ask again.
    unread.pop();
    tokio::time::timeout(Duration::from_secs(60), another)
        .await
        .unwrap();
}
