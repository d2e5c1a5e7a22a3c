//! A real API server with our kinds, and the coordinator's outputs and inputs around a scripted core.
//! Out: actions go in as the core would hand them over; facts come out as the core would observe them.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use coordinator::{
    args::{Election, KubernetesSettings},
    engine::{self, Core, Handle},
    inputs::kubernetes::{Cluster, Inputs, LeadershipLost, Shared},
    mandate::Mandate,
    metrics::Metrics,
    outputs::kubernetes::outputs,
};
use coordinator_core::{Action, Answer, Fact, Now, View};
use coordinator_crds::{Group, Node as Machine};
use k8s_openapi::{
    api::core::v1::Node,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde::Deserialize as _;
use serde_json::{Value, from_value, json};
use tests::harness::{ControlPlane, Parts, wait};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    task::JoinHandle,
};

/// Far longer than any of these takes on an idle machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Namespace of the coordinator's own objects.
pub(crate) const OWN: &str = "default";

/// The cluster of one test.
pub(crate) struct Stage {
    /// Kept running.
    pub(crate) plane: ControlPlane,
    /// A cluster admin.
    pub(crate) client: Client,
    /// For shells.
    unrepeating: Client,
}

/// One coordinator's shell around a scripted core.
pub(crate) struct Shell {
    actions: Arc<Mutex<Vec<Action>>>,
    facts: AsyncMutex<mpsc::UnboundedReceiver<Fact>>,
    view: Arc<Mutex<Arc<View>>>,
    /// Until when it may write.
    pub(crate) mandate: Mandate,
    handle: Handle,
    inputs: Mutex<Option<Inputs>>,
    tasks: Vec<JoinHandle<()>>,
}

/// The inputs of a shell, at work.
pub(crate) struct Running {
    /// Ends them.
    pub(crate) stop: oneshot::Sender<()>,
    /// How they ended.
    pub(crate) end: JoinHandle<Result<(), LeadershipLost>>,
}

struct Script {
    actions: Arc<Mutex<Vec<Action>>>,
    facts: mpsc::UnboundedSender<Fact>,
    view: Arc<Mutex<Arc<View>>>,
}

impl Core for Script {
    fn observe(&mut self, fact: Fact, _: Now) {
        // A request of a person is answered at once; whether it is refused is up to its id.
        if let Fact::Asked {
            ticket, request, ..
        } = &fact
        {
            let refused = format!("{request:?}").contains("refuse-me");
            let answer = if refused {
                Answer::Rejected(coordinator_core::Rejected {
                    kind: coordinator_core::RejectedKind::FailedPrecondition,
                    message: "not now".into(),
                })
            } else {
                Answer::Done
            };
            let answer = Action::Answer {
                ticket: *ticket,
                answer,
            };
            locked(&self.actions).push(answer);
        }
        let _ = self.facts.send(fact);
    }

    fn decide(&mut self, _: Now) -> Vec<Action> {
        std::mem::take(&mut locked(&self.actions))
    }

    fn deadline(&self) -> Option<u64> {
        Some(0)
    }

    fn view(&mut self, _: Now) -> Arc<View> {
        Arc::clone(&locked(&self.view))
    }
}

impl Stage {
    /// Starts the API server and teaches it our kinds.
    pub(crate) async fn set() -> Result<Self> {
        let plane = ControlPlane::start_with(Parts::API_ONLY).await?;
        let client = plane.client().await?;
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        for definition in coordinator_crds::crds() {
            definitions
                .create(&PostParams::default(), &definition)
                .await?;
        }
        let unrepeating = plane.unrepeating_client().await?;
        let stage = Self {
            plane,
            client,
            unrepeating,
        };
        let groups: Api<Group> = Api::namespaced(stage.client.clone(), "lab");
        let machines: Api<Machine> = Api::namespaced(stage.client.clone(), "lab");
        wait::until(LIMIT, "our kinds to be served", async || {
            groups.list(&Default::default()).await?;
            machines.list(&Default::default()).await?;
            Ok(())
        })
        .await?;
        stage
            .create(
                "v1",
                "Namespace",
                None,
                json!({"metadata": {"name": "lab"}}),
            )
            .await?;
        Ok(stage)
    }

    /// Creates any object.
    pub(crate) async fn create(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        mut object: Value,
    ) -> Result<()> {
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        let object: kube::core::DynamicObject = from_value(object)?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let plural = match kind {
            "Group" => "homelabgroups".to_owned(),
            "Node" if !group.is_empty() => "homelabnodes".to_owned(),
            other => format!("{}s", other.to_lowercase()),
        };
        let gvk = kube::core::GroupVersionKind::gvk(group, version, kind);
        let resource = kube::core::ApiResource::from_gvk_with_plural(&gvk, &plural);
        let api: Api<kube::core::DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        api.create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("create {kind}"))?;
        Ok(())
    }

    /// Has the API server check every document of a file as if it were applied, and keep nothing of it.
    pub(crate) async fn dry_run(&self, text: &str) -> Result<usize> {
        let parameters = PatchParams::apply("test").force().dry_run();
        let mut checked = 0;
        for document in serde_norway::Deserializer::from_str(text) {
            let object = kube::core::DynamicObject::deserialize(document)?;
            let types = object.types.clone().context("apiVersion and kind")?;
            let gvk = kube::core::GroupVersionKind::try_from(&types)?;
            let (resource, capabilities) = kube::discovery::pinned_kind(&self.client, &gvk).await?;
            let namespace = object.metadata.namespace.as_deref();
            let api: Api<kube::core::DynamicObject> = match (capabilities.scope, namespace) {
                (kube::discovery::Scope::Cluster, _) => {
                    Api::all_with(self.client.clone(), &resource)
                }
                (kube::discovery::Scope::Namespaced, namespace) => Api::namespaced_with(
                    self.client.clone(),
                    namespace.context("a namespace")?,
                    &resource,
                ),
            };
            let name = object.metadata.name.clone().context("a name")?;
            api.patch(&name, &parameters, &Patch::Apply(&object))
                .await
                .with_context(|| format!("{} {name}", types.kind))?;
            checked += 1;
        }
        Ok(checked)
    }

    /// A Group in namespace lab.
    pub(crate) async fn group(&self, name: &str) -> Result<()> {
        let object = json!({"metadata": {"name": name}, "spec": {}});
        self.create(coordinator_crds::API_VERSION, "Group", Some("lab"), object)
            .await
    }

    /// A Node of ours in namespace lab, in group workers.
    pub(crate) async fn machine(&self, name: &str) -> Result<()> {
        let spec = json!({"group": "workers", "power": "AlwaysOn"});
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.create(coordinator_crds::API_VERSION, "Node", Some("lab"), object)
            .await
    }

    /// A core Node.
    pub(crate) async fn node(&self, name: &str, spec: Value) -> Result<Node> {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.create("v1", "Node", None, object).await?;
        Ok(self.nodes().get(name).await?)
    }

    pub(crate) fn groups(&self) -> Api<Group> {
        Api::namespaced(self.client.clone(), "lab")
    }

    pub(crate) fn machines(&self) -> Api<Machine> {
        Api::namespaced(self.client.clone(), "lab")
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Writes into the status of a machine as somebody else.
    pub(crate) async fn write_status(&self, name: &str, status: Value) -> Result<()> {
        let patch = Patch::Merge(json!({"status": status}));
        self.machines()
            .patch_status(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// A shell that may write for an hour, whoever leads.
    pub(crate) fn shell(&self, identity: &str) -> Shell {
        let shared = Shared {
            cluster: Cluster::with_client(self.unrepeating.clone(), OWN),
            mirror: Arc::default(),
            mandate: Mandate::default(),
            metrics: Metrics::unregistered(),
        };
        let settings = KubernetesSettings {
            namespaces: Vec::new(),
            kubeconfig: None,
            own_namespace: None,
            identity: Some(identity.to_owned()),
            key_secret: "key".to_owned(),
            election: Election {
                enabled: true,
                lease: Duration::from_secs(15),
                renew: Duration::from_secs(10),
                retry: Duration::from_millis(200),
            },
        };
        let (inputs, notices) = Inputs::new(shared.clone(), &settings);
        let mandate = shared.mandate.clone();
        let (handle, seat) = engine::open(mandate.clone());
        let (outputs, worker) = outputs(shared, &handle, notices, "ed25519:test".to_owned());
        let (sender, facts) = mpsc::unbounded_channel();
        let script = Script {
            actions: Arc::default(),
            facts: sender,
            view: Arc::default(),
        };
        let (actions, view) = (script.actions.clone(), script.view.clone());
        let engine = tokio::spawn(seat.take(script, outputs).run());
        let worker = tokio::spawn(worker.run());
        Shell {
            actions,
            facts: AsyncMutex::new(facts),
            view,
            mandate,
            handle,
            inputs: Mutex::new(Some(inputs)),
            tasks: vec![engine, worker],
        }
    }

    /// A shell that has loaded everything and leads.
    pub(crate) async fn leader(&self) -> Result<(Shell, Running)> {
        let shell = self.shell("leader");
        let running = shell.run();
        shell
            .fact("to lead", |fact| {
                matches!(fact, Fact::Leading { .. }).then_some(())
            })
            .await?;
        Ok((shell, running))
    }
}

impl Shell {
    /// Starts the watches and the election.
    pub(crate) fn run(&self) -> Running {
        let inputs = locked(&self.inputs).take().expect("started once");
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = self.handle.clone();
        let end = tokio::spawn(inputs.run(handle, async {
            let _ = stopped.await;
        }));
        Running { stop, end }
    }

    /// The core wants this done.
    pub(crate) fn perform(&self, action: Action) {
        locked(&self.actions).push(action);
    }

    /// What people see from now on.
    pub(crate) fn show(&self, view: View) {
        *locked(&self.view) = Arc::new(view);
    }

    /// Waits for a fact; those before it are passed over.
    pub(crate) async fn fact<T>(
        &self,
        what: &str,
        wanted: impl Fn(&Fact) -> Option<T>,
    ) -> Result<T> {
        let mut passed = Vec::new();
        let mut facts = self.facts.lock().await;
        let found = tokio::time::timeout(LIMIT, async {
            loop {
                let fact = facts.recv().await?;
                if let Some(found) = wanted(&fact) {
                    return Some(found);
                }
                passed.push(format!("{fact:?}"));
            }
        });
        match found.await {
            Ok(Some(found)) => Ok(found),
            Ok(None) | Err(_) => Err(anyhow!("waited for {what}; saw {passed:#?}")),
        }
    }

    /// Performs an action and waits for its answer.
    pub(crate) async fn answer<T>(
        &self,
        action: Action,
        wanted: impl Fn(&Fact) -> Option<T>,
    ) -> Result<T> {
        let what = format!("the answer to {action:?}");
        self.perform(action);
        self.fact(&what, wanted).await
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().expect("no test panics while it holds this")
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
