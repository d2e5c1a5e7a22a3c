//! The view as JSON for `/state`.
//! Holds: names of fields are camelCase, as in the custom resources; times are RFC 3339.

use chrono::{DateTime, SecondsFormat};
use coordinator_core::{
    AgentId, AgentView, GroupView, InstanceState, MachineView, NodeObjectPolicy, PowerState, View,
    Wish,
};
use serde_json::{Map, Value, json};

use super::Pages;
use crate::clock;

pub(super) fn page(pages: &Pages) -> Value {
    let view = pages.engine.current();
    let waiting = pages.engine.waits_for(&view);
    let mut page = json!({
        "nowMs": clock::now().wall_ms,
        "serving": waiting.is_none(),
        "waitingFor": waiting.unwrap_or_default(),
        "brokerUp": view.broker_up,
        "clusterUp": pages.in_cluster.then_some(view.cluster_up),
        "coordinatorKey": pages.known.get().map(|known| known.coordinator_key.as_str()),
        "cloudConfig": pages.known.get().and_then(|known| known.cloud_config.as_deref()),
        "autoscalerUserAgent": pages.callers.user_agent().as_deref(),
        "groups": groups(&view),
        "machines": machines(&view),
        "agents": agents(&view, pages),
    });
    if let Some(lab) = pages.known.get().and_then(|known| known.lab.as_ref()) {
        page["lab"] = lab();
    }
    page
}

fn groups(view: &View) -> Map<String, Value> {
    view.groups
        .values()
        .map(|group| (group.id.to_string(), group_value(group)))
        .collect()
}

fn group_value(group: &GroupView) -> Value {
    let instances = group.instances.iter().map(|instance| {
        let (state, error) = match &instance.state {
            InstanceState::Creating => ("creating", None),
            InstanceState::Failed { code, message, .. } => (
                "creating",
                Some(json!({"code": code, "message": **message})),
            ),
            InstanceState::Running => ("running", None),
            InstanceState::Deleting => ("deleting", None),
        };
        json!({
            "machine": instance.machine.as_str(),
            "providerID": *instance.provider_id,
            "state": state,
            "error": error,
        })
    });
    json!({
        "minSize": group.min_size,
        "maxSize": group.max_size,
        "target": group.target,
        "ready": group.ready,
        "sequence": group.sequence,
        "frozen": group.frozen,
        "nodeObjectPolicy": match group.node_object_policy {
            NodeObjectPolicy::Delete => "Delete",
            NodeObjectPolicy::Retain => "Retain",
        },
        "hasTemplate": group.template.is_some(),
        "debug": group.debug,
        "instances": instances.collect::<Vec<_>>(),
    })
}

fn machines(view: &View) -> Map<String, Value> {
    view.machines
        .values()
        .map(|machine| (machine.id.to_string(), machine_value(machine)))
        .collect()
}

fn machine_value(machine: &MachineView) -> Value {
    json!({
        "namespace": *machine.namespace,
        "group": machine.group.as_str(),
        "nodeName": *machine.node_name,
        "providerID": *machine.provider_id,
        "wanted": match machine.wanted {
            Wish::Running => "running",
            Wish::Off => "off",
            Wish::None => "none",
        },
        "power": match machine.power.state {
            PowerState::Running => "running",
            PowerState::Off => "off",
            PowerState::Unknown => "unknown",
        },
        "powerInferred": machine.power.inferred(),
        "phase": machine.phase.as_str(),
        "since": time(machine.since_ms),
        "why": machine.why,
        "message": *machine.message,
        "by": machine.by,
        "ready": machine.ready,
        "provenAt": machine.proven_at_ms.map(time),
        "quarantinedUntil": machine.quarantined_until_ms.map(time),
        "wakeArmed": machine.wake_armed.as_ref().map(|cards| !cards.is_empty()),
        "fault": machine.fault,
    })
}

fn agents(view: &View, pages: &Pages) -> Map<String, Value> {
    view.agents
        .iter()
        .map(|(id, agent)| (id.to_string(), agent_value(id, agent, pages)))
        .collect()
}

fn agent_value(id: &AgentId, agent: &AgentView, pages: &Pages) -> Value {
    let reading = pages.readings.of(id);
    json!({
        "live": agent.live,
        "publicKey": agent.key.as_deref(),
        "segments": agent.info.as_ref().map_or(&[][..], |info| &info.segments),
        "credentials": agent.info.as_ref().and_then(|info| info.credentials.as_ref()),
        "macs": agent.info.as_ref().map_or(&[][..], |info| &info.macs),
        "bootID": agent.boot_id.as_deref(),
        "clockAheadS": reading.as_ref().and_then(|reading| reading.clock_ahead_s),
        "sensors": reading,
    })
}

/// Empty where the time is out of range; nothing stored can be.
fn time(wall_ms: i64) -> String {
    DateTime::from_timestamp_millis(wall_ms)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        .unwrap_or_default()
}
