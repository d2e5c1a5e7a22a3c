//! The next step that a person can take about a machine.
//!
//! In: what is known of it. Out: one sentence, in the imperative where there is something to do.
//! Holds: what keeps the coordinator from deciding comes before what keeps the machine from obeying.

use coordinator_crds::{
    Node, NodeStatus,
    node::PowerPolicy,
    node_status::{OutageKind, PowerState},
    time::unix_ms,
};

use super::{Picture, Place, condition};
use crate::moments::moment;

/// The annotation that a foreign lock begins with.
const LOCK: &str = "homelab-autoscaler.dev/operation-lock";

/// The sentence.
pub(super) fn step(picture: &Picture<'_>) -> String {
    let name = picture.name();
    if !picture.waiting_for.is_empty() {
        return format!(
            "nothing is decided, because the coordinator waits for {}: look at its log.",
            picture.waiting_for
        );
    }
    let Some(status) = picture.node.status.as_ref().filter(|s| s.phase.is_some()) else {
        return "see whether the coordinator runs, and whether its log complains of this machine."
            .to_owned();
    };
    if let Some(ask) = &status.ask
        && status.last_ask_id.as_ref() != Some(&ask.id)
    {
        return format!(
            "the request of {} has not been taken: see whether the coordinator runs.",
            ask.by
        );
    }
    if let Some(step) = declaration(picture, status, name) {
        return step;
    }
    if picture.broker_up == Some(false) {
        return "bring the agents' broker back: the coordinator is not connected to it, so it hears nobody and commands nobody."
            .to_owned();
    }
    if picture.group_condition("MassSilence").is_some() {
        return "look at the switch, the broker and the mains: half of the group or more fell silent at once.".to_owned();
    }
    if let Some(left_out) = &status.quarantine
        && status.phase.as_deref() == Some("Quarantined")
    {
        return format!(
            "look at the machine (power cable, its button, Wake-on-LAN and ErP in its BIOS), then `homelabctl power retry {name}`; \
             by itself it is tried again at {}.",
            moment(unix_ms(&left_out.until), picture.now_ms)
        );
    }
    by_reason(picture, status)
        .or_else(|| complaint(status))
        .unwrap_or_else(|| by_phase(picture, status))
}

/// What is wrong with its declaration, or who else holds it.
fn declaration(picture: &Picture<'_>, status: &NodeStatus, name: &str) -> Option<String> {
    if condition(status, "Locked").is_some_and(super::holds) {
        return Some(match picture.place {
            Place::Cluster => format!(
                "wait for whoever holds the lock; if nobody does any more, `kubectl annotate hn {name} {LOCK}-`."
            ),
            Place::Standalone => "wait for whoever holds the lock.".to_owned(),
        });
    }
    let wrong = ["InvalidSpec", "Conflict"]
        .into_iter()
        .any(|kind| condition(status, kind).is_some_and(super::holds));
    wrong.then(|| match picture.place {
        Place::Cluster => format!("correct its declaration: `kubectl edit hn {name}`."),
        Place::Standalone => {
            "correct its declaration in the lab folder; the coordinator reads it again by itself."
                .to_owned()
        }
    })
}

/// Conditions whose own sentence says what to do.
fn complaint(status: &NodeStatus) -> Option<String> {
    const ELSEWHERE: [&str; 5] = [
        "Ready",
        "WakeCapable",
        "Locked",
        "Quarantined",
        "LocalVolume",
    ];
    let mut holding = status.conditions.iter().filter(|found| super::holds(found));
    let first = holding.find(|found| !ELSEWHERE.contains(&found.type_.as_str()))?;
    Some(format!("mend what is said about {} above.", first.type_))
}

/// Steps for reasons that call for one.
fn by_reason(picture: &Picture<'_>, status: &NodeStatus) -> Option<String> {
    let (node, name) = (picture.node, picture.name());
    let reason = condition(status, "Ready").map_or("", |ready| ready.reason.as_str());
    Some(match reason {
        "NoRelay" | "RelayNotListening" => format!(
            "bring a relay back on the air ({}), or press the machine's button.",
            relay_of(node)
        ),
        "MissingCredentials" => {
            "put the files of these credentials onto a relay, or press the machine's button."
                .to_owned()
        }
        "WakeUnanswered" | "WakeRefused" => unanswered(node),
        "BMCIgnoredWake" => format!(
            "look at the BMC{}: its log tells what it did with the order; or press the machine's button.",
            bmc_of(node)
        ),
        "BootTimeout" => format!("`homelabctl power retry {name}` tries again."),
        "PodsStillRunning" | "PodsUnknown" | "DrainBlocked" => format!(
            "see what still runs there: `kubectl get pods -A --field-selector spec.nodeName={}` (budgets: `kubectl get pdb -A`); \
             {}.",
            node.spec.node_name.as_deref().unwrap_or(name),
            taken_back(node, status, name)
        ),
        "Draining" => format!(
            "nothing yet: its pods are given time to leave{}; {}.",
            until(picture, status),
            taken_back(node, status, name)
        ),
        "NotStopped" => format!(
            "nothing, if it is to stay on; else mend what is said above, or press the machine's button; {}.",
            taken_back(node, status, name)
        ),
        "StopRefused" | "StopTimedOut" => format!(
            "look at its host: `homelab-agent check` there names maintenance, inhibitors and missing rights; \
             `homelabctl power release {name}` takes an override back."
        ),
        "NoWayToStop" => format!(
            "start an agent on it (`homelabctl agent config {}` prints what it needs), or declare redfish.",
            picture.agent_name()
        ),
        "NotSeenYet" | "Silent" => format!(
            "look at the machine: if it is off, `homelabctl power confirm-off {name}`; if it runs, its agent or kubelet does not: \
             `systemctl status homelab-agent` there."
        ),
        "ForeignProviderID" => {
            "delete its Node and start its kubelet again, or declare the providerID that it has."
                .to_owned()
        }
        "RecordRefused" => {
            "look at the coordinator's log: the status of this machine cannot be stored.".to_owned()
        }
        // Words that ask for nothing: what follows from the phase is said then.
        _ => return None,
    })
}

fn by_phase(picture: &Picture<'_>, status: &NodeStatus) -> String {
    let name = picture.name();
    let until = until(picture, status);
    let unproven = status.wake.as_ref().is_none_or(|w| w.proven_at.is_none());
    match status.phase.as_deref().unwrap_or_default() {
        "Waking" => format!("nothing yet: it is given time{until}."),
        "Stopping" => format!("nothing yet: it is given time to shut down{until}."),
        "WakeFailed" => format!("look at the machine, then `homelabctl power retry {name}`."),
        "Unknown" => {
            format!("look at the machine; if it is off, `homelabctl power confirm-off {name}`.")
        }
        "Running" | "Sleeping" if status.override_.is_some() => {
            format!("nothing; `homelabctl power release {name}` gives it back to its group.")
        }
        "Running" if picture.node.spec.power == PowerPolicy::Auto && unproven => format!(
            "`homelabctl prove {name}` stops it once and wakes it once; until then the autoscaler may not stop it."
        ),
        "Running" => format!("nothing; `homelabctl power off {name}` stops it."),
        "Sleeping" if switched_off(status) => format!(
            "nothing, if it was switched off on purpose; `homelabctl power on {name}` wakes it."
        ),
        "Sleeping" => format!("nothing; `homelabctl power on {name}` wakes it."),
        // A phase of a later coordinator.
        _ => format!(
            "`homelabctl status` shows it beside the others; `homelabctl power on {name}` and `off` override it."
        ),
    }
}

/// How long what is under way may take.
fn until(picture: &Picture<'_>, status: &NodeStatus) -> String {
    let deadline = status.operation.as_ref().and_then(|o| o.deadline.as_ref());
    deadline.map_or_else(String::new, |at| {
        format!(", until {}", moment(unix_ms(at), picture.now_ms))
    })
}

/// How a person keeps a machine running that is to be stopped.
fn taken_back(node: &Node, status: &NodeStatus, name: &str) -> String {
    // Without the override it would be ordered off all the same.
    let is_off_beneath = node.spec.power == PowerPolicy::AlwaysOff || status.ordered_off.is_some();
    if status.override_.is_some() && !is_off_beneath {
        format!("`homelabctl power release {name}` takes the order back")
    } else {
        format!("`homelabctl power on {name}` keeps it running")
    }
}

fn switched_off(status: &NodeStatus) -> bool {
    let outage = status.outage.as_ref();
    outage.is_some_and(|outage| outage.kind == OutageKind::SwitchedOff)
        && status
            .power
            .as_ref()
            .is_some_and(|power| power.state == PowerState::Off)
}

fn relay_of(node: &Node) -> String {
    node.spec.wake_on_lan.as_ref().map_or_else(
        || "one that holds the credentials of its BMC".to_owned(),
        |wol| format!("an agent with [relay] on segment {}", wol.segment),
    )
}

fn bmc_of(node: &Node) -> String {
    let bmc = node.spec.redfish.as_ref();
    bmc.map_or_else(String::new, |bmc| format!(" at {}", bmc.address))
}

fn unanswered(node: &Node) -> String {
    match &node.spec.wake_on_lan {
        Some(wol) => format!(
            "on the relay try `homelab-agent wake {}`; if it stays dark, look at Wake-on-LAN and ErP in its BIOS, at cable and \
             switch, or press its button.",
            wol.mac
        ),
        None => format!(
            "look at the BMC{}, or press the machine's button.",
            bmc_of(node)
        ),
    }
}
