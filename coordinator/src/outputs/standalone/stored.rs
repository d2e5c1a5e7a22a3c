//! The stored form of records: JSON text, one value for each group and machine.
//!
//! In: the core's records. Out: JSON, and the records again.
//! Holds: every value carries the version of its form; fields that a newer build added are skipped, a newer form is refused.
//! Not here: transactions (`store`), which field becomes which (`fields`), and the custom resources (`documents`).

use std::collections::BTreeMap;

use coordinator_core::{GroupRecord, MachineRecord};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

mod fields;

/// The form that this build writes, and the newest it reads.
const FORM: u32 = 1;

/// Why a stored value cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadValue {
    /// It is not the JSON that belongs there.
    #[error("its value cannot be read")]
    Malformed(#[source] serde_json::Error),
    /// A newer build wrote it.
    #[error("a newer homelab-coordinator wrote it (form {found}, this one reads up to {FORM})")]
    Newer {
        /// The form it has.
        found: u32,
    },
}

/// A group's record as JSON.
pub(super) fn group_text(record: &GroupRecord) -> String {
    text(StoredGroup::from(record.clone()))
}

/// A group's record from JSON.
pub(super) fn group(json: &str) -> Result<GroupRecord, ReadValue> {
    read::<StoredGroup>(json).map(GroupRecord::from)
}

/// A machine's record as JSON.
pub(super) fn machine_text(record: &MachineRecord) -> String {
    text(StoredMachine::from(record.clone()))
}

/// A machine's record from JSON.
pub(super) fn machine(json: &str) -> Result<MachineRecord, ReadValue> {
    read::<StoredMachine>(json).map(MachineRecord::from)
}

/// A value with the version of its form around it.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    value: T,
}

/// Reads the version alone, before anything else of the value is trusted.
#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

fn text<T: Serialize>(value: T) -> String {
    // Strings, numbers and maps with string keys: serde_json refuses none of them.
    serde_json::to_string(&Versioned { v: FORM, value })
        .expect("records hold nothing that JSON cannot say")
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, ReadValue> {
    let version: VersionOnly = serde_json::from_str(json).map_err(ReadValue::Malformed)?;
    if version.v > FORM {
        return Err(ReadValue::Newer { found: version.v });
    }
    let read: Versioned<T> = serde_json::from_str(json).map_err(ReadValue::Malformed)?;
    Ok(read.value)
}

#[derive(Serialize, Deserialize)]
struct StoredGroup {
    wanted: Vec<String>,
    sequence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_increase: Option<StoredIncrease>,
}

#[derive(Serialize, Deserialize)]
struct StoredIncrease {
    delta: i32,
    at_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct StoredMachine {
    token: StoredToken,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<StoredOperation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<StoredOrder>,
    #[serde(default)]
    power: StoredPower,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proven_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    boots_s: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_off_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outage: Option<StoredOutage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quarantine: Option<StoredQuarantine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider_id: Option<String>,
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    override_: Option<StoredOverride>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    learned: Option<StoredLearned>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_backup: Option<StoredBackup>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_ask: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredToken {
    epoch: u32,
    seq: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredOperation {
    id: String,
    kind: StoredKind,
    token: StoredToken,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot_id: Option<String>,
    started_at_ms: i64,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ordered_at_ms: Option<i64>,
    #[serde(default)]
    going_down: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredKind {
    Wake,
    Stop,
}

#[derive(Serialize, Deserialize)]
struct StoredOrder {
    id: String,
    by: String,
    at_ms: i64,
    #[serde(default)]
    then_wake: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct StoredPower {
    state: StoredState,
    /// Concluded or told rather than seen; without a witness, concluded from silence.
    #[serde(default)]
    inferred: bool,
    since_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    witness: Option<StoredWitness>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredWitness {
    Bmc,
    Agent,
    Kubelet,
    Person,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredState {
    Running,
    Off,
    #[default]
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum StoredOutage {
    PowerCut { until_ms: i64 },
    SwitchedOff,
}

#[derive(Serialize, Deserialize)]
struct StoredQuarantine {
    until_ms: i64,
    failures: u32,
    reason: String,
    #[serde(default)]
    message: String,
}

#[derive(Serialize, Deserialize)]
struct StoredOverride {
    power: StoredWish,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_ms: Option<i64>,
    by: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredWish {
    Running,
    Off,
}

#[derive(Serialize, Deserialize)]
struct StoredLearned {
    capacity: BTreeMap<String, String>,
    allocatable: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    taints: Vec<StoredTaint>,
    at_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct StoredBackup {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    taints: Vec<StoredTaint>,
    #[serde(default)]
    cordoned: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredTaint {
    key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    value: String,
    effect: String,
}

#[cfg(test)]
mod tests;
