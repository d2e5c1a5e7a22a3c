//! The screen for machines in every situation that people ask about.

use coordinator_crds::NodeSpec;

use serde_json::{Value, json};

use super::{
    screen::{HEIGHT, WIDTH},
    *,
};

mod sentences;
mod situations;

/// The 21st of November 2026, 14:06 UTC.
const NOW: i64 = 1_795_269_960_000;

/// One machine and what is around it.
struct Case {
    node: Node,
    group: Option<Group>,
    agent: Option<Agent>,
    told: Result<Vec<Told>, String>,
    place: Place,
    waiting_for: &'static str,
    broker_up: Option<bool>,
}

impl Case {
    fn of(spec: Value, status: Value) -> Self {
        let mut node = json!({"apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Node",
            "metadata": {"name": "nuc1", "namespace": "lab"}, "spec": spec});
        if !status.is_null() {
            node["status"] = status;
        }
        Self {
            node: serde_json::from_value(node).unwrap(),
            group: Some(group(
                json!({}),
                json!({"targetSize": 2, "ready": 1, "maxSize": 3}),
            )),
            agent: None,
            told: Ok(Vec::new()),
            place: Place::Cluster,
            waiting_for: "",
            broker_up: Some(true),
        }
    }

    /// nuc1, woken by magic packet, with this status.
    fn packet(status: Value) -> Self {
        Self::of(wol(), status)
    }

    fn group(mut self, spec: Value, status: Value) -> Self {
        self.group = Some(group(spec, status));
        self
    }

    /// What was told of it, oldest first: seconds before now, severity, reason, sentence.
    fn told(mut self, told: &[(i64, &str, &str, &str)]) -> Self {
        let event = |(ago_s, severity, reason, message): &(i64, &str, &str, &str)| Told {
            at_ms: NOW - ago_s * 1000,
            severity: (*severity).to_owned(),
            reason: (*reason).to_owned(),
            message: (*message).to_owned(),
            count: 1,
            ..Told::default()
        };
        self.told = Ok(told.iter().map(event).collect());
        self
    }

    fn screen(&self) -> String {
        let screen = screen(&Picture {
            now_ms: NOW,
            place: self.place,
            node: &self.node,
            group: self.group.as_ref(),
            agent: self.agent.as_ref(),
            told: self.told.as_deref().map_err(String::as_str),
            waiting_for: self.waiting_for,
            broker_up: self.broker_up,
        });
        assert!(screen.lines().count() <= HEIGHT, "{screen}");
        assert!(
            screen.lines().all(|line| line.chars().count() <= WIDTH),
            "{screen}"
        );
        screen
    }

    /// The screen in one line.
    fn words(&self) -> String {
        let screen = self.screen();
        screen.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn group(spec: Value, status: Value) -> Group {
    let group = json!({"apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Group",
        "metadata": {"name": "workers", "namespace": "lab"}, "spec": spec, "status": status});
    serde_json::from_value(group).unwrap()
}

fn wol() -> Value {
    json!({"group": "workers", "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"}})
}

fn wanting(name: &str) -> Value {
    json!({"wanted": {"sequence": 4, "machines": ["nuc9", name], "lastIncrease": {"delta": 1, "at": "2026-11-21T14:02:11Z"}},
        "targetSize": 2, "ready": 1, "maxSize": 3})
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-21T14:02:11Z"})
}

/// Being woken since 14:02:11 at the autoscaler's wish, with this reason.
fn waking(why: &str, message: &str) -> Value {
    json!({
        "phase": "Waking", "since": "2026-11-21T14:02:00Z", "why": why, "wanted": "running",
        "power": {"state": "PoweredOff", "inferred": true, "shown": "off?", "source": "inferred", "since": "2026-11-21T02:10:00Z"},
        "operation": {"id": "01JD", "kind": "Wake", "token": {"epoch": 7, "seq": 12}, "step": "Waking",
            "startedAt": "2026-11-21T14:02:11Z", "by": "cluster-autoscaler IncreaseSize(1)", "deadline": "2026-11-21T14:12:10Z"},
        "wake": {"provenAt": "2026-11-18T09:00:00Z", "bootSeconds": [48, 52, 71, 60, 55]},
        "conditions": [condition("Ready", "False", why, message)],
    })
}
