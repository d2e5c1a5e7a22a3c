//! A client below gRPC: whole control over bytes, frames and windows.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::HeaderMap;
use proto_autoscaler::SERVICE_NAME;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

/// One HTTP/2 connection.
pub(super) struct Raw {
    pub(super) sender: SendRequest<Bytes>,
    /// Ends with the connection.
    pub(super) connection: JoinHandle<Result<(), h2::Error>>,
    address: SocketAddr,
}

/// A message as gRPC frames it: not compressed, its length, itself.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len().try_into().unwrap());
    frame.extend_from_slice(message);
    frame.freeze()
}

impl Raw {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::with(address, &h2::client::Builder::new()).await
    }

    pub(super) async fn with(address: SocketAddr, builder: &h2::client::Builder) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
            address,
        }
    }

    /// Sends the head of a call.
    pub(super) async fn open(
        &mut self,
        method: &str,
        headers: &[(&'static str, &str)],
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut request =
            http::Request::post(format!("http://{}/{SERVICE_NAME}/{method}", self.address))
                .header("content-type", "application/grpc")
                .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone().ready().await.unwrap();
        sender
            .send_request(request.body(()).unwrap(), false)
            .unwrap()
    }

    /// Sends a message; answers the one that comes back.
    pub(super) async fn answer(&mut self, method: &str, message: &[u8]) -> Vec<u8> {
        let (answer, mut body) = self.open(method, &[]).await;
        body.send_data(framed(message), true).unwrap();
        message_of(answer).await
    }

    /// Sends a message, or what claims to be one; answers the code.
    pub(super) async fn call(&mut self, method: &str, message: &[u8]) -> Code {
        let (answer, mut body) = self.open(method, &[]).await;
        // A server that refuses early may close the stream before it has read everything.
        let _ = body.send_data(framed(message), true);
        code_of(answer).await
    }
}

/// The message of an answer that is well.
async fn message_of(answer: h2::client::ResponseFuture) -> Vec<u8> {
    let mut body = answer.await.unwrap().into_body();
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        message.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(status(&trailers), Some(Code::Ok));
    message.split_off(framed(b"").len())
}

/// The code of an answer, from its head or its trailers.
pub(super) async fn code_of(answer: h2::client::ResponseFuture) -> Code {
    let answer = tokio::time::timeout(Duration::from_secs(60), answer);
    let (head, mut body) = answer.await.unwrap().unwrap().into_parts();
    if let Some(code) = status(&head.headers) {
        return code;
    }
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    status(&trailers).unwrap()
}

fn status(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|value| Code::from_bytes(value.as_bytes()))
}
