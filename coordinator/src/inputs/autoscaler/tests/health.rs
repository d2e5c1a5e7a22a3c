//! The health service says what `/readyz` says.

use proto_autoscaler::SERVICE_NAME;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;

pub(super) async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

async fn health(address: SocketAddr, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest {
        service: service.into(),
    };
    let answer = HealthClient::new(channel(address).await)
        .check(request)
        .await;
    match answer {
        Ok(answer) => Ok(answer.into_inner().status()),
        Err(status) => Err(status.code()),
    }
}

#[tokio::test]
async fn health_follows_the_view() {
    for serving in [true, false] {
        let view = View {
            serving,
            ..View::default()
        };
        let bench = Bench::showing(view).await;
        let expected = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in ["", SERVICE_NAME] {
            assert_eq!(
                health(bench.address, service).await,
                Ok(expected),
                "`{service}`"
            );
        }
        assert_eq!(health(bench.address, "nobody").await, Err(Code::NotFound));
    }
}

#[tokio::test]
async fn health_is_asked_and_not_watched() {
    let bench = Bench::showing(View::default()).await;
    let mut client = HealthClient::new(channel(bench.address).await);
    let watched = client.watch(HealthCheckRequest::default()).await;
    assert_eq!(watched.unwrap_err().code(), Code::Unimplemented);
}
