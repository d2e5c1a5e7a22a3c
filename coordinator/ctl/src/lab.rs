//! The lab as both places show it.
//!
//! In: custom resources with status, whatever the coordinator knows about agents. Out: the same, for the commands.

use coordinator_crds::{Group, Node};
use serde::{Deserialize, Serialize};

use crate::{fault::CtlFault, near};

/// What is shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lab {
    /// Wall clock where the lab is, milliseconds.
    #[serde(default)]
    pub(crate) now_ms: i64,
    /// Why nothing is decided; empty while decisions are made, and where the coordinator cannot be asked.
    #[serde(default)]
    pub(crate) waiting_for: String,
    /// Whether the agents' broker is connected, where that is known.
    #[serde(default)]
    pub(crate) broker_up: Option<bool>,
    /// Every Group.
    #[serde(default)]
    pub(crate) groups: Vec<Group>,
    /// Every Node.
    #[serde(default)]
    pub(crate) nodes: Vec<Node>,
    /// Agents that were heard; in a cluster whose coordinator cannot be asked those of Nodes.
    #[serde(default)]
    pub(crate) agents: Vec<Agent>,
    /// The last events; empty in a cluster, where `kubectl get events` has them.
    #[serde(default)]
    pub(crate) events: Vec<serde_json::Value>,
}

impl Lab {
    /// The one machine of that name.
    pub(crate) fn machine(&self, name: &str) -> Result<&Node, CtlFault> {
        let called = |node: &&Node| node.metadata.name.as_deref() == Some(name);
        let mut found = self.nodes.iter().filter(called);
        match (found.next(), found.next()) {
            (Some(node), None) => Ok(node),
            (Some(_), Some(_)) => Err(CtlFault::Refused(format!(
                "NotFound: several namespaces have a Node {name}; name one with --namespace"
            ))),
            (None, _) => {
                let names = self.nodes.iter();
                let names: Vec<&str> = names.filter_map(|n| n.metadata.name.as_deref()).collect();
                Err(CtlFault::Refused(format!(
                    "NotFound: there is no Node {name}; {}",
                    near::offer(name, &names)
                )))
            }
        }
    }

    /// The Group that a machine names, in its own namespace.
    pub(crate) fn group_of(&self, node: &Node) -> Option<&Group> {
        let namespace = node.metadata.namespace.as_deref();
        self.groups.iter().find(|group| {
            group.metadata.name.as_deref() == Some(node.spec.group.as_str())
                && group.metadata.namespace.as_deref() == namespace
        })
    }

    /// A machine's agent, if it was heard of.
    pub(crate) fn agent_of(&self, node: &Node) -> Option<&Agent> {
        let own = node.metadata.name.as_ref();
        let id = node.spec.agent.as_ref().or(own)?;
        self.agents.iter().find(|agent| agent.name == *id)
    }
}

/// An agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agent {
    /// Its id.
    pub(crate) name: String,
    /// Whether it was heard lately, where that is known.
    #[serde(default)]
    pub(crate) live: Option<bool>,
    /// Segments it relays for.
    #[serde(default)]
    pub(crate) segments: Vec<String>,
    /// Names of the BMC credentials that it holds, where it tells them.
    #[serde(default)]
    pub(crate) credentials: Option<Vec<String>>,
    /// Hardware addresses of its host.
    #[serde(default)]
    pub(crate) macs: Vec<String>,
    /// Key that its results are signed with.
    #[serde(default)]
    pub(crate) public_key: Option<String>,
    /// By how many seconds its host's clock is ahead of the coordinator's, where that is known.
    #[serde(default)]
    pub(crate) clock_ahead_s: Option<i64>,
}

/// An Event about a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Told {
    /// When it was last told, milliseconds since 1970.
    #[serde(default)]
    pub(crate) at_ms: i64,
    /// `Node` or `Group`.
    #[serde(default)]
    pub(crate) kind: String,
    /// Which one.
    #[serde(default)]
    pub(crate) name: String,
    /// `Normal` or `Warning`.
    #[serde(default)]
    pub(crate) severity: String,
    /// Stable word.
    #[serde(default)]
    pub(crate) reason: String,
    /// The sentence.
    #[serde(default)]
    pub(crate) message: String,
    /// How often it was told in a row.
    #[serde(default)]
    pub(crate) count: u32,
}

impl Told {
    /// Whether it tells of something unusual.
    pub(crate) fn is_warning(&self) -> bool {
        self.severity == "Warning"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lab(names: &[(&str, &str)]) -> Lab {
        let node = |(namespace, name): &(&str, &str)| {
            json!({"apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Node",
                "metadata": {"name": name, "namespace": namespace}, "spec": {"group": "workers", "agent": "a"}})
        };
        let nodes: Vec<_> = names.iter().map(node).collect();
        let group = |namespace: &str| {
            json!({"apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Group",
                "metadata": {"name": "workers", "namespace": namespace}, "spec": {}})
        };
        let agents = json!([{"name": "a", "live": true}]);
        let groups = json!([group("garage"), group("lab")]);
        serde_json::from_value(json!({"nodes": nodes, "groups": groups, "agents": agents})).unwrap()
    }

    #[test]
    fn a_machine_is_found_with_its_group_and_its_agent() {
        let lab = lab(&[("lab", "nuc1"), ("lab", "nuc2")]);
        let nuc1 = lab.machine("nuc1").unwrap();
        let group = lab.group_of(nuc1).unwrap();
        assert_eq!(group.metadata.namespace.as_deref(), Some("lab"));
        assert_eq!(lab.agent_of(nuc1).unwrap().live, Some(true));
    }

    #[test]
    fn a_machine_that_is_not_there_and_one_that_is_there_twice_are_refused() {
        let lab = lab(&[("lab", "nuc1"), ("garage", "nuc1"), ("lab", "nuc2")]);
        for (name, why) in [
            (
                "nuc1",
                "several namespaces have a Node nuc1; name one with --namespace",
            ),
            ("nuc3", "there is no Node nuc3; did you mean nuc1, nuc2?"),
        ] {
            let refused = lab.machine(name).unwrap_err();
            assert_eq!(refused.to_string(), format!("NotFound: {why}"));
            assert_eq!(refused.code(), 1);
        }
    }
}
