//! The lab as both places show it.
//!
//! In: custom resources with status, whatever the coordinator knows about agents. Out: the same, for the commands.

use coordinator_crds::{Group, Node};
use serde::{Deserialize, Serialize};

/// What is shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lab {
    /// Wall clock where the lab is, milliseconds.
    #[serde(default)]
    pub(crate) now_ms: i64,
    /// Why nothing is decided; empty while decisions are made, and where only the coordinator itself could tell.
    #[serde(default)]
    pub(crate) waiting_for: String,
    /// Every Group.
    #[serde(default)]
    pub(crate) groups: Vec<Group>,
    /// Every Node.
    #[serde(default)]
    pub(crate) nodes: Vec<Node>,
    /// Agents that were heard; without a cluster all, in a cluster those of Nodes.
    #[serde(default)]
    pub(crate) agents: Vec<Agent>,
    /// The last events; empty in a cluster, where `kubectl get events` has them.
    #[serde(default)]
    pub(crate) events: Vec<serde_json::Value>,
}

/// An agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agent {
    /// Its id.
    pub(crate) name: String,
    /// Whether it was heard lately, where that is known.
    #[serde(default)]
    pub(crate) live: bool,
    /// Segments it relays for.
    #[serde(default)]
    pub(crate) segments: Vec<String>,
    /// Hardware addresses of its host.
    #[serde(default)]
    pub(crate) macs: Vec<String>,
    /// Key that its results are signed with.
    #[serde(default)]
    pub(crate) public_key: Option<String>,
}
