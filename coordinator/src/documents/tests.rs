//! What is declared arrives, what is stored comes back, what is shown says what is so.

use coordinator_core as core;
use coordinator_core::{
    AgentId, GroupId, GroupRecord, GroupView, MachineId, MachineRecord, MachineView, PhaseName,
    Wish,
};
use coordinator_crds as crds;
use crds::{ConditionStatus, GroupStatus, NodeStatus};
use serde_json::json;

use super::*;

const NOW: i64 = 1_790_000_000_000;

fn group(spec: serde_json::Value) -> crds::Group {
    from(json!({"apiVersion": crds::API_VERSION, "kind": "Group",
        "metadata": {"name": "workers", "namespace": "lab"}, "spec": spec}))
}

fn node(spec: serde_json::Value) -> crds::Node {
    from(json!({"apiVersion": crds::API_VERSION, "kind": "Node",
        "metadata": {"name": "nuc1", "namespace": "lab"}, "spec": spec}))
}

fn from<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// What the API server would hand out again.
fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    from(serde_json::to_value(value).unwrap())
}

fn taint(key: &str, value: &str, effect: &str) -> core::Taint {
    core::Taint {
        key: key.into(),
        value: value.into(),
        effect: effect.into(),
    }
}

mod groups;
mod records;
mod sentences;
mod specs;
pub(crate) mod statuses;
