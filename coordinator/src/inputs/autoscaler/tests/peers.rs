//! Peers that misbehave below gRPC: silent, dead, greedy, or never reading.

use proto_autoscaler::SERVICE_NAME;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::accept::CONNECTIONS;
use super::admission::CALLS;
use super::counted::{counted, scraped};
use super::raw::{Raw, framed};
use super::server::{REQUEST, STREAMS};
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

/// A client that takes so many bytes of each answer, and has as many answers as it may.
async fn greedy(address: SocketAddr, window: u32) -> (Raw, Vec<http::Response<h2::RecvStream>>) {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window);
    let mut raw = Raw::with(address, &builder).await;
    let mut unread = Vec::new();
    for _ in 0..STREAMS {
        let (answer, mut body) = raw.open("NodeGroups", &[]).await;
        body.send_data(framed(b""), true).unwrap();
        // The head comes; the answer itself stays with the server.
        unread.push(answer.await.unwrap());
    }
    (raw, unread)
}

#[tokio::test]
async fn answers_that_nobody_reads_keep_nobody_from_being_answered() {
    let bench = Bench::showing(lab([group("default/workers")])).await;
    let mut lying = Vec::new();
    // The bench's own client has one of the connections.
    while lying.len() + 1 < CONNECTIONS {
        lying.push(greedy(bench.address, 0).await);
    }
    let answers: usize = lying.iter().map(|(_, unread)| unread.len()).sum();
    assert!(answers > CALLS, "{answers}");
    let mut client = bench.client.clone();
    for _ in 0..3 {
        client.node_groups(NodeGroupsRequest {}).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_never_reads_may_leave_only_so_many_answers_lying() {
    // No byte of any answer may be sent, or one of each: the rest stays with the server, here as there.
    for window in [0, 1] {
        leave_lying(window).await;
    }
}

async fn leave_lying(window: u32) {
    let bench = Bench::showing(lab([group("default/workers")])).await;
    let (greedy, mut unread) = greedy(bench.address, window).await;
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

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A whole call, its head written out in full.
fn call(stream: u32, method: &str, message: &[u8]) -> Vec<u8> {
    // POST, http; then `:path`, `:authority`, `content-type` by their numbers, and a name that has none.
    let mut head = vec![0x83, 0x86];
    for (name, value) in [
        (&b"\x04"[..], format!("/{SERVICE_NAME}/{method}")),
        (b"\x01", "localhost".to_owned()),
        (b"\x0f\x10", "application/grpc".to_owned()),
        (b"\x00\x02te", "trailers".to_owned()),
    ] {
        head.extend(name);
        head.push(u8::try_from(value.len()).unwrap());
        head.extend(value.as_bytes());
    }
    let mut call = frame(1, 4, stream, &head);
    call.extend(frame(0, 1, stream, &framed(message)));
    call
}

#[tokio::test]
async fn whoever_has_room_for_everything_and_reads_nothing_is_answered_only_so_often() {
    let instance = Instance {
        machine: MachineId::new("nuc1"),
        provider_id: "n".repeat(1_000).into(),
        state: InstanceState::Running,
    };
    let large = GroupView {
        instances: vec![instance; 2_000],
        ..group("default/workers")
    };
    let script = Script::showing(lab([large]), Answer::Done).await;
    let (metrics, registry) = scraped();
    let service = Autoscaler::new(script.engine.clone(), metrics, Callers::default());
    let listening = listen(&plain(), service).await.unwrap();
    let address = listening.address();
    tokio::spawn(listening.serve(std::future::pending()));
    let socket = TcpSocket::new_v4().unwrap();
    // So that little lies in the system.
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut deaf = socket.connect(address).await.unwrap();
    let mut said = PREFACE.to_vec();
    // The greatest windows, for each stream and for all.
    said.extend(frame(4, 0, 0, b"\x00\x04\x7f\xff\xff\xff"));
    said.extend(frame(8, 0, 0, b"\x7f\xff\x00\x00"));
    let asked = prost::Message::encode_to_vec(&NodeGroupNodesRequest {
        id: "default/workers".to_owned(),
    });
    // It does not heed the limit that it was told.
    for number in 0..8 * STREAMS {
        said.extend(call(2 * number + 1, "NodeGroupNodes", &asked));
    }
    deaf.write_all(&said).await.unwrap();
    let answered = || counted(&registry, "NodeGroupNodes", "OK");
    until("its first calls are answered", || {
        answered() >= u64::from(STREAMS)
    })
    .await;
    let mut other = connected(address).await;
    for _ in 0..100 {
        other.node_groups(NodeGroupsRequest {}).await.unwrap();
    }
    // What the system holds for the socket are a few answers of 2 MB more.
    let most = u64::from(2 * STREAMS);
    assert!(answered() <= most, "{} of 2 MB each", answered());
}

/// What the shipped Deployment lets the coordinator have, in bytes.
fn shipped_memory() -> usize {
    let shipped = include_str!("../../../../../deploy/install.yaml");
    let coordinator = shipped.split_once("name: homelab-coordinator").unwrap().1;
    let limit = coordinator.split_once("limits: {memory: ").unwrap().1;
    let mebibytes: usize = limit.split_once("Mi}").unwrap().0.parse().unwrap();
    mebibytes << 20
}

#[test]
fn answers_that_nobody_reads_take_less_than_half_of_the_memory_that_is_shipped() {
    let machine = "m".repeat(63);
    let instance = Instance {
        machine: MachineId::new(&machine),
        provider_id: format!("homelab://default/{machine}").into(),
        state: InstanceState::Creating,
    };
    let largest = GroupView {
        instances: vec![instance; coordinator_crds::group_status::MAX_MACHINES as usize],
        ..group("default/workers")
    };
    let answer = crate::inputs::autoscaler::reads::instances(&largest);
    let bytes = framed(&prost::Message::encode_to_vec(&answer)).len();
    assert!(bytes > 100_000, "{bytes}");
    let lying = CONNECTIONS * STREAMS as usize * bytes;
    assert!(lying < shipped_memory() / 2, "{lying} bytes");
}

#[test]
fn requests_that_never_end_take_no_more_than_half_of_the_memory_that_is_shipped() {
    let held = CALLS * REQUEST;
    assert!(held <= shipped_memory() / 2, "{held} bytes");
}
