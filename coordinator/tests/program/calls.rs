//! Calls to the program that are large, or under way when it is told to stop.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;
use proto_autoscaler::{
    ExternalGrpcNode, NodeGroupDeleteNodesRequest, NodeGroupIncreaseSizeRequest,
    NodeGroupNodesRequest, NodeGroupTargetSizeRequest, SERVICE_NAME,
};

use super::*;

const GROUP: &str = "default/workers";

impl Running {
    async fn client(&self) -> CloudProviderClient<Channel> {
        let url = format!("http://{}", self.port("grpc"));
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        CloudProviderClient::new(channel)
    }
}

async fn target(client: &mut CloudProviderClient<Channel>) -> i32 {
    let asked = NodeGroupTargetSizeRequest { id: GROUP.into() };
    let told = client.node_group_target_size(asked).await.unwrap();
    told.into_inner().target_size
}

fn one_more() -> NodeGroupIncreaseSizeRequest {
    NodeGroupIncreaseSizeRequest {
        delta: 1,
        id: GROUP.into(),
    }
}

/// A message as gRPC frames it: not compressed, its length, itself.
fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len().try_into().unwrap());
    frame.extend_from_slice(&message);
    frame.freeze()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_the_call_under_way_stores_it_and_takes_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(folder.path());
    running.group_is_served().await;
    let address = running.port("grpc").to_owned();
    let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let head = |method: &str| {
        let request = http::Request::post(format!("http://{address}/{SERVICE_NAME}/{method}"));
        let request = request.header("content-type", "application/grpc");
        let request = request.header("grpc-timeout", "60S");
        request.header("te", "trailers").body(()).unwrap()
    };
    let mut ready = sender.clone().ready().await.unwrap();
    let (answer, mut body) = ready
        .send_request(head("NodeGroupIncreaseSize"), false)
        .unwrap();
    // What is asked comes in two parts, the second one only after the stop.
    let mut asked = framed(&one_more());
    let rest = asked.split_off(3);
    body.send_data(asked, false).unwrap();
    // Answered on the same connection after that, so the first part has arrived.
    let mut ready = sender.clone().ready().await.unwrap();
    let (other, mut nothing) = ready.send_request(head("Refresh"), false).unwrap();
    nothing.send_data(framed(&()), true).unwrap();
    assert_eq!(other.await.unwrap().status(), 200);
    running.signal(Signal::TERM);
    goes_away(&sender, || head("Refresh")).await;
    body.send_data(rest, true).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    while let Some(part) = answer.data().await {
        drop(part.unwrap());
    }
    let trailers = answer.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
    let status = running.end();
    assert_eq!(status.code(), Some(0), "{}", running.log());
    drop((sender, ready));
    connection.await.unwrap().unwrap();

    let again = Running::start(folder.path());
    again.group_is_served().await;
    assert_eq!(target(&mut again.client().await).await, 1);
}

/// Waits for GOAWAY: after it no stream is served on a connection. Each call is waited for: a client that gives many up is cut off.
async fn goes_away(
    sender: &h2::client::SendRequest<Bytes>,
    request: impl Fn() -> http::Request<()>,
) {
    let refused = async {
        while let Ok(mut ready) = sender.clone().ready().await {
            let Ok((answer, _)) = ready.send_request(request(), true) else {
                break;
            };
            if answer.await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(IN_TIME, refused).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_machine_named_two_thousand_times_is_given_back_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path());
    running.group_is_served().await;
    let mut client = running.client().await;
    client.node_group_increase_size(one_more()).await.unwrap();
    let asked = NodeGroupNodesRequest { id: GROUP.into() };
    let listed = client.node_group_nodes(asked).await.unwrap().into_inner();
    let [instance] = &listed.instances[..] else {
        panic!("{listed:?}")
    };
    let node = ExternalGrpcNode {
        provider_id: instance.id.clone(),
        ..ExternalGrpcNode::default()
    };
    let named = |times: usize| NodeGroupDeleteNodesRequest {
        id: GROUP.into(),
        nodes: vec![node.clone(); times],
    };
    // One more than a group can have machines.
    let refused = client.node_group_delete_nodes(named(2_001)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(target(&mut client).await, 1);
    client.node_group_delete_nodes(named(2_000)).await.unwrap();
    assert_eq!(target(&mut client).await, 0);
}
