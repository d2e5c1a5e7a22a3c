//! A coordinator in a cluster, through the API server.
//!
//! In: Groups, Nodes and their status. Out: requests in `status.ask`, which the coordinator takes.
//! Holds: a request never overwrites one that was not taken yet, nor anything else of the status.

use std::{path::PathBuf, time::Duration};

use coordinator_crds::{
    Group, Node,
    node_status::{Ask, AskVerb},
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::{
    args::PlaceFlags,
    ask::now_ms,
    fault::CtlFault,
    lab::{Agent, Lab},
};

mod access;
mod events;
mod facts;
mod page;

pub(crate) use page::Page;

/// For connecting to the API server.
const CONNECT: Duration = Duration::from_secs(5);
/// For one answer of it.
const ANSWER: Duration = Duration::from_secs(15);
/// How often a request is written again when the status moved meanwhile.
const WRITES: usize = 5;
/// How long the coordinator may take to take a request.
const TAKE: Duration = Duration::from_secs(10);
/// Between two looks whether it did.
const LOOK: Duration = Duration::from_millis(250);

/// The API server.
pub(crate) struct Cluster {
    client: Client,
    server: String,
    namespace: Option<String>,
    system_namespace: String,
    /// A local socket that is there too, for people who meant that one.
    socket: Option<PathBuf>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the configuration; nothing is sent yet.
    pub(crate) async fn connect(
        flags: PlaceFlags,
        socket: Option<PathBuf>,
    ) -> Result<Self, CtlFault> {
        let mut config = config(&flags).await?;
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(ANSWER);
        let server = config.cluster_url.to_string();
        let client =
            Client::try_from(config).map_err(|fault| CtlFault::Kubeconfig(fault.to_string()))?;
        Ok(Self {
            client,
            server,
            namespace: flags.namespace,
            system_namespace: flags.system_namespace,
            socket,
        })
    }

    pub(crate) async fn lab(&self) -> Result<Lab, CtlFault> {
        Ok(self.lab_and_page().await?.0)
    }

    /// The lab with what the coordinator's page adds to it, and that page.
    async fn lab_and_page(&self) -> Result<(Lab, Result<Page, String>), CtlFault> {
        let all = ListParams::default();
        let (groups, nodes) = match &self.namespace {
            Some(namespace) => {
                let groups: Api<Group> = Api::namespaced(self.client.clone(), namespace);
                let nodes: Api<Node> = Api::namespaced(self.client.clone(), namespace);
                (groups.list(&all).await, nodes.list(&all).await)
            }
            None => {
                let groups: Api<Group> = Api::all(self.client.clone());
                let nodes: Api<Node> = Api::all(self.client.clone());
                (groups.list(&all).await, nodes.list(&all).await)
            }
        };
        let nodes = nodes
            .map_err(|fault| self.explain("list homelabnodes", fault))?
            .items;
        let groups = groups
            .map_err(|fault| self.explain("list homelabgroups", fault))?
            .items;
        let page = self.page().await;
        let told = page.clone().unwrap_or_default();
        let mut agents = told.agents();
        for bound in nodes.iter().filter_map(agent_of) {
            if agents.iter().all(|heard| heard.name != bound.name) {
                agents.push(bound);
            }
        }
        let lab = Lab {
            now_ms: now_ms(),
            waiting_for: told.waiting_for,
            broker_up: told.broker_up,
            groups,
            nodes,
            agents,
            ..Lab::default()
        };
        Ok((lab, page))
    }

    pub(crate) async fn ask(&self, name: &str, ask: &Ask) -> Result<(), CtlFault> {
        let mut written = false;
        for _ in 0..WRITES {
            let node = self.node(name).await?;
            if let Some(waiting) = untaken(&node) {
                return Err(CtlFault::NotTaken(format!(
                    "{name}: {} by {} waits to be taken; is the coordinator running?",
                    word(waiting.verb),
                    waiting.by
                )));
            }
            if self.write(&node, ask).await? {
                written = true;
                break;
            }
        }
        if !written {
            return Err(CtlFault::NotTaken(format!(
                "{name}: its status changes too fast; try again"
            )));
        }
        self.await_taking(name, ask).await
    }

    /// Writes the request; false if the status has moved since `node` was read.
    async fn write(&self, node: &Node, ask: &Ask) -> Result<bool, CtlFault> {
        let operations = ask_patch(node, ask);
        let patch: json_patch::Patch = serde_json::from_value(operations).map_err(|fault| {
            CtlFault::Refused(format!("the request cannot be written: {fault}"))
        })?;
        let namespace = node.namespace().unwrap_or_default();
        let api: Api<Node> = Api::namespaced(self.client.clone(), &namespace);
        let patched = api
            .patch_status(
                &node.name_any(),
                &PatchParams::default(),
                &Patch::<()>::Json(patch),
            )
            .await;
        match patched {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 422 || status.code == 409 => {
                let now = self.node(&node.name_any()).await?;
                if now.resource_version() == node.resource_version() {
                    // It did not move, so the request itself is wrong.
                    return Err(CtlFault::Refused(status.message.clone()));
                }
                Ok(false)
            }
            Err(fault) => Err(self.explain("write the status of the homelabnode", fault)),
        }
    }

    async fn await_taking(&self, name: &str, ask: &Ask) -> Result<(), CtlFault> {
        let taken = async {
            loop {
                let node = self.node(name).await?;
                let status = node.status.as_ref();
                if status.and_then(|status| status.last_ask_id.as_ref()) == Some(&ask.id) {
                    return Ok(());
                }
                let waiting = status.and_then(|status| status.ask.as_ref());
                if waiting.is_none_or(|now| now.id != ask.id) {
                    return Err(self.refusal(&node, ask).await);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        match tokio::time::timeout(TAKE, taken).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CtlFault::NotTaken(format!(
                "{name}: {} is written, but the coordinator has not taken it within {} s; it will as soon as it can",
                word(ask.verb),
                TAKE.as_secs()
            ))),
        }
    }

    /// Why the coordinator took the request away without following it: it says so in an Event.
    async fn refusal(&self, node: &Node, ask: &Ask) -> CtlFault {
        let name = node.name_any();
        let why = self
            .refused_because(node)
            .await
            .unwrap_or_else(|| format!("see `kubectl describe hn {name}`"));
        CtlFault::Refused(format!(
            "{name}: the coordinator refused {}: {why}",
            word(ask.verb)
        ))
    }

    /// The one Node of that name.
    async fn node(&self, name: &str) -> Result<Node, CtlFault> {
        let by_name = ListParams::default().fields(&format!("metadata.name={name}"));
        let api: Api<Node> = match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let found = api
            .list(&by_name)
            .await
            .map_err(|fault| self.explain("read the homelabnode", fault))?
            .items;
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(node), None) => Ok(node),
            (Some(_), Some(_)) => Err(CtlFault::Refused(format!(
                "NotFound: several namespaces have a Node {name}; name one with --namespace"
            ))),
            (None, _) => Err(CtlFault::Refused(format!(
                "NotFound: there is no Node {name}; see `homelabctl status`"
            ))),
        }
    }

    fn explain(&self, what: &str, fault: kube::Error) -> CtlFault {
        let kube::Error::Api(status) = &fault else {
            return CtlFault::Cluster {
                server: self.server.clone(),
                why: innermost(&fault),
            };
        };
        let socket = self.socket.as_ref().map_or_else(String::new, |path| {
            format!(
                "; or did you mean the coordinator at this host: --socket {}",
                path.display()
            )
        });
        match status.code {
            404 => CtlFault::Refused(format!(
                "the cluster at {} does not know homelab-autoscaler: install it there first{socket}",
                self.server
            )),
            403 => CtlFault::Refused(format!(
                "the cluster does not let you {what}: {}; perhaps only in one namespace, then name it with --namespace",
                status.message
            )),
            _ => CtlFault::Refused(format!("the cluster refused to {what}: {}", status.message)),
        }
    }
}

async fn config(flags: &PlaceFlags) -> Result<Config, CtlFault> {
    let options = KubeConfigOptions {
        context: flags.context.clone(),
        ..KubeConfigOptions::default()
    };
    let unusable = |fault: &dyn std::error::Error| CtlFault::Kubeconfig(innermost(fault));
    if let Some(path) = &flags.kubeconfig {
        let named = |fault: &dyn std::error::Error| {
            CtlFault::Kubeconfig(format!("{}: {}", path.display(), innermost(fault)))
        };
        let file = Kubeconfig::read_from(path).map_err(|fault| named(&fault))?;
        return Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(|fault| unusable(&fault));
    }
    if flags.context.is_some() {
        return Config::from_kubeconfig(&options)
            .await
            .map_err(|fault| unusable(&fault));
    }
    Config::infer().await.map_err(|fault| unusable(&fault))
}

/// The last cause, which is the one that tells something.
fn innermost(fault: &dyn std::error::Error) -> String {
    let mut cause = fault;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The operations that leave `ask` with a Node, if it is still the one that was read.
fn ask_patch(node: &Node, ask: &Ask) -> Value {
    let unmoved = json!({ "op": "test", "path": "/metadata/resourceVersion", "value": node.resource_version() });
    let written = if node.status.is_some() {
        json!({ "op": "add", "path": "/status/ask", "value": ask })
    } else {
        json!({ "op": "add", "path": "/status", "value": { "ask": ask } })
    };
    json!([unmoved, written])
}

fn untaken(node: &Node) -> Option<&Ask> {
    let status = node.status.as_ref()?;
    status
        .ask
        .as_ref()
        .filter(|ask| status.last_ask_id.as_ref() != Some(&ask.id))
}

fn word(verb: AskVerb) -> &'static str {
    match verb {
        AskVerb::PowerOn => "PowerOn",
        AskVerb::PowerOff => "PowerOff",
        AskVerb::Retry => "Retry",
        AskVerb::ConfirmOff => "ConfirmOff",
        AskVerb::Prove => "Prove",
        AskVerb::Release => "Release",
    }
}

/// What a Node's status says about its agent.
fn agent_of(node: &Node) -> Option<Agent> {
    let agent = node.status.as_ref()?.agent.as_ref()?;
    Some(Agent {
        name: node.spec.agent.clone().unwrap_or_else(|| node.name_any()),
        public_key: agent.public_key.clone(),
        ..Agent::default()
    })
}

#[cfg(test)]
mod tests;
