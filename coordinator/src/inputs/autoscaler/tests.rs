//! The service over a real connection: a gRPC client on a port of the system's choice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coordinator_core::{
    Action, GroupView, HeldNode, Instance, InstanceState, MachineId, NodeObjectPolicy, Now,
    ScaleDown, Template, View,
};
use proto_autoscaler::ExternalGrpcNode;
use proto_autoscaler::cloud_provider_client::CloudProviderClient;
use tonic::Code;
use tonic::transport::Channel;

use super::*;
use crate::args::GrpcSettings;
use crate::engine::{self, Core};
use crate::outputs::Outputs;

pub(super) mod authority;
mod bad_input;
mod calls;
mod counted;
mod health;
mod looks;
mod peers;
mod prices;
mod raw;
mod reads;
#[cfg(feature = "reflection")]
mod reflection;
mod standing;
mod tls;
mod versions;
mod writes;

type Client = CloudProviderClient<Channel>;

/// A core that shows one view and notes what it is asked.
struct Scripted {
    view: Arc<View>,
    asked: Arc<Mutex<Vec<(coordinator_core::Request, u64)>>>,
    answers: Vec<Action>,
    answer: Answer,
    /// While true, nobody is answered.
    held: Arc<AtomicBool>,
}

impl Core for Scripted {
    fn observe(&mut self, fact: Fact, _now: Now) {
        if let Fact::Asked {
            ticket,
            deadline_ms,
            request,
        } = fact
        {
            self.asked.lock().unwrap().push((request, deadline_ms));
            self.answers.push(Action::Answer {
                ticket,
                answer: self.answer.clone(),
            });
        }
    }

    fn decide(&mut self, _now: Now) -> Vec<Action> {
        if self.held.load(Ordering::SeqCst) {
            return Vec::new();
        }
        std::mem::take(&mut self.answers)
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn view(&mut self, _now: Now) -> Arc<View> {
        Arc::clone(&self.view)
    }
}

struct Nowhere;

impl Outputs for Nowhere {
    fn perform(&mut self, _action: Action) {}
}

/// A script in front of its engine.
struct Script {
    engine: Handle,
    asked: Arc<Mutex<Vec<(coordinator_core::Request, u64)>>>,
    held: Arc<AtomicBool>,
}

impl Script {
    async fn showing(view: View, answer: Answer) -> Self {
        let (engine, seat) = engine::open(crate::mandate::Mandate::standing());
        let (asked, held) = (Arc::default(), Arc::default());
        let core = Scripted {
            view: Arc::new(view.clone()),
            asked: Arc::clone(&asked),
            answers: Vec::new(),
            answer,
            held: Arc::clone(&held),
        };
        tokio::spawn(seat.take(core, Nowhere).run());
        engine
            .view
            .clone()
            .wait_for(|shown| **shown == view)
            .await
            .unwrap();
        Self {
            engine,
            asked,
            held,
        }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Answers everybody from now on.
    async fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
        // Any fact makes the engine decide again.
        self.engine.facts.tell(Fact::Loaded).await;
    }
}

/// A served script.
struct Bench {
    client: Client,
    address: SocketAddr,
    callers: Callers,
    script: Script,
    asked: Arc<Mutex<Vec<(coordinator_core::Request, u64)>>>,
}

impl Bench {
    async fn showing(view: View) -> Self {
        Self::answering(view, Answer::Done).await
    }

    async fn answering(view: View, answer: Answer) -> Self {
        let script = Script::showing(view, answer).await;
        let callers = Callers::default();
        let address = listening(script.engine.clone(), callers.clone()).await;
        Self {
            client: connected(address).await,
            address,
            callers,
            asked: Arc::clone(&script.asked),
            script,
        }
    }
}

/// Plain text on a port of the system's choice.
fn plain() -> GrpcSettings {
    GrpcSettings::plain("127.0.0.1:0".parse().unwrap())
}

/// Serves an engine for as long as the test runs.
async fn listening(engine: Handle, callers: Callers) -> SocketAddr {
    let service = Autoscaler::new(engine, Metrics::unregistered(), callers);
    let listening = listen(&plain(), service).await.unwrap();
    let address = listening.address();
    tokio::spawn(listening.serve(std::future::pending()));
    address
}

async fn connected(address: SocketAddr) -> Client {
    let channel = Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .user_agent("cluster-autoscaler/1.36.1")
        .unwrap();
    CloudProviderClient::new(channel.connect().await.unwrap())
}

/// Serves an engine and connects to it.
async fn served(engine: Handle, callers: Callers) -> Client {
    connected(listening(engine, callers).await).await
}

/// Waits for a condition that another task brings about.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

fn workers() -> GroupId {
    GroupId::new("default/workers")
}

fn group(name: &str) -> GroupView {
    GroupView {
        id: GroupId::new(name),
        autoscaled: true,
        min_size: 1,
        max_size: 4,
        target: 2,
        ready: 1,
        sequence: 7,
        instances: Vec::new(),
        template: None,
        scale_down: None,
        energy: None,
        node_object_policy: NodeObjectPolicy::Delete,
        debug: "2 of 4 wanted".into(),
        frozen: false,
        concerns: coordinator_core::Concerns::new(),
    }
}

/// A view that serves these groups.
fn lab(groups: impl IntoIterator<Item = GroupView>) -> View {
    View {
        serving: true,
        groups: groups
            .into_iter()
            .map(|group| (group.id.clone(), Arc::new(group)))
            .collect(),
        ..View::default()
    }
}

fn node(provider_id: &str, name: &str) -> ExternalGrpcNode {
    ExternalGrpcNode {
        provider_id: provider_id.into(),
        name: name.into(),
        ..ExternalGrpcNode::default()
    }
}

/// The code of a refused call.
#[track_caller]
fn code<T: std::fmt::Debug>(outcome: Result<Response<T>, Status>) -> Code {
    outcome.unwrap_err().code()
}
