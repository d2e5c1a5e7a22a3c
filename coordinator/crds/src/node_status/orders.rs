//! Orders and requests about a machine: what is under way, what stands, and what people ask for.
//!
//! Holds: an operation is stored before its first command is sent, so a restart finds it; tokens are compared by epoch, then by seq.

#![allow(
    unreachable_pub,
    reason = "KubeSchema derives a public copy of each struct inside a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Time, node::PowerPolicy};

/// One power operation, stored before its first command is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// ULID of the operation.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// What it is for.
    pub kind: OperationKind,
    /// Fencing token it holds.
    pub token: Token,
    /// Step it has reached, one word.
    #[schemars(length(max = 64))]
    pub step: String,
    /// When it began.
    pub started_at: Time,
    /// Who asked and for what: cluster-autoscaler IncreaseSize(1), a person, minSize.
    #[schemars(length(max = 256))]
    pub by: String,
    /// When it is given up, for people to read; the coordinator's own deadline runs on its boot clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Boot id of the machine when the operation began; a stop is meant for this boot only.
    #[serde(default, rename = "bootID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub boot_id: Option<String>,
    /// Since when a command of it may have left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_at: Option<Time>,
    /// A stop only: the machine itself has said, signed, that it is going down.
    #[serde(default)]
    pub going_down: bool,
}

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationKind {
    /// Make it run.
    Wake,
    /// Shut it down.
    Stop,
}

/// Fencing token, compared by epoch and then by seq.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema,
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.epoch > oldSelf.epoch || (self.epoch == oldSelf.epoch && self.seq >= oldSelf.seq)")
        .message("token cannot decrease: a later leader has already written")
)]
pub struct Token {
    /// Count of leaders (or starts) so far.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub epoch: u64,
    /// Count within the epoch.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub seq: u64,
}

/// The order that makes absence from the wish an order: only machines named here are stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderedOff {
    /// Who ordered it and by what: cluster-autoscaler DeleteNodes(1), a person.
    #[schemars(length(max = 256))]
    pub by: String,
    /// Id of the order.
    #[schemars(length(max = 64))]
    pub id: String,
    /// When.
    pub at: Time,
    /// Wake it again once it is off: a proof that it can be woken.
    #[serde(default)]
    pub then_wake: bool,
}

/// A person's override of `spec.power`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// The policy in force until then.
    pub power: PowerPolicy,
    /// When it ends; absent = with the next request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Who.
    #[schemars(length(max = 256))]
    pub by: String,
}

/// A person's request, written by homelabctl and taken by the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// Made by the writer; a request is taken once.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// What is asked for.
    pub verb: AskVerb,
    /// For PowerOn and PowerOff: how long it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Who asks.
    #[schemars(length(max = 256))]
    pub by: String,
}

/// What a person can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AskVerb {
    /// Make it run.
    PowerOn,
    /// Shut it down.
    PowerOff,
    /// End the quarantine and try again.
    Retry,
    /// A person looked: it is off.
    ConfirmOff,
    /// Stop it once and wake it once.
    Prove,
    /// Take an override back.
    Release,
}
