//! Reflection is there if it was asked for.

use proto_autoscaler::SERVICE_NAME;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::health::channel;
use super::*;

/// The services that a server names, where it describes itself.
async fn described(reflection: bool) -> Result<Vec<String>, Code> {
    let script = Script::showing(View::default(), Answer::Done).await;
    let settings = GrpcSettings {
        reflection,
        ..plain()
    };
    let service = Autoscaler::new(script.engine, Metrics::unregistered(), Callers::default());
    let listening = listen(&settings, service).await.unwrap();
    let address = listening.address();
    tokio::spawn(listening.serve(std::future::pending()));
    let mut client = ServerReflectionClient::new(channel(address).await);
    let list = |question| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let questions = [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol(SERVICE_NAME.into()),
    ];
    let asked = client
        .server_reflection_info(futures::stream::iter(questions.map(list)))
        .await
        .map_err(|status| status.code())?;
    let mut answers = asked.into_inner();
    let listed = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = listed else {
        panic!("{listed:?}")
    };
    let file = answers.message().await.unwrap().unwrap().message_response;
    assert!(
        matches!(file, Some(MessageResponse::FileDescriptorResponse(_))),
        "{file:?}"
    );
    Ok(listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect())
}

#[tokio::test]
async fn the_api_describes_itself_only_if_told_to() {
    assert_eq!(described(false).await, Err(Code::Unimplemented));
    let named = described(true).await.unwrap();
    for service in [SERVICE_NAME, "grpc.health.v1.Health"] {
        assert!(named.iter().any(|name| name == service), "{named:?}");
    }
}
