//! What is stored of groups and machines, in and out of the status of their custom resources.
//!
//! Holds: an absent status reads as the default record, which means "adopt what is observed".
//! Holds: fields of the status that are nobody's business here (`agent`, conditions) stay as they are, and so does an `ask`
//! that has not been taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator_core as core;
use coordinator_core::{GroupRecord, MachineId, MachineRecord};
use coordinator_crds as crds;
use crds::{GroupStatus, NodeStatus, Quantity, node_status as stored, time::unix_ms};

use super::{
    shown_power,
    specs::{amounts, taints},
    whole_second,
};

/// Longest lists and texts that the schema of Node takes; what is longer is cut, because a status that is refused
/// would stop the machine for good.
const MAX_LABELS: usize = 64;
const MAX_AMOUNTS: usize = 32;
const MAX_TAINTS: usize = 32;
const MAX_ANNOTATION: usize = 8192;
const MAX_NAME: usize = 256;
const MAX_MESSAGE: usize = 1024;

/// The stored wish for a group.
#[must_use]
pub fn group_record(status: Option<&GroupStatus>) -> GroupRecord {
    let Some(wanted) = status.and_then(|status| status.wanted.as_ref()) else {
        return GroupRecord::default();
    };
    GroupRecord {
        wanted: wanted
            .machines
            .iter()
            .map(|name| MachineId::new(name))
            .collect(),
        sequence: u64::try_from(wanted.sequence).unwrap_or(0),
        last_increase: wanted.last_increase.as_ref().map(|last| core::Increase {
            delta: last.delta,
            at_ms: unix_ms(&last.at),
        }),
    }
}

/// A wish as it is stored.
#[must_use]
pub fn wanted(record: &GroupRecord) -> crds::group_status::Wanted {
    crds::group_status::Wanted {
        sequence: i64::try_from(record.sequence).unwrap_or(i64::MAX),
        machines: record.wanted.iter().map(ToString::to_string).collect(),
        last_increase: record
            .last_increase
            .as_ref()
            .map(|last| crds::group_status::LastIncrease {
                delta: last.delta,
                at: whole_second(last.at_ms),
            }),
    }
}

/// What is stored of a machine.
#[must_use]
pub fn machine_record(status: Option<&NodeStatus>) -> MachineRecord {
    let Some(status) = status else {
        return MachineRecord::default();
    };
    MachineRecord {
        token: status.token.map(token).unwrap_or_default(),
        operation: status
            .operation
            .as_ref()
            .map(|kept| Box::new(operation(kept))),
        order: status.ordered_off.as_ref().map(|order| {
            Box::new(core::OffOrder {
                id: order.id.clone(),
                by: order.by.clone(),
                at_ms: unix_ms(&order.at),
                then_wake: order.then_wake,
            })
        }),
        power: status.power.as_ref().map(power).unwrap_or_default(),
        boot_id: status.boot_id.as_deref().map(Into::into),
        proven_at_ms: status
            .wake
            .as_ref()
            .and_then(|wake| wake.proven_at.as_ref())
            .map(unix_ms),
        boots_s: status
            .wake
            .as_ref()
            .map(|wake| wake.boot_seconds.clone())
            .unwrap_or_default(),
        last_off_at_ms: status.last_off_at.as_ref().map(unix_ms),
        outage: status.outage.as_ref().map(outage),
        quarantine: status.quarantine.as_ref().map(|kept| {
            Box::new(core::Quarantine {
                until_ms: unix_ms(&kept.until),
                failures: kept.count,
                reason: kept.reason.clone(),
                message: kept.message.clone(),
            })
        }),
        provider_id: status.provider_id.clone(),
        override_: status.override_.as_ref().and_then(override_).map(Box::new),
        learned: status.template.as_ref().map(|template| {
            Box::new(core::Learned {
                capacity: Arc::new(amounts(&template.capacity)),
                allocatable: Arc::new(amounts(&template.allocatable)),
                labels: Arc::new(template.labels.clone()),
                taints: taints(&template.taints),
                at_ms: unix_ms(&template.at),
            })
        }),
        node_backup: status.node_backup.as_ref().map(|backup| {
            Box::new(core::NodeBackup {
                labels: Arc::new(backup.labels.clone()),
                annotations: backup.annotations.clone(),
                taints: taints(&backup.taints),
                cordoned: backup.unschedulable,
            })
        }),
        last_ask: status.last_ask_id.clone(),
    }
}

/// Writes a record into a status. An `ask` that the record shows as taken goes away.
pub fn store_machine(record: &MachineRecord, status: &mut NodeStatus) {
    let stored_token = (record.token != core::Token::default()).then(|| token_out(record.token));
    // A token may be raised, never taken away: agents remember the highest one.
    status.token = stored_token.or(status.token);
    status.operation = record.operation.as_deref().map(operation_out);
    status.ordered_off = record.order.as_ref().map(|order| stored::OrderedOff {
        by: cut(&order.by, MAX_NAME),
        id: order.id.clone(),
        at: whole_second(order.at_ms),
        then_wake: order.then_wake,
    });
    status.power = power_out(&record.power);
    status.boot_id = record.boot_id.as_deref().map(Into::into);
    let wake = stored::WakeRecord {
        proven_at: record.proven_at_ms.map(whole_second),
        boot_seconds: record.boots_s.clone(),
    };
    status.wake = (wake != stored::WakeRecord::default()).then_some(wake);
    status.last_off_at = record.last_off_at_ms.map(whole_second);
    status.outage = record.outage.map(outage_out);
    status.quarantine = record.quarantine.as_ref().map(|kept| stored::Quarantine {
        until: whole_second(kept.until_ms),
        count: kept.failures,
        reason: cut(&kept.reason, 128),
        message: cut(&kept.message, MAX_MESSAGE),
    });
    status.provider_id.clone_from(&record.provider_id);
    status.override_ = record.override_.as_ref().map(|held| stored::Override {
        power: match held.power {
            core::OverridePower::Running => crds::node::PowerPolicy::AlwaysOn,
            core::OverridePower::Off => crds::node::PowerPolicy::AlwaysOff,
        },
        until: held.until_ms.map(whole_second),
        by: cut(&held.by, MAX_NAME),
    });
    status.template = record.learned.as_deref().map(learned_out);
    status.node_backup = record
        .node_backup
        .as_ref()
        .map(|backup| backup_out(backup, record));
    status.last_ask_id.clone_from(&record.last_ask);
    if status.ask.as_ref().map(|ask| &ask.id) == record.last_ask.as_ref() {
        status.ask = None;
    }
}

/// A person's request in a status, unless it was already taken.
#[must_use]
pub fn ask(machine: &MachineId, status: &NodeStatus) -> Option<core::Request> {
    let ask = status.ask.as_ref()?;
    if status.last_ask_id.as_ref() == Some(&ask.id) {
        return None;
    }
    let until_ms = ask.until.as_ref().map(unix_ms);
    let power = |power| core::Ask::Power { power, until_ms };
    Some(core::Request::Ask {
        machine: machine.clone(),
        id: ask.id.clone(),
        ask: match ask.verb {
            stored::AskVerb::PowerOn => power(core::OverridePower::Running),
            stored::AskVerb::PowerOff => power(core::OverridePower::Off),
            stored::AskVerb::Release => core::Ask::Release,
            stored::AskVerb::Retry => core::Ask::Retry,
            stored::AskVerb::ConfirmOff => core::Ask::ConfirmOff,
            stored::AskVerb::Prove => core::Ask::Prove,
        },
        by: ask.by.clone(),
    })
}

/// The result key that a machine's agent was first seen with.
#[must_use]
pub fn pinned_key(status: Option<&NodeStatus>) -> Option<&str> {
    status?.agent.as_ref()?.public_key.as_deref()
}

fn token(stored: stored::Token) -> core::Token {
    // Larger numbers than 32 bits cannot have been written by us; the largest keeps the order.
    core::Token {
        epoch: u32::try_from(stored.epoch).unwrap_or(u32::MAX),
        seq: u32::try_from(stored.seq).unwrap_or(u32::MAX),
    }
}

fn token_out(token: core::Token) -> stored::Token {
    stored::Token {
        epoch: u64::from(token.epoch),
        seq: u64::from(token.seq),
    }
}

fn operation(stored: &stored::Operation) -> core::Operation {
    core::Operation {
        id: stored.id.clone(),
        kind: match stored.kind {
            stored::OperationKind::Wake => core::OperationKind::Wake,
            stored::OperationKind::Stop => core::OperationKind::Stop,
        },
        token: token(stored.token),
        boot_id: stored.boot_id.as_deref().map(Into::into),
        started_at_ms: unix_ms(&stored.started_at),
        by: stored.by.clone(),
        ordered_at_ms: stored.ordered_at.as_ref().map(unix_ms),
        going_down: stored.going_down,
    }
}

fn operation_out(operation: &core::Operation) -> stored::Operation {
    let (kind, step) = match (operation.kind, operation.going_down) {
        (core::OperationKind::Wake, _) => (stored::OperationKind::Wake, "Waking"),
        (core::OperationKind::Stop, false) => (stored::OperationKind::Stop, "Stopping"),
        (core::OperationKind::Stop, true) => (stored::OperationKind::Stop, "GoingDown"),
    };
    stored::Operation {
        id: operation.id.clone(),
        kind,
        token: token_out(operation.token),
        step: step.to_owned(),
        started_at: whole_second(operation.started_at_ms),
        by: cut(&operation.by, MAX_NAME),
        deadline: None,
        boot_id: operation.boot_id.as_deref().map(Into::into),
        ordered_at: operation.ordered_at_ms.map(whole_second),
        going_down: operation.going_down,
    }
}

fn power(stored: &stored::ObservedPower) -> core::PowerRecord {
    core::PowerRecord {
        state: match stored.state {
            stored::PowerState::Running => core::PowerState::Running,
            stored::PowerState::Off => core::PowerState::Off,
            stored::PowerState::Unknown => core::PowerState::Unknown,
        },
        witness: witness(stored),
        since_ms: stored.since.as_ref().map(unix_ms).unwrap_or_default(),
    }
}

fn power_out(power: &core::PowerRecord) -> Option<stored::ObservedPower> {
    if *power == core::PowerRecord::default() {
        return None;
    }
    Some(stored::ObservedPower {
        state: match power.state {
            core::PowerState::Running => stored::PowerState::Running,
            core::PowerState::Off => stored::PowerState::Off,
            core::PowerState::Unknown => stored::PowerState::Unknown,
        },
        inferred: power.inferred(),
        shown: shown_power(power),
        since: (power.since_ms != 0).then(|| whole_second(power.since_ms)),
        source: power.witness.map_or("", source).to_owned(),
    })
}

fn source(witness: core::Witness) -> &'static str {
    match witness {
        core::Witness::Bmc => "bmc",
        core::Witness::Agent => "agent",
        core::Witness::Kubelet => "kubelet",
        core::Witness::Person => "person",
        core::Witness::Silence => "inferred",
    }
}

fn witness(stored: &stored::ObservedPower) -> Option<core::Witness> {
    match stored.source.as_str() {
        "bmc" => Some(core::Witness::Bmc),
        "agent" => Some(core::Witness::Agent),
        "kubelet" => Some(core::Witness::Kubelet),
        "person" => Some(core::Witness::Person),
        // A word of somebody else's still says whether it was seen.
        _ => stored.inferred.then_some(core::Witness::Silence),
    }
}

/// A power cut without an end has ended.
fn outage(stored: &stored::Outage) -> core::Outage {
    match stored.kind {
        stored::OutageKind::PowerCut => core::Outage::PowerCut {
            until_ms: stored.until.as_ref().map(unix_ms).unwrap_or_default(),
        },
        stored::OutageKind::SwitchedOff => core::Outage::SwitchedOff,
    }
}

fn outage_out(outage: core::Outage) -> stored::Outage {
    match outage {
        core::Outage::PowerCut { until_ms } => stored::Outage {
            kind: stored::OutageKind::PowerCut,
            until: Some(whole_second(until_ms)),
        },
        core::Outage::SwitchedOff => stored::Outage {
            kind: stored::OutageKind::SwitchedOff,
            until: None,
        },
    }
}

/// An override to a policy that names no direction overrides nothing.
fn override_(stored: &stored::Override) -> Option<core::Override> {
    let power = match stored.power {
        crds::node::PowerPolicy::AlwaysOn => core::OverridePower::Running,
        crds::node::PowerPolicy::AlwaysOff => core::OverridePower::Off,
        crds::node::PowerPolicy::Auto | crds::node::PowerPolicy::Unmanaged => return None,
    };
    Some(core::Override {
        power,
        until_ms: stored.until.as_ref().map(unix_ms),
        by: stored.by.clone(),
    })
}

fn learned_out(learned: &core::Learned) -> stored::LearnedTemplate {
    stored::LearnedTemplate {
        at: whole_second(learned.at_ms),
        capacity: amounts_out(&learned.capacity),
        allocatable: amounts_out(&learned.allocatable),
        labels: labels_out(&learned.labels),
        taints: taints_out(&learned.taints),
    }
}

fn backup_out(backup: &core::NodeBackup, record: &MachineRecord) -> stored::NodeBackup {
    // It is taken while the Node stands, so the Node's last sight dates it well enough for people.
    let at_ms = record
        .learned
        .as_ref()
        .map_or(record.power.since_ms, |learned| learned.at_ms);
    stored::NodeBackup {
        at: whole_second(at_ms),
        labels: labels_out(&backup.labels),
        annotations: backup
            .annotations
            .iter()
            .filter(|(_, value)| value.len() <= MAX_ANNOTATION)
            .take(MAX_LABELS)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        taints: taints_out(&backup.taints),
        unschedulable: backup.cordoned,
    }
}

/// Labels of feature discovery come by the hundred and return by themselves, so they are the first to go.
pub(super) fn labels_out(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let discovered = |key: &str| key.starts_with("feature.node.kubernetes.io/");
    let own = labels.iter().filter(|(key, _)| !discovered(key));
    let others = labels.iter().filter(|(key, _)| discovered(key));
    own.chain(others)
        .take(MAX_LABELS)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

pub(super) fn amounts_out(amounts: &BTreeMap<String, String>) -> BTreeMap<String, Quantity> {
    amounts
        .iter()
        .take(MAX_AMOUNTS)
        .map(|(name, amount)| (name.clone(), Quantity(amount.clone())))
        .collect()
}

pub(super) fn taints_out(taints: &[core::Taint]) -> Vec<crds::group::Taint> {
    taints
        .iter()
        .take(MAX_TAINTS)
        .filter_map(|taint| {
            // Kubernetes knows these three and refuses all others, so none is ever left out.
            let effect = match taint.effect.as_str() {
                "NoSchedule" => crds::group::TaintEffect::NoSchedule,
                "PreferNoSchedule" => crds::group::TaintEffect::PreferNoSchedule,
                "NoExecute" => crds::group::TaintEffect::NoExecute,
                _ => return None,
            };
            Some(crds::group::Taint {
                key: taint.key.clone(),
                value: (!taint.value.is_empty()).then(|| taint.value.clone()),
                effect,
            })
        })
        .collect()
}

/// At most `longest` characters, as the schema counts them.
pub(super) fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}
