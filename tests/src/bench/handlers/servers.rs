//! Three servers on one thread: the coordinator's service with everything before it, and two of bare tonic.
//! In: machines. Out: addresses, and the thread's folder in `/proc`.
//! Holds: the service answers from a view that does not change, so what is measured is the call and nothing else.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    future::{Ready, pending, ready},
    marker::PhantomData,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context as Poller, Poll},
    thread,
};

use anyhow::{Context, Result};
use coordinator::{
    args::GrpcSettings,
    engine::{self, Core},
    inputs::autoscaler::{Autoscaler, Callers, listen},
    mandate::Mandate,
    metrics::Metrics,
    outputs::Outputs,
};
use coordinator_core::{Action, Fact, GroupId, GroupView, NodeObjectPolicy, Now, View};
use prometheus_client::registry::Registry;
use prost::Message;
use proto_autoscaler::{
    NodeGroupForNodeRequest, NodeGroupForNodeResponse, RefreshRequest, RefreshResponse,
    SERVICE_NAME,
};
use tokio::{runtime, sync::oneshot};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service},
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

use crate::bench::lab::{self, MEMBERS, Machine};

const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// They serve as long as this value lives.
pub(super) struct Servers {
    /// The coordinator's service.
    pub(super) service: SocketAddr,
    /// Reads and writes messages without fields.
    pub(super) empty: SocketAddr,
    /// Reads what NodeGroupForNode is asked with, and writes an empty answer.
    pub(super) decoding: SocketAddr,
    /// Where the kernel tells what their thread costs.
    pub(super) thread: PathBuf,
    _stop: oneshot::Sender<Infallible>,
}

impl Servers {
    pub(super) async fn start(machines: &[Machine]) -> Result<Self> {
        let view = Arc::new(view(machines));
        let (tell, told) = oneshot::channel();
        thread::Builder::new()
            .name("servers".to_owned())
            .spawn(move || run(view, tell))?;
        told.await.context("the servers have not come up")?
    }
}

/// What the thread does. Whoever has asked may be gone; the servers end with the value that is sent.
fn run(view: Arc<View>, tell: oneshot::Sender<Result<Servers>>) {
    let built = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(fault) => return drop(tell.send(Err(fault.into()))),
    };
    runtime.block_on(async {
        let (stop, stopped) = oneshot::channel();
        drop(tell.send(start(view, stop).await));
        // Nothing is ever sent: it ends when the sender does.
        drop(stopped.await);
    });
}

async fn start(view: Arc<View>, stop: oneshot::Sender<Infallible>) -> Result<Servers> {
    let thread = fs::read_link("/proc/thread-self").context("look up this thread")?;
    Ok(Servers {
        service: service(view).await?,
        empty: bare(Empty::<RefreshRequest, RefreshResponse>::default())?,
        decoding: bare(Empty::<NodeGroupForNodeRequest, NodeGroupForNodeResponse>::default())?,
        thread: Path::new("/proc").join(thread),
        _stop: stop,
    })
}

/// The coordinator's listener, as its own program has it.
async fn service(view: Arc<View>) -> Result<SocketAddr> {
    let (engine, seat) = engine::open(Mandate::standing());
    tokio::spawn(seat.take(Still(view), Nowhere).run());
    let metrics = Metrics::register(&mut Registry::default(), engine.view.clone());
    let settings = GrpcSettings::plain(ANY_PORT);
    let service = Autoscaler::new(engine, metrics, Callers::default());
    let listening = listen(&settings, service).await?;
    let address = listening.address();
    tokio::spawn(listening.serve(pending()));
    Ok(address)
}

fn bare<Q, A>(handler: Empty<Q, A>) -> Result<SocketAddr>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let incoming = TcpIncoming::bind(ANY_PORT).context("listen")?;
    let incoming = incoming.with_nodelay(Some(true));
    let address = incoming.local_addr()?;
    let server = Server::builder().add_service(handler);
    tokio::spawn(server.serve_with_incoming(incoming));
    Ok(address)
}

/// A core that shows one view for ever.
struct Still(Arc<View>);

impl Core for Still {
    fn observe(&mut self, _fact: Fact, _now: Now) {}

    fn decide(&mut self, _now: Now) -> Vec<Action> {
        Vec::new()
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn view(&mut self, _now: Now) -> Arc<View> {
        Arc::clone(&self.0)
    }
}

/// Where the actions go that such a core has not.
struct Nowhere;

impl Outputs for Nowhere {
    fn perform(&mut self, _action: Action) {}
}

/// Every machine runs, group by group, as NodeGroupForNode looks them up.
fn view(machines: &[Machine]) -> View {
    let mut view = View {
        serving: true,
        ..View::default()
    };
    for (number, members) in machines.chunks(MEMBERS).enumerate() {
        let group = GroupId::new(&lab::group_id(number));
        for machine in members {
            let name = machine.name.clone();
            let provider_id = format!("homelab://default/{name}");
            view.by_provider_id
                .insert(provider_id.into(), group.clone());
            view.by_node_name.insert(name.into(), group.clone());
        }
        let shown = Arc::new(group_view(group.clone(), members.len()));
        view.groups.insert(group, shown);
    }
    view
}

fn group_view(id: GroupId, members: usize) -> GroupView {
    let size = u32::try_from(members).unwrap_or(u32::MAX);
    GroupView {
        autoscaled: true,
        min_size: 0,
        max_size: size,
        target: size,
        ready: size,
        sequence: 1,
        instances: Vec::new(),
        template: None,
        scale_down: None,
        energy: None,
        node_object_policy: NodeObjectPolicy::Delete,
        debug: format!("{id}: {size} of {size} wanted machines run, {size} usable"),
        frozen: false,
        concerns: BTreeMap::new(),
        id,
    }
}

/// Answers every call of the service with an empty message, after reading what it was asked.
struct Empty<Q, A>(PhantomData<fn(Q) -> A>);

impl<Q, A> Default for Empty<Q, A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Q, A> Clone for Empty<Q, A> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<Q, A> NamedService for Empty<Q, A> {
    const NAME: &'static str = SERVICE_NAME;
}

impl<Q, A> Service<http::Request<Body>> for Empty<Q, A>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _poller: &mut Poller<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
            Ok(grpc.unary(handler, request).await)
        })
    }
}

impl<Q, A: Default> UnaryService<Q> for Empty<Q, A> {
    type Response = A;
    type Future = Ready<Result<Response<A>, Status>>;

    fn call(&mut self, _request: Request<Q>) -> Self::Future {
        ready(Ok(Response::new(A::default())))
    }
}
