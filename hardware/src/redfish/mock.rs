//! A BMC for tests: a small HTTP server on loopback with a model behind it and a script before it.
//! In: requests of the driver. Out: what the script says, else what the model does; a log of all requests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(super) const UUID_1: &str = "00112233-4455-6677-8899-aabbccddee01";
pub(super) const UUID_2: &str = "00112233-4455-6677-8899-aabbccddee02";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn is_reset(&self) -> bool {
        self.method == "POST" && self.path.ends_with("/Actions/ComputerSystem.Reset")
    }

    pub(super) fn is_system(&self) -> bool {
        self.method == "GET" && self.path.starts_with("/redfish/v1/Systems/")
    }

    pub(super) fn reset_type(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).expect("a JSON body");
        body["ResetType"].as_str().expect("a ResetType").to_owned()
    }
}

/// How to answer.
#[derive(Clone)]
pub(super) enum Reply {
    /// A whole answer.
    Json(u16, Value),
    /// A whole answer with headers and any body.
    With(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, then the connection ends.
    Raw(Vec<u8>),
    /// These bytes one by one, each after a moment.
    Drip(Vec<u8>),
    /// A body without an end.
    Endless,
    /// Nothing, while the connection stays open.
    Silence,
    /// The answer of the model, after the permit.
    Held(Arc<Notify>),
}

type Script = Box<dyn FnMut(&Request, &mut Model) -> Option<Reply> + Send>;

/// What stands behind the mock.
pub(super) struct Model {
    /// Id, name, UUID, and the raw PowerState of each system.
    pub(super) systems: Vec<(&'static str, &'static str, &'static str, Value)>,
    /// The reset action, where it differs from the usual.
    pub(super) action: Option<Value>,
}

impl Model {
    fn usual_action(id: &str) -> Value {
        json!({
            "target": format!("/redfish/v1/Systems/{id}/Actions/ComputerSystem.Reset"),
            "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulShutdown"],
        })
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["redfish", "v1"]) => Reply::Json(
                200,
                json!({"RedfishVersion": "1.15.0", "Systems": {"@odata.id": "/redfish/v1/Systems"}}),
            ),
            ("GET", ["redfish", "v1", "Systems"]) => {
                let link = |id: &str| json!({"@odata.id": format!("/redfish/v1/Systems/{id}")});
                let members: Vec<Value> = self.systems.iter().map(|(id, ..)| link(id)).collect();
                Reply::Json(
                    200,
                    json!({"Members": members, "Members@odata.count": members.len()}),
                )
            }
            ("GET", ["redfish", "v1", "Systems", id]) => self.system(id),
            (
                "POST",
                [
                    "redfish",
                    "v1",
                    "Systems",
                    id,
                    "Actions",
                    "ComputerSystem.Reset",
                ],
            ) => {
                let power = if request.reset_type().ends_with("On") {
                    "On"
                } else {
                    "Off"
                };
                let system = self.systems.iter_mut().find(|(own, ..)| own == id);
                system.expect("a known system").3 = json!(power);
                Reply::With(204, Vec::new(), Vec::new())
            }
            _ => Reply::Json(404, json!({"error": {"message": "not found"}})),
        }
    }

    fn system(&self, id: &str) -> Reply {
        let Some((id, name, uuid, power)) = self.systems.iter().find(|(own, ..)| *own == id) else {
            return Reply::Json(404, json!({"error": {"message": "no such system"}}));
        };
        let action = self
            .action
            .clone()
            .unwrap_or_else(|| Self::usual_action(id));
        let mut system = json!({"Id": id, "Name": name, "UUID": uuid, "Actions": {"#ComputerSystem.Reset": action}});
        // A script that wants the state missing says so by `false`.
        if *power != json!(false) {
            system["PowerState"] = power.clone();
        }
        Reply::Json(200, system)
    }
}

/// A running mock; it ends when dropped.
pub(super) struct Mock {
    pub(super) address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    model: Mutex<Model>,
    script: Mutex<Script>,
    log: Mutex<Vec<Request>>,
    inflight: AtomicUsize,
    most_inflight: AtomicUsize,
}

impl Mock {
    /// One system that is off, and no script.
    pub(super) async fn plain() -> Self {
        Self::scripted(|_, _| None).await
    }

    /// One system that is off; the script answers first where it wants to.
    pub(super) async fn scripted(
        script: impl FnMut(&Request, &mut Model) -> Option<Reply> + Send + 'static,
    ) -> Self {
        Self::start(script, None).await
    }

    pub(super) async fn start(
        script: impl FnMut(&Request, &mut Model) -> Option<Reply> + Send + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        Self::serve(listener, script, tls)
    }

    /// The same as [`plain`](Self::plain), at a port that was held for it.
    pub(super) fn at(listener: TcpListener) -> Self {
        Self::serve(listener, |_, _| None, None)
    }

    fn serve(
        listener: TcpListener,
        script: impl FnMut(&Request, &mut Model) -> Option<Reply> + Send + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let model = Model {
            systems: vec![("1", "node-1", UUID_1, json!("Off"))],
            action: None,
        };
        let state = Arc::new(State {
            model: Mutex::new(model),
            script: Mutex::new(Box::new(script)),
            log: Mutex::new(Vec::new()),
            inflight: AtomicUsize::new(0),
            most_inflight: AtomicUsize::new(0),
        });
        let task = tokio::spawn(listen(listener, Arc::clone(&state), tls));
        Self {
            address,
            scheme,
            state,
            task,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.state.model.lock().expect("no panic inside")
    }

    pub(super) fn log(&self) -> Vec<Request> {
        self.state.log.lock().expect("no panic inside").clone()
    }

    /// Reset types that were posted.
    pub(super) fn resets(&self) -> Vec<String> {
        let log = self.log();
        log.iter()
            .filter(|request| request.is_reset())
            .map(Request::reset_type)
            .collect()
    }

    pub(super) fn most_inflight(&self) -> usize {
        self.state.most_inflight.load(Ordering::SeqCst)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, state: Arc<State>, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (state, tls) = (Arc::clone(&state), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, &state).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &state).await;
                    }
                }
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, state: &State) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    let now = state.inflight.fetch_add(1, Ordering::SeqCst) + 1;
    state.most_inflight.fetch_max(now, Ordering::SeqCst);
    state
        .log
        .lock()
        .expect("no panic inside")
        .push(request.clone());
    let reply = {
        let mut model = state.model.lock().expect("no panic inside");
        let mut script = state.script.lock().expect("no panic inside");
        script(&request, &mut model).unwrap_or_else(|| model.answer(&request))
    };
    let reply = match reply {
        Reply::Held(permit) => {
            permit.notified().await;
            state
                .model
                .lock()
                .expect("no panic inside")
                .answer(&request)
        }
        other @ (Reply::Json(..)
        | Reply::With(..)
        | Reply::Raw(_)
        | Reply::Drip(_)
        | Reply::Endless
        | Reply::Silence) => other,
    };
    // Counted out before the answer, so that the next request cannot overlap it.
    state.inflight.fetch_sub(1, Ordering::SeqCst);
    // The driver may hang up first.
    let _ = write_reply(&mut stream, reply).await;
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a text head");
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let mut request = Request {
        method,
        path,
        headers,
        body: String::new(),
    };
    let length: usize = request
        .header("content-length")
        .map_or(0, |text| text.parse().expect("a length"));
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    request.body = String::from_utf8(body).expect("a text body");
    Some(request)
}

async fn write_reply<S: AsyncWrite + Unpin>(stream: &mut S, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Json(status, value) => {
            stream
                .write_all(&whole(status, &[], value.to_string().as_bytes()))
                .await?;
        }
        Reply::With(status, headers, body) => {
            stream.write_all(&whole(status, &headers, &body)).await?
        }
        Reply::Raw(bytes) => stream.write_all(&bytes).await?,
        Reply::Drip(bytes) => {
            for byte in bytes {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Reply::Endless => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"x\":\"")
                .await?;
            loop {
                stream.write_all(&[b'x'; 1 << 16]).await?;
            }
        }
        Reply::Silence | Reply::Held(_) => std::future::pending().await,
    }
    stream.shutdown().await
}

pub(super) fn whole(status: u16, headers: &[(&'static str, String)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    if status != 204 {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
