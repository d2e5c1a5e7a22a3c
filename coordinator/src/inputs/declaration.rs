//! A Node as it was declared, in the room of its text.
//!
//! In: a Node. Out: the same without its status.
//! Holds: what is taken out is what was put in; as a value with a place for every field that a Node can have it would take three
//! times as much, for each machine and for ever, and it is looked at only when a declaration changes or somebody asks.

use coordinator_crds::{Node, NodeSpec};
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};

/// A declared Node.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration(Kept);

#[derive(Clone, Debug, PartialEq)]
enum Kept {
    /// Its JSON, which was read back once and gave the same.
    Text(Box<str>),
    /// One that JSON does not give back as it is: durations that no text stands for, which no lab and no API server can declare.
    Whole(Box<Node>),
}

#[derive(Serialize)]
struct Written<'a> {
    metadata: &'a ObjectMeta,
    spec: &'a NodeSpec,
}

#[derive(Deserialize)]
struct Read {
    metadata: ObjectMeta,
    spec: NodeSpec,
}

impl Declaration {
    pub(super) fn of(node: &Node) -> Self {
        let written = Written {
            metadata: &node.metadata,
            spec: &node.spec,
        };
        let text = serde_json::to_string(&written).ok();
        let same = |text: &String| {
            read(text).is_some_and(|back| back.metadata == node.metadata && back.spec == node.spec)
        };
        Self(match text.filter(same) {
            Some(text) => Kept::Text(text.into()),
            None => Kept::Whole(Box::new(Node {
                status: None,
                ..node.clone()
            })),
        })
    }

    /// The custom resource, without a status.
    pub(super) fn to_node(&self) -> Node {
        match &self.0 {
            Kept::Text(text) => read(text).expect("it was read back when it was put in"),
            Kept::Whole(node) => (**node).clone(),
        }
    }
}

fn read(text: &str) -> Option<Node> {
    let Read { metadata, spec } = serde_json::from_str(text).ok()?;
    Some(Node {
        metadata,
        spec,
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::json;

    fn node() -> Node {
        let node = json!({
            "apiVersion": "homelab-autoscaler.dev/v1alpha1",
            "kind": "Node",
            "metadata": {
                "name": "nuc1",
                "namespace": "lab",
                "labels": {"rack": "left"},
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "spec": {
                "group": "workers",
                "timeouts": {"boot": "12m", "stop": "90s", "offHold": "1s500ms"},
                "wakeOnLAN": {"mac": "52:54:00:00:00:01", "broadcast": "192.168.1.255"},
                "redfish": {"address": "https://10.0.9.20", "credentials": "r720"},
            },
            "status": {"phase": "Running"},
        });
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn everything_but_the_status_comes_back() {
        let declared = node();
        let expected = Node {
            status: None,
            ..declared.clone()
        };
        let kept = Declaration::of(&declared);
        assert!(matches!(kept.0, Kept::Text(_)));
        assert_eq!(kept.to_node(), expected);
    }

    #[test]
    fn what_its_text_would_not_give_back_comes_back_too() {
        let mut declared = node();
        declared.status = None;
        for boot in [Duration::from_nanos(1), Duration::from_hours(1_016_665)] {
            declared.spec.timeouts.boot = boot;
            assert_eq!(Declaration::of(&declared).to_node(), declared);
        }
    }
}
