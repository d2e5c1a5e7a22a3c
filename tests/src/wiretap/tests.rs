use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::HeaderMap;
use proto_autoscaler::{
    ExternalGrpcNode, NodeGroupIncreaseSizeRequest, RefreshRequest,
    cloud_provider_client::CloudProviderClient,
};
use tonic::transport::Endpoint;

use super::*;

/// Says no to everything and keeps the heads of requests.
#[derive(Debug, Clone, Default)]
struct Refuses(Arc<Mutex<Vec<HeaderMap>>>);

impl NamedService for Refuses {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for Refuses {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.lock().unwrap().push(request.headers().clone());
        Box::pin(async { Ok(Status::resource_exhausted("none left").into_http()) })
    }
}

async fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_lazy()
}

#[tokio::test]
async fn call_passes_with_deadline_and_metadata_and_is_written_down_with_its_answer() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let provider = Refuses::default();
    let serve = Server::builder()
        .add_service(provider.clone())
        .serve_with_incoming(TcpIncoming::from(listener));
    let _server = tokio::spawn(serve);
    let tap = Wiretap::to(channel(&address).await).await.unwrap();
    let mut client = CloudProviderClient::new(channel(&tap.address()).await);
    let mut request = tonic::Request::new(NodeGroupIncreaseSizeRequest {
        id: "lab/packet".into(),
        delta: 3,
    });
    request.set_timeout(Duration::from_secs(5));
    request
        .metadata_mut()
        .insert("x-who", "me".parse().unwrap());
    let refused = client.node_group_increase_size(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "none left");
    let heads = provider.0.lock().unwrap().clone();
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
