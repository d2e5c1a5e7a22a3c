//! What people declare: groups and machines, as the core reads them.
//!
//! In: the edges convert the custom resources (or the lab's files) into these.
//! Holds: values are already validated and defaulted; the core trusts them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::concerns::Concerns;
use crate::facts::Taint;
use crate::ids::{AgentId, GroupId, MachineId};

/// A set of machines that scale together.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    /// `<namespace>/<name>`.
    pub id: GroupId,
    /// Who says how many machines run.
    pub mode: Mode,
    /// The coordinator itself keeps at least this many wanted.
    pub min_size: u32,
    /// Upper bound; absent means every usable member.
    pub max_size: Option<u32>,
    /// What becomes of the core Node of a machine that is off.
    pub node_object_policy: NodeObjectPolicy,
    /// What follows from volumes that exist on one machine alone.
    pub local_volume_policy: LocalVolumePolicy,
    /// What a new machine of this group is declared to bring.
    pub declared: Declared,
    /// Overrides of the autoscaler's scale-down options; `None` where nothing is overridden.
    pub scale_down: Option<ScaleDown>,
    /// What running one of its machines costs; `None` where nothing is declared, or nothing that makes sense.
    pub energy: Option<Arc<Energy>>,
    /// Only a machine that we have woken ourselves may be stopped by the autoscaler.
    pub require_proof: bool,
    /// No power is moved while true.
    pub paused: bool,
    /// What people should mend in the declaration although it stops nothing.
    pub concerns: Concerns,
}

/// Who decides the size of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The cluster-autoscaler.
    Autoscaler,
    /// A person, by `targetSize`.
    Manual {
        /// How many machines shall run.
        target: u32,
    },
}

/// What becomes of the core Node object of a machine that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeObjectPolicy {
    /// Deleted once power-off is confirmed.
    Delete,
    /// Kept with condition `Suspended=True`; needs cluster-autoscaler 1.36 or newer.
    Retain,
}

/// What follows for a machine from volumes that exist on it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalVolumePolicy {
    /// The cluster-autoscaler is told to leave it alone.
    Protect,
    /// Nothing.
    Ignore,
}

/// What the group declares of a machine that has never been seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Labels that Nodes of this group carry.
    pub labels: BTreeMap<String, String>,
    /// Taints that Nodes of this group carry.
    pub taints: Vec<Taint>,
    /// Resource quantities by name, as Kubernetes writes them.
    pub capacity: BTreeMap<String, String>,
}

/// Scale-down options of a group; absent fields keep the autoscaler's own defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScaleDown {
    /// Fraction of requested resources below which a Node is a candidate.
    pub utilization_threshold: Option<f64>,
    /// The same for Nodes with a GPU.
    pub gpu_utilization_threshold: Option<f64>,
    /// How long a Node must be unneeded, milliseconds.
    pub unneeded_ms: Option<u64>,
    /// How long an unready Node must be unneeded, milliseconds.
    pub unready_ms: Option<u64>,
    /// How long a machine may take to join, milliseconds.
    pub max_provision_ms: Option<u64>,
}

/// What a machine's electricity costs. It changes no decision here; the autoscaler asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Energy {
    /// What one machine draws while it works, watts.
    pub watts: u32,
    /// Price of a kilowatt-hour outside all windows, millionths of the currency.
    pub per_kwh_micros: u64,
    /// Name of the zone that the windows' times are read in.
    pub time_zone: String,
    /// Times with a price of their own; where several hold, the first counts.
    pub windows: Vec<PriceWindow>,
}

/// A time of the day with a price of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceWindow {
    /// Days on which it begins, from Monday.
    pub days: [bool; 7],
    /// When it begins, minutes since the day did.
    pub from_minute: u16,
    /// When it ends, minutes since the day began; below the beginning it is on the next day.
    pub to_minute: u16,
    /// Price of a kilowatt-hour in it, millionths of the currency.
    pub per_kwh_micros: u64,
}

/// One machine.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineSpec {
    /// The Node resource's name.
    pub id: MachineId,
    /// The Node resource's namespace.
    pub namespace: Arc<str>,
    /// The group it belongs to.
    pub group: GroupId,
    /// Name of its core Node.
    pub node_name: Arc<str>,
    /// Id of the agent that runs on it.
    pub agent: AgentId,
    /// How far the coordinator may go with it.
    pub power: PowerPolicy,
    /// How it joins, which is also what "running" means.
    pub joins: Joins,
    /// Ways to wake it, best first; only methods that are declared.
    pub wake: Vec<WakeMethod>,
    /// Ways to stop it, best first.
    pub stop: Vec<StopMethod>,
    /// Whether power may be cut when it does not stop by itself.
    pub force_off: ForceOff,
    /// A provider id that the user fixed.
    pub provider_id: Option<String>,
    /// Its Wake-on-LAN address.
    pub wake_on_lan: Option<WakeOnLan>,
    /// Its BMC.
    pub redfish: Option<Box<Redfish>>,
    /// Its time limits.
    pub timeouts: Timeouts,
    /// What is wrong with its declaration (duplicate MAC, unknown group…); such a machine is left alone.
    pub fault: Option<String>,
    /// What else people should mend in it; the machine is managed all the same.
    pub concerns: Concerns,
}

/// How far the coordinator may go with a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerPolicy {
    /// Woken and stopped as its group needs.
    Auto,
    /// Kept running, never stopped.
    AlwaysOn,
    /// Kept off, never woken.
    AlwaysOff,
    /// Only watched.
    Unmanaged,
}

/// How a machine joins the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joins {
    /// It runs a kubelet: running means its core Node is Ready.
    Kubelet,
    /// It runs our agent only: running means its agent's heartbeat is heard.
    Agent,
}

/// A way to switch a machine on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeMethod {
    /// Redfish `On` through a relay.
    Redfish,
    /// A magic packet from a relay on the machine's segment.
    WakeOnLan,
}

/// A way to stop a machine gracefully.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMethod {
    /// Its own agent shuts the host down.
    Agent,
    /// Redfish `GracefulShutdown` through a relay.
    Redfish,
}

/// Whether power may be cut when a machine does not stop by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForceOff {
    /// Never.
    Never,
    /// By Redfish `ForceOff` once the stop timeout is over.
    AfterTimeout,
}

/// Where a magic packet must go.
#[derive(Clone, PartialEq, Eq)]
pub struct WakeOnLan {
    /// Address in lower case with colons.
    pub mac: String,
    /// The segment whose relays can reach it.
    pub segment: String,
    /// UDP ports, in order.
    pub ports: Vec<u16>,
    /// Broadcast address instead of the relay's own choice.
    pub broadcast: Option<String>,
    /// SecureOn password.
    pub secure_on: Option<String>,
}

impl fmt::Debug for WakeOnLan {
    /// Without the password: actions are logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeOnLan")
            .field("mac", &self.mac)
            .field("segment", &self.segment)
            .field("ports", &self.ports)
            .field("broadcast", &self.broadcast)
            .field("secure_on", &self.secure_on.as_ref().map(|_| "…"))
            .finish()
    }
}

/// Where a BMC is and how to trust it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redfish {
    /// Base address, `https://…`.
    pub address: String,
    /// Name of the credentials on the relay.
    pub credentials: String,
    /// Which system behind the BMC; absent means the only one.
    pub system: Option<String>,
    /// SHA-256 of the certificate to trust.
    pub fingerprint: Option<String>,
    /// Name of the CA file on the relay.
    pub ca: Option<String>,
}

/// Time limits of a machine, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first wake command to running.
    pub boot_ms: u64,
    /// How long pods may take to leave before people are told; nothing is stopped by force after it.
    pub drain_ms: u64,
    /// From the stop command to a confirmed off.
    pub stop_ms: u64,
    /// How long everything must be silent before off is inferred.
    pub off_hold_ms: u64,
}
