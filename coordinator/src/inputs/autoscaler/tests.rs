//! The service over a real connection: a gRPC client on a port of the system's choice.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use coordinator_core::{
    Action, Fact, GroupView, Instance, InstanceState, MachineId, NodeObjectPolicy, Now, ScaleDown,
    Template, View,
};
use proto_autoscaler::ExternalGrpcNode;
use proto_autoscaler::cloud_provider_client::CloudProviderClient;
use tonic::Code;
use tonic::transport::Channel;

use super::*;
use crate::args::GrpcSettings;
use crate::engine::{self, Core};
use crate::outputs::Outputs;

mod reads;
mod tls;
mod writes;

type Client = CloudProviderClient<Channel>;

/// A core that shows one view and notes what it is asked.
struct Scripted {
    view: Arc<View>,
    asked: Arc<Mutex<Vec<(coordinator_core::Request, u64)>>>,
    answers: Vec<Action>,
    answer: Answer,
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

/// A served script.
struct Bench {
    client: Client,
    callers: Callers,
    asked: Arc<Mutex<Vec<(coordinator_core::Request, u64)>>>,
}

impl Bench {
    async fn showing(view: View) -> Self {
        Self::answering(view, Answer::Done).await
    }

    async fn answering(view: View, answer: Answer) -> Self {
        let (engine, seat) = engine::open();
        let asked = Arc::default();
        let core = Scripted {
            view: Arc::new(view.clone()),
            asked: Arc::clone(&asked),
            answers: Vec::new(),
            answer,
        };
        tokio::spawn(seat.take(core, Nowhere).run());
        engine
            .view
            .clone()
            .wait_for(|shown| **shown == view)
            .await
            .unwrap();
        let callers = Callers::default();
        let client = served(engine, callers.clone()).await;
        Self {
            client,
            callers,
            asked,
        }
    }
}

/// Serves an engine and connects to it.
async fn served(engine: Handle, callers: Callers) -> Client {
    let settings = GrpcSettings {
        address: "127.0.0.1:0".parse().unwrap(),
        tls: None,
    };
    let service = Autoscaler::new(engine, Metrics::unregistered(), callers);
    let listening = listen(&settings, service).await.unwrap();
    let url = format!("http://{}", listening.address());
    tokio::spawn(listening.serve(std::future::pending()));
    let channel = Channel::from_shared(url)
        .unwrap()
        .user_agent("cluster-autoscaler/1.36.1")
        .unwrap();
    CloudProviderClient::new(channel.connect().await.unwrap())
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
        node_object_policy: NodeObjectPolicy::Delete,
        debug: "2 of 4 wanted".into(),
        frozen: false,
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
