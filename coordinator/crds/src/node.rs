//! The machine as people write it: how it wakes, how it stops, and whose it is.
//!
//! Holds: `group` and a way to wake it are all that is needed; a machine that is never stopped needs no way to wake it.
//! Not here: passwords. They live on the relay, bound to hosts; a Node names them.

#![allow(
    unreachable_pub,
    reason = "KubeSchema derives a public copy of each struct inside a function"
)]

use std::{net::Ipv4Addr, time::Duration};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{NodeStatus, bounds, duration, rules};

/// One machine.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "homelab-autoscaler.dev",
    version = "v1alpha1",
    kind = "Node",
    plural = "homelabnodes",
    singular = "homelabnode",
    shortname = "hn",
    category = "homelab",
    namespaced,
    status = "NodeStatus",
    derive = "PartialEq",
    validation = rules::NAME,
    doc = "One machine: how it wakes, how it stops, and which group it belongs to.",
    printcolumn = r#"{"name": "Group", "type": "string", "jsonPath": ".spec.group", "description": "Its group"}"#,
    printcolumn = r#"{"name": "Wanted", "type": "string", "jsonPath": ".status.wanted", "description": "The wish in force"}"#,
    printcolumn = r#"{"name": "Power", "type": "string", "jsonPath": ".status.power.shown", "description": "Observed power; ? = inferred"}"#,
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase", "description": "Where it stands"}"#,
    printcolumn = r#"{"name": "Since", "type": "date", "jsonPath": ".status.since", "description": "Time in this phase"}"#,
    printcolumn = r#"{"name": "Why", "type": "string", "jsonPath": ".status.why", "description": "Why it stands there"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::NEEDS_A_WAY_TO_WAKE,
    validation = rules::WAKE_IS_DECLARED,
    validation = rules::STOP_IS_DECLARED
)]
pub struct NodeSpec {
    /// Name of its Group, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::GROUP_NAME)]
    pub group: String,
    /// Name of its core Node. Unset: the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::NODE_NAME)]
    pub node_name: Option<String>,
    /// Id of the agent on it. Unset: the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::AGENT_ID)]
    pub agent: Option<String>,
    /// Who may change its power: Auto (the group), AlwaysOn, AlwaysOff, or Unmanaged (nobody).
    #[serde(default)]
    pub power: PowerPolicy,
    /// Ways to wake it, tried in this order. Unset: those that are declared, redfish first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(validation = rules::WAKE_ONCE)]
    pub wake: Option<Vec<WakeMethod>>,
    /// Ways to stop it, tried in this order. Unset: its agent if it was ever seen, then redfish (graceful).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(validation = rules::STOP_ONCE)]
    pub stop: Option<Vec<StopMethod>>,
    /// Whether power may be cut when a shutdown does not end: Never, or AfterTimeout (timeouts.stop).
    #[serde(default)]
    pub force_off: ForceOff,
    /// Provider id of its core Node. Unset: after the scheme of the cluster's other Nodes.
    #[serde(
        default,
        rename = "providerID",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::PROVIDER_ID)]
    pub provider_id: Option<String>,
    /// What proves that it has come up: its Kubelet, or its Agent alone (a NAS, say). Without Kubernetes it is always the agent.
    #[serde(default)]
    pub joins: Joins,
    /// How long each step may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How to wake it by magic packet.
    #[serde(default, rename = "wakeOnLAN", skip_serializing_if = "Option::is_none")]
    pub wake_on_lan: Option<WakeOnLan>,
    /// How to reach its BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish: Option<Redfish>,
}

/// Who may change a machine's power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PowerPolicy {
    /// Its group: the autoscaler, or targetSize.
    #[default]
    Auto,
    /// It shall always run.
    AlwaysOn,
    /// It shall never run.
    AlwaysOff,
    /// Nobody; it is only watched.
    Unmanaged,
}

/// Ways to wake a machine.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum WakeMethod {
    /// Ask the BMC.
    Redfish,
    /// Send magic packets.
    #[serde(rename = "wakeOnLAN")]
    WakeOnLan,
}

/// Ways to stop a machine in an orderly manner.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum StopMethod {
    /// Its agent shuts the host down.
    Agent,
    /// The BMC presses the button (GracefulShutdown).
    Redfish,
}

/// Whether power may be cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForceOff {
    /// Not by us.
    #[default]
    Never,
    /// When a shutdown has not ended within timeouts.stop.
    AfterTimeout,
}

/// What proves that a machine has come up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Joins {
    /// Its core Node is Ready.
    #[default]
    Kubelet,
    /// Its agent is heard.
    Agent,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the first wake command to joining, at most: a machine whose past boots (status.wake.bootSeconds) were faster is told
    /// as failed earlier. Keep it below the autoscaler's provision time (15m).
    #[serde(default = "default_boot", with = "duration")]
    #[schemars(schema_with = "bounds::duration")]
    #[x_kube(validation = rules::BOOT)]
    pub boot: Duration,
    /// How long pods may take to leave before a stop of our own (not the autoscaler's) is told as blocked. Nothing is evicted by
    /// force after it.
    #[serde(default = "default_drain", with = "duration")]
    #[schemars(schema_with = "bounds::duration")]
    #[x_kube(validation = rules::DRAIN)]
    pub drain: Duration,
    /// From the stop command to confirmed power-off.
    #[serde(default = "default_stop", with = "duration")]
    #[schemars(schema_with = "bounds::duration")]
    #[x_kube(validation = rules::STOP)]
    pub stop: Duration,
    /// Silence after our own stop command that counts as off where nothing can measure power.
    #[serde(default = "default_off_hold", with = "duration")]
    #[schemars(schema_with = "bounds::duration")]
    #[x_kube(validation = rules::OFF_HOLD)]
    pub off_hold: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            boot: default_boot(),
            drain: default_drain(),
            stop: default_stop(),
            off_hold: default_off_hold(),
        }
    }
}

/// Long enough for a server's POST, short of the autoscaler's 15 minutes.
fn default_boot() -> Duration {
    Duration::from_secs(600)
}

/// Longer than pods are commonly given to end, one after the other.
fn default_drain() -> Duration {
    Duration::from_secs(600)
}

/// What a host with many services takes to shut down.
fn default_stop() -> Duration {
    Duration::from_secs(300)
}

/// Several missed heartbeats and a missed Lease.
fn default_off_hold() -> Duration {
    Duration::from_secs(60)
}

/// How to wake a machine by magic packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WakeOnLan {
    /// Hardware address of the card that listens, six pairs with colons or dashes.
    #[schemars(length(max = 17))]
    #[x_kube(validation = rules::MAC_FORM, validation = rules::MAC_UNICAST)]
    pub mac: String,
    /// LAN it hangs on; any relay that serves this segment can wake it.
    #[serde(default = "default_segment")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::SEGMENT)]
    pub segment: String,
    /// UDP ports the packets go to.
    #[serde(default = "default_ports")]
    #[schemars(length(min = 1, max = 4), inner(range(min = 1, max = 65535)))]
    #[x_kube(validation = rules::PORTS_ONCE)]
    pub ports: Vec<u16>,
    /// IPv4 address the packets go to, instead of the relay's own broadcast addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 15))]
    #[x_kube(validation = rules::BROADCAST)]
    pub broadcast: Option<Ipv4Addr>,
    /// SecureOn tail of 4 or 6 bytes in pairs with colons or dashes. It travels in the clear, so it is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 17))]
    #[x_kube(validation = rules::SECURE_ON)]
    pub secure_on: Option<String>,
}

/// Segment of a lab with one LAN.
fn default_segment() -> String {
    "default".to_owned()
}

/// Discard and echo, what every card listens for.
fn default_ports() -> Vec<u16> {
    vec![9, 7]
}

/// How to reach a machine's BMC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::ONE_TRUST)]
pub struct Redfish {
    /// Address of the BMC, https://host or https://host:port (http only to this host itself).
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules::ADDRESS)]
    pub address: String,
    /// Name of the credentials on the relay; r720 stands for r720.username, r720.password and r720.hosts.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::CREDENTIALS)]
    pub credentials: String,
    /// Id of the system, if the BMC has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub system: Option<String>,
    /// SHA-256 of the BMC's certificate, trusted instead of the system's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 102))]
    #[x_kube(validation = rules::FINGERPRINT)]
    pub fingerprint: Option<String>,
    /// Name of a CA on the relay, trusted instead of the system's roots; lab stands for lab.pem beside the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::CA)]
    pub ca: Option<String>,
}
