//! `homelabctl explain`: why a machine is on, off, or not waking, on one screen.
//!
//! In: a Node with its status, its Group, its agent, its last Events. Out: text.
//! Holds: pure; nothing is concluded that the coordinator did not write, but for who is behind a wish and what to do next.
//! Not here: where it is read from (`source`).

use coordinator_crds::{
    Condition, ConditionStatus, Group, Node, NodeStatus, duration,
    node_status::{ObservedPower, OperationKind, PowerState},
    time::unix_ms,
};

use crate::{
    lab::{Agent, Told},
    moments::{age, day, moment},
};
use screen::{Room, Section};

mod next;
mod screen;
mod wish;

/// The annotations of a foreign lock: what is done under it, and by whom.
const LOCK: [&str; 2] = [
    "homelab-autoscaler.dev/operation-lock",
    "homelab-autoscaler.dev/lock-owner",
];

/// Which kind of lab it is: what people can do differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Custom resources and kubectl.
    Cluster,
    /// A folder.
    Standalone,
}

/// Everything that is known of one machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture<'a> {
    /// Wall clock, milliseconds.
    pub(crate) now_ms: i64,
    /// Which kind of lab.
    pub(crate) place: Place,
    /// The machine.
    pub(crate) node: &'a Node,
    /// Its group, if there is one.
    pub(crate) group: Option<&'a Group>,
    /// Its agent, if it was heard of.
    pub(crate) agent: Option<&'a Agent>,
    /// Its last Events, oldest first, or why they cannot be read.
    pub(crate) told: Result<&'a [Told], &'a str>,
    /// Why nothing is decided; empty while decisions are made.
    pub(crate) waiting_for: &'a str,
    /// Whether the broker is connected, where that is known.
    pub(crate) broker_up: Option<bool>,
}

impl Picture<'_> {
    fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    fn agent_name(&self) -> &str {
        self.node
            .spec
            .agent
            .as_deref()
            .unwrap_or_else(|| self.name())
    }

    fn group_condition(&self, kind: &str) -> Option<&Condition> {
        let conditions = &self.group?.status.as_ref()?.conditions;
        conditions
            .iter()
            .find(|found| found.type_ == kind && holds(found))
    }
}

/// The screen.
pub(crate) fn screen(picture: &Picture<'_>) -> String {
    let unwritten = NodeStatus::default();
    let status = picture.node.status.as_ref().unwrap_or(&unwritten);
    let because = because(picture, status);
    let events = events(picture, &because);
    let one = |text: String| vec![text];
    let wish = wish::sentence(picture.node, picture.group, picture.now_ms);
    let few = Room::Most(2);
    let sections = vec![
        Section::new("Wish", few, &one(wish)),
        Section::new("Seen", few, &one(seen(picture, status))),
        Section::new("Doing", few, &one(doing(picture, status))),
        Section::new("Lock", few, &one(lock(picture.node, status))),
        Section::new("Proof", few, &one(proof(picture.node, status))),
        Section::new("Because", Room::Rest { least: 2 }, &because),
        Section::new("Events", Room::Rest { least: 3 }, &events),
        Section::new("Next", Room::Most(3), &one(next::step(picture))),
    ];
    screen::fit(&headline(picture, status), sections)
}

fn headline(picture: &Picture<'_>, status: &NodeStatus) -> String {
    let name = format!("{} (group {})", picture.name(), picture.node.spec.group);
    let shown = status.power.as_ref().map_or("", |power| &power.shown);
    let shown = if shown.is_empty() { "unknown" } else { shown };
    let Some(phase) = status.phase.as_deref() else {
        return format!(
            "{name} is declared, and the coordinator has written nothing about it yet."
        );
    };
    let what = match phase {
        "Running" => "runs".to_owned(),
        "Sleeping" => format!("is {shown}"),
        "Waking" => format!("is {shown} and is being woken"),
        "Stopping" => format!("is {shown} and is being stopped"),
        "WakeFailed" => format!("is {shown}: it was woken and did not come"),
        "Quarantined" => format!("is {shown}, and left out because it failed"),
        "Unknown" => "may be on or off, nobody can tell".to_owned(),
        _ => format!("is {shown}"),
    };
    let since = status.since.as_ref().map_or_else(String::new, |since| {
        format!(" for {}", age(picture.now_ms - unix_ms(since)))
    });
    let why = status
        .why
        .as_deref()
        .map_or_else(String::new, |why| format!(": {why}"));
    format!("{name} {what} ({phase}{since}){why}")
}

fn seen(picture: &Picture<'_>, status: &NodeStatus) -> String {
    let agent = match picture.agent.and_then(|agent| agent.live) {
        Some(true) => format!(" Agent {} is heard.", picture.agent_name()),
        Some(false) => format!(" Agent {} is not heard.", picture.agent_name()),
        None => String::new(),
    };
    let Some(power) = &status.power else {
        return format!("nothing yet.{agent}");
    };
    let shown = match power.state {
        PowerState::Running => "running",
        PowerState::Off => "off",
        PowerState::Unknown => "unknown",
    };
    let last = if status.phase.as_deref() == Some("Unknown") {
        "last "
    } else {
        ""
    };
    let since = power.since.as_ref().map_or_else(String::new, |since| {
        format!(" since {}", moment(unix_ms(since), picture.now_ms))
    });
    format!("{last}{shown}{since}, {}.{agent}", witness(power))
}

/// By which proof it is known.
fn witness(power: &ObservedPower) -> String {
    match power.source.as_str() {
        "bmc" => "its BMC says so".to_owned(),
        "agent" => "its agent's heartbeat says so".to_owned(),
        "kubelet" => "its kubelet's Lease says so".to_owned(),
        "person" => "a person said so".to_owned(),
        "inferred" => {
            "concluded from our own order and the silence after it; nobody measured it".to_owned()
        }
        "" if power.inferred => "concluded; nobody measured it".to_owned(),
        "" => "nobody is named who saw it".to_owned(),
        other => format!("{other} says so"),
    }
}

fn doing(picture: &Picture<'_>, status: &NodeStatus) -> String {
    let at = |time| moment(unix_ms(time), picture.now_ms);
    let Some(operation) = &status.operation else {
        return match &status.ordered_off {
            Some(order) => format!(
                "nothing yet; the order to power it off, by {}, stands since {}.",
                order.by,
                at(&order.at)
            ),
            None => "nothing is under way.".to_owned(),
        };
    };
    let what = match operation.kind {
        OperationKind::Wake => "waking it",
        OperationKind::Stop => "stopping it",
    };
    let deadline = operation.deadline.as_ref().map_or_else(String::new, |end| {
        let left_ms = unix_ms(end) - picture.now_ms;
        let left = if left_ms > 0 {
            format!("in {}", age(left_ms))
        } else {
            "now".to_owned()
        };
        format!("; its time is over at {} ({left})", at(end))
    });
    format!(
        "{what} (step {}) since {}, asked by {}{deadline}.",
        operation.step,
        at(&operation.started_at),
        operation.by
    )
}

fn lock(node: &Node, status: &NodeStatus) -> String {
    if let Some(held) = condition(status, "Locked").filter(|found| holds(found)) {
        return format!("held by others: {}.", held.message.trim_end_matches('.'));
    }
    let annotation = |key: &str| {
        let annotations = node.metadata.annotations.as_ref();
        annotations
            .and_then(|all| all.get(key))
            .filter(|text| !text.is_empty())
    };
    let [operation, owner] = LOCK.map(annotation);
    if let Some(operation) = operation {
        let owner = owner.map_or("somebody", String::as_str);
        return format!("left behind by {owner} for {operation}; it does not count any more.");
    }
    match &status.operation {
        Some(operation) => format!(
            "ours: operation {} holds token {}.{}.",
            operation.id, operation.token.epoch, operation.token.seq
        ),
        None => "free.".to_owned(),
    }
}

fn proof(node: &Node, status: &NodeStatus) -> String {
    let wake = status.wake.clone().unwrap_or_default();
    let proven = match &wake.proven_at {
        Some(at) => format!("woken by us, last on {}", day(unix_ms(at))),
        None => "never woken by us, so the autoscaler may not stop it (unless requireProof: false)"
            .to_owned(),
    };
    let range = wake
        .boot_seconds
        .iter()
        .min()
        .zip(wake.boot_seconds.iter().max());
    let boots = range.map_or_else(String::new, |(least, most)| {
        format!(
            "; its last {} boots took {least}–{most} s (timeouts.boot {})",
            wake.boot_seconds.len(),
            duration::text(node.spec.timeouts.boot)
        )
    });
    format!("{proven}{boots}.")
}

/// What the coordinator says is wrong, the gravest first; each sentence once.
fn because(picture: &Picture<'_>, status: &NodeStatus) -> Vec<String> {
    let mut found: Vec<&Condition> = status.conditions.iter().filter(|c| is_trouble(c)).collect();
    found.extend(picture.group_condition("MassSilence"));
    found.sort_by_key(|found| rank(&found.type_));
    let mut told: Vec<String> = Vec::new();
    for condition in found {
        let said = condition.message.trim();
        if said.is_empty() || told.iter().any(|earlier| earlier.contains(said)) {
            continue;
        }
        let state = match (condition.type_.as_str(), condition.status) {
            ("Ready", _) => condition.reason.clone(),
            (kind, ConditionStatus::True) => kind.to_owned(),
            (kind, status) => format!("{kind}={status:?}"),
        };
        told.push(format!("{state}: {said}"));
    }
    told
}

/// Ready and WakeCapable tell of trouble when they do not hold, every other one when it does. What a lock says and that a
/// machine is unproven stand elsewhere.
fn is_trouble(condition: &Condition) -> bool {
    match condition.type_.as_str() {
        "Locked" => false,
        "Ready" | "WakeCapable" => condition.status == ConditionStatus::False,
        _ => holds(condition),
    }
}

fn rank(kind: &str) -> usize {
    const ORDER: [&str; 5] = [
        "InvalidSpec",
        "Conflict",
        "MassSilence",
        "Quarantined",
        "WakeCapable",
    ];
    match kind {
        // It says what is the case now; where a graver one says the same it is left out.
        "Ready" => ORDER.len() + 1,
        kind => ORDER
            .iter()
            .position(|known| *known == kind)
            .unwrap_or(ORDER.len()),
    }
}

/// The last Events, newest first. A sentence that stands on the screen already is not said again.
fn events(picture: &Picture<'_>, shown: &[String]) -> Vec<String> {
    let told = match picture.told {
        Ok([]) => return vec!["none is kept.".to_owned()],
        Ok(told) => told,
        Err(why) => return vec![format!("cannot be read: {why}")],
    };
    let newest_first = told.iter().rev().map(|event| {
        let said = event.message.trim();
        let again = shown.iter().any(|text| text.contains(said));
        let count = if event.count > 1 {
            format!(" ({}×)", event.count)
        } else {
            String::new()
        };
        format!(
            "{}{} {}{count}: {}",
            moment(event.at_ms, picture.now_ms),
            if event.is_warning() { " !" } else { "" },
            event.reason,
            if again { "as above" } else { said }
        )
    });
    newest_first.collect()
}

fn condition<'a>(status: &'a NodeStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|found| found.type_ == kind)
}

fn holds(condition: &Condition) -> bool {
    condition.status == ConditionStatus::True
}

#[cfg(test)]
mod tests;
