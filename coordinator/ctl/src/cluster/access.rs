//! What a new agent needs, from a cluster: the ConfigMap and the Secret beside the coordinator, and its page `/state`.
//!
//! Holds: the coordinator's private key is never read; the ConfigMap has the public one.

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::Api;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::Cluster;
use crate::{agent_config::Access, fault::CtlFault, lab::Agent};

/// ConfigMap with `broker`, `coordinatorKey` and perhaps `ca.pem`, and Secret with `password` or `<agent>.password`.
const AGENTS: &str = "homelab-autoscaler-agents";
/// The coordinator's Service, and the name of its port for people and probes.
const SERVICE: &str = "homelab-coordinator:admin";

impl Cluster {
    pub(crate) async fn access(&self, agent: &str) -> Result<Access, CtlFault> {
        let namespace = &self.system_namespace;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = maps
            .get_opt(AGENTS)
            .await
            .map_err(|fault| self.explain("read the ConfigMap of the agents", fault))?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = secrets
            .get_opt(AGENTS)
            .await
            .map_err(|fault| self.explain("read the Secret of the agents", fault))?;
        let missing = |what: &str, cure: &str| {
            CtlFault::Refused(format!(
                "ConfigMap {namespace}/{AGENTS} has no {what}: {cure}"
            ))
        };
        let mut data = map.and_then(|map| map.data).unwrap_or_default();
        let broker = data.remove("broker").ok_or_else(|| {
            missing(
                "broker",
                "set it to the address that agents reach, as in mqtts://192.168.1.10:8883",
            )
        })?;
        let coordinator_key = data.remove("coordinatorKey").ok_or_else(|| {
            missing(
                "coordinatorKey",
                "the coordinator writes it when it leads; is it running?",
            )
        })?;
        let password = secret.and_then(|secret| password(secret.data.unwrap_or_default(), agent));
        Ok(Access {
            broker,
            coordinator_key,
            needs_password: true,
            password,
            ca: data.remove("ca.pem"),
        })
    }

    /// Agents that the coordinator heard and no Node names; none where its page cannot be read.
    pub(super) async fn unbound_agents(&self, bound: &[Agent]) -> Vec<Agent> {
        let path = format!(
            "/api/v1/namespaces/{}/services/{SERVICE}/proxy/state",
            self.system_namespace
        );
        let Ok(request) = http_get(&path) else {
            return Vec::new();
        };
        let Ok(state) = self.client.request::<State>(request).await else {
            return Vec::new();
        };
        state
            .agents
            .into_iter()
            .filter(|(name, _)| bound.iter().all(|agent| &agent.name != name))
            .map(|(name, heard)| Agent {
                name,
                live: heard.live,
                segments: heard.segments,
                macs: heard.macs,
                public_key: heard.public_key,
            })
            .collect()
    }
}

/// The part of `/state` that is about agents.
#[derive(Deserialize)]
struct State {
    #[serde(default)]
    agents: BTreeMap<String, Heard>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heard {
    #[serde(default)]
    live: bool,
    #[serde(default)]
    segments: Vec<String>,
    #[serde(default)]
    macs: Vec<String>,
    #[serde(default)]
    public_key: Option<String>,
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>, http::Error> {
    http::Request::get(path).body(Vec::new())
}

fn password(mut data: BTreeMap<String, ByteString>, agent: &str) -> Option<String> {
    let own = data.remove(&format!("{agent}.password"));
    let ByteString(bytes) = own.or_else(|| data.remove("password"))?;
    String::from_utf8(bytes)
        .ok()
        .map(|text| text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_own_password_comes_before_the_one_for_all() {
        let entry =
            |key: &str, value: &str| (key.to_owned(), ByteString(value.as_bytes().to_vec()));
        let data = BTreeMap::from([entry("password", "all\n"), entry("nuc1.password", "own\n")]);
        assert_eq!(password(data.clone(), "nuc1").as_deref(), Some("own"));
        assert_eq!(password(data, "nuc2").as_deref(), Some("all"));
        assert_eq!(password(BTreeMap::new(), "nuc2"), None);
    }

    #[test]
    fn the_coordinators_page_is_understood() {
        let page = r#"{"serving":true,"agents":{"nuc1":{"live":true,"publicKey":"ed25519:k","segments":[],
            "macs":["1c:69:7a:0b:11:02"],"bootID":"b","sensors":null}}}"#;
        let state: State = serde_json::from_str(page).unwrap();
        assert_eq!(state.agents["nuc1"].macs, ["1c:69:7a:0b:11:02"]);
    }
}
