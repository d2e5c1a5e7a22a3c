//! What people declare, as the core reads it.
//!
//! In: a Group or a Node whose form the API server (or the reader of the lab's files) has checked.
//! Out: [`GroupSpec`] and [`MachineSpec`] with every default filled in, and what is to be said of each Node beside the others.

use std::{collections::BTreeMap, fmt, time::Duration};

use coordinator_core as core;
use coordinator_core::{
    AgentId, Concern, Concerns, Declared, GroupId, GroupSpec, MachineId, MachineSpec,
};
use coordinator_crds as crds;
use crds::{
    Quantity,
    group::{GPU_LABEL, TaintEffect},
    relations::{self, Relation},
};

use super::energy::energy;

/// The one resource that every cluster-autoscaler takes for a GPU. Nodes with others get the label only where it is declared: an
/// autoscaler that does not know the resource would never take them as ready.
const GPU: &str = "nvidia.com/gpu";
/// What the label says where its value was not declared.
const GPU_OF_UNKNOWN_KIND: &str = "nvidia";

/// The namespace of a document that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Where the coordinator runs; it decides what joining means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a cluster: machines join by kubelet unless they say otherwise.
    Cluster,
    /// Without Kubernetes: machines join by their agent.
    Standalone,
}

/// What is wrong with a declaration although its form is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// One stable word, such as `DuplicateMAC`: the reason of conditions and events.
    pub reason: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Fault {
    /// The reason of a fault that is none of the declaration: somebody else holds the machine's lock for the time being.
    pub const LOCKED: &'static str = "Locked";
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

/// What is to be said of a Node beside other objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Because of this it is left alone.
    pub fault: Option<Fault>,
    /// This should be mended, but nothing is stopped by it.
    pub concerns: Concerns,
}

/// What is to be said of Nodes, by namespace and name; nothing of those that are sound. Of several faults the first counts.
#[must_use]
pub fn judge(
    groups: &[crds::Group],
    nodes: &[crds::Node],
) -> BTreeMap<(String, String), Judgement> {
    let mut judged: BTreeMap<(String, String), Judgement> = BTreeMap::new();
    for broken in relations::broken(groups, nodes) {
        let message = format!("{}: {}", broken.field, broken.what);
        let node = judged.entry((broken.namespace, broken.name)).or_default();
        match concern(broken.relation) {
            Some(concern) => {
                node.concerns.insert(concern, message);
            }
            None => {
                node.fault.get_or_insert_with(|| Fault {
                    reason: broken.relation.reason(),
                    message,
                });
            }
        }
    }
    judged
}

/// The concern that a relation is, where it is no fault.
fn concern(relation: Relation) -> Option<Concern> {
    match relation {
        Relation::BootBelowProvisionTime => Some(Concern::BootAboveProvisionTime),
        Relation::GroupExists
        | Relation::UniqueName
        | Relation::UniqueMac
        | Relation::UniqueNodeName
        | Relation::UniqueAgent
        | Relation::UniqueProviderId => None,
    }
}

/// The id of a group, `<namespace>/<name>`.
#[must_use]
pub fn group_id(namespace: Option<&str>, name: &str) -> GroupId {
    GroupId::new(&format!(
        "{}/{name}",
        namespace.unwrap_or(DEFAULT_NAMESPACE)
    ))
}

/// The id of a machine: its Node resource's name.
#[must_use]
pub fn machine_id(node: &crds::Node) -> MachineId {
    MachineId::new(node.metadata.name.as_deref().unwrap_or_default())
}

/// A group as declared.
#[must_use]
pub fn group_spec(group: &crds::Group) -> GroupSpec {
    let spec = &group.spec;
    let (energy, mut concerns) = energy(spec.energy.as_ref());
    concerns.extend(spec.scale_down.as_ref().and_then(too_short));
    GroupSpec {
        id: group_id(
            group.metadata.namespace.as_deref(),
            group.metadata.name.as_deref().unwrap_or_default(),
        ),
        mode: match spec.mode {
            crds::group::Mode::Autoscaler => core::Mode::Autoscaler,
            crds::group::Mode::Manual => core::Mode::Manual {
                target: spec.target_size.unwrap_or(spec.min_size),
            },
        },
        min_size: spec.min_size,
        max_size: spec.max_size,
        node_object_policy: match spec.node_object_policy {
            crds::group::NodeObjectPolicy::Delete => core::NodeObjectPolicy::Delete,
            crds::group::NodeObjectPolicy::Retain => core::NodeObjectPolicy::Retain,
        },
        local_volume_policy: match spec.local_volume_policy {
            crds::group::LocalVolumePolicy::Protect => core::LocalVolumePolicy::Protect,
            crds::group::LocalVolumePolicy::Ignore => core::LocalVolumePolicy::Ignore,
        },
        declared: declared(spec),
        scale_down: spec.scale_down.as_ref().and_then(scale_down),
        energy,
        require_proof: spec.require_proof,
        paused: spec.paused,
        concerns,
    }
}

/// A machine as declared. `judgement` is what is to be said of it beside other objects.
#[must_use]
pub fn machine_spec(node: &crds::Node, place: Place, judgement: Option<&Judgement>) -> MachineSpec {
    let spec = &node.spec;
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let namespace = node
        .metadata
        .namespace
        .as_deref()
        .unwrap_or(DEFAULT_NAMESPACE);
    MachineSpec {
        id: MachineId::new(name),
        namespace: namespace.into(),
        group: group_id(Some(namespace), &spec.group),
        node_name: spec.node_name.as_deref().unwrap_or(name).into(),
        agent: AgentId::new(spec.agent.as_deref().unwrap_or(name)),
        power: match spec.power {
            crds::node::PowerPolicy::Auto => core::PowerPolicy::Auto,
            crds::node::PowerPolicy::AlwaysOn => core::PowerPolicy::AlwaysOn,
            crds::node::PowerPolicy::AlwaysOff => core::PowerPolicy::AlwaysOff,
            crds::node::PowerPolicy::Unmanaged => core::PowerPolicy::Unmanaged,
        },
        joins: joins(spec.joins, place),
        wake: wake_methods(spec),
        stop: stop_methods(spec),
        force_off: match spec.force_off {
            crds::node::ForceOff::Never => core::ForceOff::Never,
            crds::node::ForceOff::AfterTimeout => core::ForceOff::AfterTimeout,
        },
        provider_id: spec.provider_id.clone(),
        wake_on_lan: spec.wake_on_lan.as_ref().map(wake_on_lan),
        redfish: spec.redfish.as_ref().map(|bmc| Box::new(redfish(bmc))),
        timeouts: core::Timeouts {
            boot_ms: ms(spec.timeouts.boot),
            drain_ms: ms(spec.timeouts.drain),
            stop_ms: ms(spec.timeouts.stop),
            off_hold_ms: ms(spec.timeouts.off_hold),
        },
        fault: judgement.and_then(|judged| Some(judged.fault.as_ref()?.to_string())),
        concerns: judgement
            .map(|judged| judged.concerns.clone())
            .unwrap_or_default(),
    }
}

fn joins(joins: crds::node::Joins, place: Place) -> core::Joins {
    match (place, joins) {
        (Place::Cluster, crds::node::Joins::Kubelet) => core::Joins::Kubelet,
        (Place::Cluster, crds::node::Joins::Agent) | (Place::Standalone, _) => core::Joins::Agent,
    }
}

/// The methods as declared, else redfish before wakeOnLAN; a method without its section is left out.
fn wake_methods(spec: &crds::NodeSpec) -> Vec<core::WakeMethod> {
    let preferred = [
        crds::node::WakeMethod::Redfish,
        crds::node::WakeMethod::WakeOnLan,
    ];
    spec.wake
        .as_deref()
        .unwrap_or(&preferred)
        .iter()
        .filter_map(|method| match method {
            crds::node::WakeMethod::Redfish => {
                spec.redfish.as_ref().map(|_| core::WakeMethod::Redfish)
            }
            crds::node::WakeMethod::WakeOnLan => spec
                .wake_on_lan
                .as_ref()
                .map(|_| core::WakeMethod::WakeOnLan),
        })
        .collect()
}

/// The methods as declared, else its agent before redfish; redfish needs its section.
fn stop_methods(spec: &crds::NodeSpec) -> Vec<core::StopMethod> {
    let preferred = [
        crds::node::StopMethod::Agent,
        crds::node::StopMethod::Redfish,
    ];
    spec.stop
        .as_deref()
        .unwrap_or(&preferred)
        .iter()
        .filter_map(|method| match method {
            crds::node::StopMethod::Agent => Some(core::StopMethod::Agent),
            crds::node::StopMethod::Redfish => {
                spec.redfish.as_ref().map(|_| core::StopMethod::Redfish)
            }
        })
        .collect()
}

fn wake_on_lan(declared: &crds::node::WakeOnLan) -> core::WakeOnLan {
    core::WakeOnLan {
        mac: declared.mac.to_ascii_lowercase().replace('-', ":"),
        segment: declared.segment.clone(),
        ports: declared.ports.clone(),
        broadcast: declared.broadcast.map(|address| address.to_string()),
        secure_on: declared
            .secure_on
            .as_ref()
            .map(|tail| tail.to_ascii_lowercase().replace('-', ":")),
    }
}

fn redfish(declared: &crds::node::Redfish) -> core::Redfish {
    core::Redfish {
        address: declared.address.trim_end_matches('/').to_owned(),
        credentials: declared.credentials.clone(),
        system: declared.system.clone(),
        fingerprint: declared.fingerprint.clone(),
        ca: declared.ca.clone(),
    }
}

fn declared(spec: &crds::GroupSpec) -> Declared {
    let Some(template) = &spec.template else {
        return Declared::default();
    };
    let mut labels = template.labels.clone();
    let capacity = amounts(&template.capacity);
    let has_gpus = capacity.get(GPU).is_some_and(|gpus| core::amount(gpus) > 0);
    // Its driver shows a GPU long after the Node is Ready. Without the label the autoscaler takes such a Node for one without GPU
    // and wakes another machine for the same pod. On a Node that it does not manage it would end every scale-up meanwhile.
    if has_gpus && spec.mode == crds::group::Mode::Autoscaler {
        labels
            .entry(GPU_LABEL.to_owned())
            .or_insert_with(|| GPU_OF_UNKNOWN_KIND.to_owned());
    }
    Declared {
        labels,
        taints: taints(&template.taints),
        capacity,
    }
}

/// The options that a group sets for itself, if there is any: an answer with none still takes the autoscaler's start-up time away.
fn scale_down(declared: &crds::group::ScaleDown) -> Option<core::ScaleDown> {
    let options = core::ScaleDown {
        utilization_threshold: declared
            .utilization_threshold
            .map(crds::Threshold::fraction),
        gpu_utilization_threshold: declared
            .gpu_utilization_threshold
            .map(crds::Threshold::fraction),
        unneeded_ms: declared.unneeded_duration.map(ms),
        unready_ms: declared.unready_time().map(ms),
        max_provision_ms: declared.provision_time().map(ms),
    };
    (options != core::ScaleDown::default()).then_some(options)
}

/// What to say of options that are left out.
fn too_short(declared: &crds::group::ScaleDown) -> Option<(Concern, String)> {
    let written = declared.too_short();
    let written: Vec<String> = written
        .into_iter()
        .map(|(field, wait)| {
            let wait = crds::duration::text(wait);
            format!("spec.scaleDown.{field}: Invalid value: {wait:?}")
        })
        .collect();
    let message = format!(
        "{}: with that the cluster-autoscaler would give machines back that still boot, so it is left out, as if it were not \
         written; write more than timeouts.boot, or remove it",
        written.join(", ")
    );
    (!written.is_empty()).then_some((Concern::ScaleDownTooShort, message))
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn amounts(written: &BTreeMap<String, Quantity>) -> BTreeMap<String, String> {
    written
        .iter()
        .map(|(name, amount)| (name.clone(), amount.0.clone()))
        .collect()
}

pub(super) fn taints(written: &[crds::group::Taint]) -> Vec<core::Taint> {
    written
        .iter()
        .map(|taint| core::Taint {
            key: taint.key.clone(),
            value: taint.value.clone().unwrap_or_default(),
            effect: match taint.effect {
                TaintEffect::NoSchedule => "NoSchedule",
                TaintEffect::PreferNoSchedule => "PreferNoSchedule",
                TaintEffect::NoExecute => "NoExecute",
            }
            .to_owned(),
        })
        .collect()
}
