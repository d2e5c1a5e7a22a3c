//! What a new agent needs, from a cluster: the ConfigMap and the Secret beside the coordinator.
//!
//! Holds: the coordinator's private key is never read; the ConfigMap has the public one.

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::Api;
use std::collections::BTreeMap;

use super::Cluster;
use crate::{agent_config::Access, fault::CtlFault};

/// ConfigMap with `broker`, `coordinatorKey` and perhaps `ca.pem`, and Secret with `password` or `<agent>.password`.
const AGENTS: &str = "homelab-autoscaler-agents";

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
}
