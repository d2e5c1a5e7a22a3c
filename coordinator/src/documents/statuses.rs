//! Statuses for people: words, sizes and conditions made from a view.
//!
//! In: the view of a group or machine. Out: the summary fields and conditions of its status.
//! Holds: same view, same status, but for the transition times of conditions that moved.
//! Not here: the record part of a status (`records`).

use coordinator_core as core;
use coordinator_core::{Concern, Concerns, GroupView, MachineView, PhaseName, Wish};
use coordinator_crds as crds;
use crds::{ConditionStatus, GroupStatus, NodeStatus, Time, node_status::WantedPower, time};

use super::{Fault, Finding, advertised::advertised, refresh, whole_second};

/// What a status is stamped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// The `metadata.generation` that was judged; absent in standalone.
    pub generation: Option<i64>,
    /// Wall clock, milliseconds.
    pub now_ms: i64,
}

/// How the reasons of faults begin that name another object; they are shown as condition Conflict.
const CONFLICT: &str = "Duplicate";
/// Longest `why` that the schema takes.
const MAX_WHY: usize = 1024;

/// Writes what a machine's view says into its status.
pub fn describe_machine(view: &MachineView, present: Present, status: &mut NodeStatus) {
    status.observed_generation = present.generation;
    status.phase = Some(phase(view).to_owned());
    status.since = (view.since_ms != 0).then(|| whole_second(view.since_ms));
    let why: String = why(view, status).chars().take(MAX_WHY).collect();
    status.why = (!why.is_empty()).then_some(why);
    status.wanted = Some(match view.wanted {
        Wish::Running => WantedPower::Running,
        Wish::Off => WantedPower::Stopped,
        Wish::None => WantedPower::Any,
    });
    if let Some(operation) = status.operation.as_mut() {
        operation.deadline = view.deadline_ms.map(whole_second);
    }
    let mut findings = vec![
        machine_ready(view),
        wake_capable(view),
        quarantined(view, status),
        conflict(view),
        locked(view),
        Finding::over("InvalidSpec", "Accepted"),
    ];
    findings.extend(concerns(Concern::OF_MACHINES, &view.concerns));
    status.conditions = refresh(
        &status.conditions,
        &findings,
        present.generation,
        present.now_ms,
    );
}

/// Writes what a group's view says into its status. `members` are all machines that name the group.
pub fn describe_group(
    view: &GroupView,
    members: &[&MachineView],
    present: Present,
    status: &mut GroupStatus,
) {
    let count = |test: &dyn Fn(&MachineView) -> bool| {
        u32::try_from(members.iter().filter(|member| test(member)).count()).unwrap_or(u32::MAX)
    };
    status.observed_generation = present.generation;
    status.target_size = Some(view.target);
    status.members = Some(count(&|_| true));
    status.ready = Some(view.ready);
    status.transitioning = Some(count(&|member| {
        matches!(member.phase, PhaseName::Waking | PhaseName::Stopping)
    }));
    status.asleep = Some(count(&|member| member.phase == PhaseName::Off));
    status.quarantined = Some(count(&|member| member.quarantined_until_ms.is_some()));
    status.max_size = Some(view.max_size);
    status.template = view.template.as_ref().map(advertised);
    let mut findings = vec![
        group_ready(view, members),
        mass_silence(view),
        Finding::over("InvalidSpec", "Accepted"),
    ];
    findings.extend(concerns(Concern::OF_GROUPS, &view.concerns));
    status.conditions = refresh(
        &status.conditions,
        &findings,
        present.generation,
        present.now_ms,
    );
}

/// A concern is a condition while it lasts, and one that is False afterwards.
fn concerns<const N: usize>(kinds: [Concern; N], found: &Concerns) -> [Finding; N] {
    kinds.map(|kind| match found.get(&kind) {
        Some(message) => Finding::new(kind.as_str(), ConditionStatus::True, kind.as_str(), message),
        None => Finding::over(kind.as_str(), "Mended"),
    })
}

/// The findings about an object that the coordinator cannot read at all.
#[must_use]
pub fn invalid_spec(problem: &str) -> [Finding; 2] {
    let message =
        format!("{problem}; until it is corrected the last good declaration stays in force");
    [
        Finding::new(
            "InvalidSpec",
            ConditionStatus::True,
            "Undecodable",
            &message,
        ),
        Finding::new("Ready", ConditionStatus::False, "InvalidSpec", &message),
    ]
}

fn phase(view: &MachineView) -> &'static str {
    if view.quarantined_until_ms.is_some() {
        "Quarantined"
    } else {
        view.phase.as_str()
    }
}

fn why(view: &MachineView, status: &NodeStatus) -> String {
    if let Some(fault) = &view.fault {
        return fault.clone();
    }
    match view.quarantined_until_ms {
        Some(until) => {
            let next = format!(
                "{}: next try {}",
                left_out_because(view, status),
                clock(until)
            );
            match view.instead.as_slice() {
                [] => next,
                [other] => format!("{next}, {other} is being woken instead"),
                [other, more @ ..] => {
                    format!(
                        "{next}, {other} and {} more are being woken instead",
                        more.len()
                    )
                }
            }
        }
        None => view.why.to_owned(),
    }
}

fn machine_ready(view: &MachineView) -> Finding {
    if let Some(fault) = &view.fault {
        let (reason, message) = split(fault);
        return Finding::new("Ready", ConditionStatus::False, reason, message);
    }
    if view.ready {
        return Finding::new("Ready", ConditionStatus::True, "AsWanted", &view.message);
    }
    let reason = if view.why.is_empty() {
        phase(view)
    } else {
        view.why
    };
    Finding::new("Ready", ConditionStatus::False, reason, &view.message)
}

fn wake_capable(view: &MachineView) -> Finding {
    let name = &view.id;
    let proven = view.proven_at_ms.map_or_else(
        || "Never proven".to_owned(),
        |at| format!("Last proven {}", date(at)),
    );
    let (status, reason, message) = match (view.wake_armed.as_deref(), view.proven_at_ms) {
        (Some([]), _) => (
            ConditionStatus::False,
            "NotArmed",
            format!(
                "{proven}. No network card of {name} is armed for a magic packet now: check Wake-on-LAN in its BIOS \
                 and ErP, boot it once, then `homelabctl prove {name}`."
            ),
        ),
        (_, None) => (
            ConditionStatus::Unknown,
            "Unproven",
            format!(
                "Never woken by us, so the autoscaler may not stop it: `homelabctl prove {name}` stops it once and wakes it once."
            ),
        ),
        (cards, Some(_)) => {
            let armed = cards.map_or_else(String::new, |cards| {
                format!(" with Wake-on g on {}", cards.join(" and "))
            });
            let message = format!(
                "{proven}{armed}. If mains were cut since, the NIC is unarmed until one boot: press the button, check \
                 BIOS ErP, then `homelabctl prove {name}`."
            );
            match view.quarantined_until_ms {
                Some(_) => (ConditionStatus::False, "DidNotWake", message),
                None => (ConditionStatus::True, "Proven", message),
            }
        }
    };
    Finding::new("WakeCapable", status, reason, &message)
}

fn quarantined(view: &MachineView, status: &NodeStatus) -> Finding {
    let Some(until) = view.quarantined_until_ms else {
        return Finding::over("Quarantined", "Usable");
    };
    let kept = status.quarantine.as_ref();
    let told = kept.map_or(&*view.message, |kept| kept.message.as_str());
    let name = &view.id;
    let sizes = view
        .max_sizes
        .map(|(with, without)| format!(" (maxSize {with} → {without})"))
        .unwrap_or_default();
    Finding::new(
        "Quarantined",
        ConditionStatus::True,
        left_out_because(view, status),
        &format!(
            "{told} Out of group {}{sizes} until {} or until seen running; retry now: `homelabctl power retry {name}`.",
            view.group,
            clock(until)
        ),
    )
}

/// Why a machine is left out. What happens to it meanwhile has reasons of its own.
fn left_out_because<'a>(view: &MachineView, status: &'a NodeStatus) -> &'a str {
    let kept = status.quarantine.as_ref();
    match kept.map_or(view.why, |kept| kept.reason.as_str()) {
        "" => "Failed",
        reason => reason,
    }
}

fn conflict(view: &MachineView) -> Finding {
    match view.fault.as_deref().map(split) {
        Some((reason, message)) if reason.starts_with(CONFLICT) => {
            Finding::new("Conflict", ConditionStatus::True, reason, message)
        }
        Some(_) | None => Finding::over("Conflict", "Unique"),
    }
}

fn locked(view: &MachineView) -> Finding {
    match lock(view) {
        Some(message) => Finding::new("Locked", ConditionStatus::True, "HeldByOthers", message),
        None => Finding::over("Locked", "Free"),
    }
}

/// Who else holds a machine's lock, and since when.
fn lock(view: &MachineView) -> Option<&str> {
    let (reason, message) = split(view.fault.as_deref()?);
    (reason == Fault::LOCKED).then_some(message)
}

fn group_ready(view: &GroupView, members: &[&MachineView]) -> Finding {
    let faulty: Vec<&str> = members
        .iter()
        .filter(|member| member.fault.is_some() && lock(member).is_none())
        .map(|member| member.id.as_str())
        .collect();
    if !faulty.is_empty() {
        let message = format!("Machines with a faulty declaration: {}", faulty.join(", "));
        return Finding::new("Ready", ConditionStatus::False, "FaultyMembers", &message);
    }
    let late: Vec<&str> = members
        .iter()
        .filter(|member| !member.ready)
        .map(|member| member.id.as_str())
        .collect();
    if late.is_empty() && view.ready == view.target {
        return Finding::new("Ready", ConditionStatus::True, "AsWanted", &view.debug);
    }
    let message = format!(
        "{} of {} wanted machines run; not as wanted: {}",
        view.ready,
        view.target,
        if late.is_empty() {
            "none".to_owned()
        } else {
            late.join(", ")
        }
    );
    Finding::new("Ready", ConditionStatus::False, "Transitioning", &message)
}

fn mass_silence(view: &GroupView) -> Finding {
    if view.frozen {
        Finding::new(
            "MassSilence",
            ConditionStatus::True,
            "MassSilence",
            "Half of the group or more fell silent at once, so nothing is decided: check the switch, the broker and the mains",
        )
    } else {
        Finding::over("MassSilence", "Heard")
    }
}

/// A fault is written `Reason: message`.
fn split(fault: &str) -> (&str, &str) {
    match fault.split_once(": ") {
        Some((reason, message)) if reason.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            (reason, message)
        }
        Some(_) | None => ("InvalidSpec", fault),
    }
}

fn clock(ms: i64) -> String {
    shown(&time::from_unix_ms(ms), "%H:%M UTC")
}

fn date(ms: i64) -> String {
    shown(&time::from_unix_ms(ms), "%Y-%m-%d")
}

fn shown(time: &Time, form: &str) -> String {
    time.0.strftime(form).to_string()
}

/// The word for power in tables, with a question mark where nobody measured it.
#[must_use]
pub fn shown_power(power: &core::PowerRecord) -> String {
    let word = match power.state {
        core::PowerState::Running => "running",
        core::PowerState::Off => "off",
        core::PowerState::Unknown => "unknown",
    };
    let mark = if power.inferred() { "?" } else { "" };
    format!("{word}{mark}")
}
