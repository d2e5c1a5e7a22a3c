use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::HeaderMap;
use proto_autoscaler::{
    ExternalGrpcNode, NodeGroupIncreaseSizeRequest, RefreshRequest,
    cloud_provider_client::CloudProviderClient,
};
use tokio::sync::Notify;
use tonic::transport::Endpoint;

use super::*;

/// In the head of a request that is never answered.
const SILENCE: &str = "x-silence";

/// Says no to everything, but for what is never answered, and keeps the heads of requests.
#[derive(Debug, Clone, Default)]
struct Grump {
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    heard: Arc<Notify>,
}

impl Passage for Grump {
    async fn pass(self, request: Request<Body>) -> Result<Response<Body>> {
        self.heads.lock().unwrap().push(request.headers().clone());
        self.heard.notify_one();
        if request.headers().contains_key(SILENCE) {
            std::future::pending::<()>().await;
        }
        Ok(Status::resource_exhausted("none left").into_http())
    }
}

async fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_lazy()
}

/// The provider's gate, a way to it, and a client that goes it.
async fn tapped(provider: &Grump) -> (Gate, Wiretap, CloudProviderClient<Channel>) {
    let gate = Gate::to(provider.clone()).await.unwrap();
    let tap = Wiretap::to(channel(&gate.address()).await).await.unwrap();
    let client = CloudProviderClient::new(channel(&tap.address()).await);
    (gate, tap, client)
}

fn increase() -> tonic::Request<NodeGroupIncreaseSizeRequest> {
    tonic::Request::new(NodeGroupIncreaseSizeRequest {
        id: "lab/packet".into(),
        delta: 3,
    })
}

#[tokio::test]
async fn call_passes_with_deadline_and_metadata_and_is_written_down_with_its_answer() {
    let provider = Grump::default();
    let (_gate, tap, mut client) = tapped(&provider).await;
    let mut request = increase();
    request.set_timeout(Duration::from_secs(5));
    request
        .metadata_mut()
        .insert("x-who", "me".parse().unwrap());
    let refused = client.node_group_increase_size(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "none left");
    let heads = provider.heads.lock().unwrap().clone();
    assert_eq!(heads[0]["x-who"], "me");
    assert_eq!(heads[0]["grpc-timeout"], "5000000u");
    let heard = tap.calls().all();
    assert_eq!(heard.len(), 1);
    let seen = (heard[0].rpc, heard[0].group.as_str(), heard[0].delta);
    assert_eq!(seen, (Rpc::NodeGroupIncreaseSize, "lab/packet", 3));
    let outcome = Outcome::Failed(Code::ResourceExhausted, "none left".into());
    assert_eq!(heard[0].outcome, outcome);
    let unheard = client.refresh(RefreshRequest {}).await;
    assert!(unheard.is_err());
    assert_eq!(tap.calls().all()[1].rpc, Rpc::Refresh);
}

#[tokio::test]
async fn call_that_its_caller_gives_up_is_written_down_in_its_place_without_an_outcome() {
    let provider = Grump::default();
    let (_gate, tap, mut client) = tapped(&provider).await;
    let mut request = increase();
    request
        .metadata_mut()
        .insert(SILENCE, "please".parse().unwrap());
    tokio::select! {
        answer = client.node_group_increase_size(request) => panic!("{answer:?}"),
        () = provider.heard.notified() => {}
    }
    assert!(client.refresh(RefreshRequest {}).await.is_err());
    let heard = tap.calls().all();
    let rpcs: Vec<_> = heard.iter().map(|call| call.rpc).collect();
    assert_eq!(rpcs, [Rpc::NodeGroupIncreaseSize, Rpc::Refresh]);
    assert_eq!((heard[0].delta, &heard[0].outcome), (3, &Outcome::Open));
}

#[test]
fn deletion_is_written_down_with_the_ids_of_its_nodes() {
    let node = |id: &str| ExternalGrpcNode {
        provider_id: id.into(),
        ..ExternalGrpcNode::default()
    };
    let request = NodeGroupDeleteNodesRequest {
        nodes: vec![node("p/a"), node("p/b")],
        id: "lab/packet".into(),
    };
    let about = About::of(Some(Rpc::NodeGroupDeleteNodes), &request.encode_to_vec());
    let expected = About {
        group: "lab/packet".into(),
        delta: 0,
        nodes: vec!["p/a".into(), "p/b".into()],
    };
    assert_eq!(about, expected);
    assert_eq!(
        About::of(Some(Rpc::NodeGroupNodes), b"\xff"),
        About::default()
    );
}
