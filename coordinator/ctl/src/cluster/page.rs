//! The coordinator's page `/state`, through the API server's way to Services.
//!
//! Out: what only the coordinator itself knows: its clock, whether it decides, who was heard.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Cluster, innermost};
use crate::{ask::now_ms, fault::CtlFault, lab::Agent};

/// The coordinator's Service, and the name of its port for people and probes.
const SERVICE: &str = "homelab-coordinator:admin";

/// What the page says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    /// The coordinator's wall clock, milliseconds.
    #[serde(default)]
    pub(crate) now_ms: Option<i64>,
    /// By how much that was ahead of this host's clock when it answered, milliseconds.
    #[serde(skip)]
    pub(crate) clock_ahead_ms: Option<i64>,
    /// Why nothing is decided.
    #[serde(default)]
    pub(crate) waiting_for: String,
    /// Whether the agents' broker is connected.
    #[serde(default)]
    pub(crate) broker_up: Option<bool>,
    /// How the cluster-autoscaler calls itself, once it has called.
    #[serde(default)]
    pub(crate) autoscaler_user_agent: Option<String>,
    /// What the cluster-autoscaler is to be started with.
    #[serde(default)]
    cloud_config: Option<String>,
    #[serde(default)]
    agents: BTreeMap<String, Heard>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heard {
    #[serde(default)]
    live: bool,
    #[serde(default)]
    segments: Vec<String>,
    #[serde(default)]
    credentials: Option<Vec<String>>,
    #[serde(default)]
    macs: Vec<String>,
    #[serde(default)]
    public_key: Option<String>,
    #[serde(default)]
    clock_ahead_s: Option<i64>,
}

impl Page {
    /// Everybody who was heard.
    pub(crate) fn agents(&self) -> Vec<Agent> {
        let agents = self.agents.iter();
        agents
            .map(|(name, heard)| Agent {
                name: name.clone(),
                live: Some(heard.live),
                segments: heard.segments.clone(),
                credentials: heard.credentials.clone(),
                macs: heard.macs.clone(),
                public_key: heard.public_key.clone(),
                clock_ahead_s: heard.clock_ahead_s,
            })
            .collect()
    }

    /// The page with the clock compared, if it was asked for and came at these moments of this host's clock.
    fn compared(mut self, asked_ms: i64, came_ms: i64) -> Self {
        let between_ms = asked_ms + (came_ms - asked_ms) / 2;
        self.clock_ahead_ms = self.now_ms.map(|now_ms| now_ms - between_ms);
        self
    }
}

impl Cluster {
    /// What the cluster-autoscaler is to be started with, in the coordinator's words.
    pub(crate) async fn cloud_config(&self) -> Result<String, CtlFault> {
        let unread = |why| CtlFault::Refused(format!("cannot read the coordinator's page: {why}"));
        let page = self.page().await.map_err(unread)?;
        page.cloud_config.ok_or_else(|| {
            CtlFault::Refused(
                "the coordinator issues no certificates: start it with --grpc-issue-certs, or write the file by hand for your \
                 own ones"
                    .to_owned(),
            )
        })
    }

    /// The page, or why it cannot be read.
    pub(crate) async fn page(&self) -> Result<Page, String> {
        let path = format!(
            "/api/v1/namespaces/{}/services/{SERVICE}/proxy/state",
            self.system_namespace
        );
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|fault| fault.to_string())?;
        let asked_ms = now_ms();
        let page: Page = match self.client.request(request).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) => return Err(status.message.clone()),
            Err(fault) => return Err(innermost(&fault)),
        };
        Ok(page.compared(asked_ms, now_ms()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coordinators_page_is_understood() {
        let text = r#"{"serving":true,"brokerUp":false,"nowMs":1500,"agents":{"nuc1":{"live":true,"publicKey":"ed25519:k",
            "segments":[],"macs":["1c:69:7a:0b:11:02"],"bootID":"b","clockAheadS":-3,"sensors":null},
            "pi":{"live":true,"segments":["default"],"credentials":["r720"]}}}"#;
        let page: Page = serde_json::from_str(text).unwrap();
        let page = page.compared(1_000, 1_400);
        assert_eq!(
            (page.clock_ahead_ms, page.broker_up),
            (Some(300), Some(false))
        );
        let [agent, relay] = &page.agents()[..] else {
            panic!("{page:?}")
        };
        assert_eq!(agent.macs, ["1c:69:7a:0b:11:02"]);
        assert_eq!((agent.live, agent.clock_ahead_s), (Some(true), Some(-3)));
        assert_eq!(agent.credentials, None, "it does not say");
        assert_eq!(relay.credentials, Some(vec!["r720".to_owned()]));
    }

    #[test]
    fn the_page_of_an_older_coordinator_tells_no_clock() {
        let page: Page = serde_json::from_str(r#"{"serving":true}"#).unwrap();
        assert_eq!(page.compared(1, 2).clock_ahead_ms, None);
    }
}
