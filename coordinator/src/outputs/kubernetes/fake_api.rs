//! An API server by script, for tests: one machine and one group, whose answers the test writes down.

use std::{
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex},
};

use coordinator_crds::{GroupStatus, NodeStatus};
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::{pins::Pins, writer::Writer};
use crate::{
    inputs::kubernetes::{Cluster, Mirror, Place, Shared},
    mandate::Mandate,
    metrics::Metrics,
};

pub(super) mod objects;

/// What the server does with a request.
pub(super) enum Reply {
    /// Answers with this status and object.
    With(u16, Value),
    /// Never answers.
    Silence,
}

/// A refusal in the server's form.
pub(super) fn refusal(code: u16, message: &str) -> Reply {
    // A client takes an object for missing by this word, not by the code.
    let reason = if code == 404 { "NotFound" } else { "" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    Reply::With(code, status)
}

/// An object in the server's form.
pub(super) fn object(kind: &str, name: &str, version: u64, status: Value) -> Reply {
    let spec = match kind {
        "Node" => json!({"group": "workers", "power": "AlwaysOn"}),
        _ => json!({}),
    };
    Reply::With(
        200,
        json!({"apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": kind, "spec": spec, "status": status,
            "metadata": {"namespace": "lab", "name": name, "uid": "u", "resourceVersion": version.to_string()}}),
    )
}

/// The requests so far: method, and path with query.
pub(super) type Asked = Arc<Mutex<Vec<(Method, String)>>>;

/// A writer that leads, in front of a server that answers like this.
pub(super) fn writer(answer: impl Fn(&Method) -> Reply + Send + Sync + 'static) -> (Writer, Asked) {
    let asked = Asked::default();
    let notes = Arc::clone(&asked);
    let writer = served(move |request: Request<Body>| {
        let uri = request.uri().to_string();
        notes.lock().unwrap().push((request.method().clone(), uri));
        let reply = answer(request.method());
        async move {
            match reply {
                Reply::With(..) => answered(reply),
                Reply::Silence => std::future::pending().await,
            }
        }
    });
    (writer, asked)
}

/// A writer that leads, in front of a server that answers like this to a path and what is sent there.
pub(super) fn asked_with_body(
    answer: impl Fn(&str, Value) -> Reply + Send + Sync + 'static,
) -> Writer {
    let answer = Arc::new(answer);
    served(move |request: Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let sent = serde_json::from_slice(&body).unwrap();
            answered(answer(parts.uri.path(), sent))
        }
    })
}

fn served<F>(mut answer: impl FnMut(Request<Body>) -> F + Send + 'static) -> Writer
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let shared = Shared {
        cluster: Cluster::with_client(kube::Client::new(service, "lab"), "own"),
        mirror: Arc::new(Mirror::default()),
        mandate: Mandate::standing(),
        metrics: Metrics::unregistered(),
    };
    Writer {
        shared,
        pins: Pins::default(),
    }
}

/// What goes over the wire. Silence has no answer: whoever is silent does not come here.
fn answered(reply: Reply) -> Response<Body> {
    let (code, object) = match reply {
        Reply::With(code, object) => (code, object),
        Reply::Silence => (504, Value::Null),
    };
    Response::builder()
        .status(code)
        .body(Body::from(object.to_string().into_bytes()))
        .unwrap()
}

fn place(name: &str) -> Place {
    Place {
        namespace: "lab".into(),
        name: name.into(),
        uid: "u".into(),
        version: 1,
        ..Place::default()
    }
}

impl Writer {
    /// The mirror has seen machine nuc1 with this status.
    pub(super) fn knows_machine(&self, status: NodeStatus) {
        let id = coordinator_core::MachineId::new("nuc1");
        let mirror = &self.shared.mirror;
        mirror.saw_machine(&id, place("nuc1"), Some(status));
    }

    /// The mirror has seen group lab/workers with this status.
    pub(super) fn knows_group(&self, status: Option<GroupStatus>) {
        let id = coordinator_core::GroupId::new("lab/workers");
        self.shared.mirror.saw_group(&id, place("workers"), status);
    }
}

/// How often a method was asked for.
pub(super) fn count(asked: &Asked, method: &Method) -> usize {
    let asked = asked.lock().unwrap();
    asked.iter().filter(|(asked, _)| asked == method).count()
}
