//! The sentences of a wake: what was sent by whom, what did not come of it, and what follows.
//!
//! In: what waking knows. Out: text for people; times of day in UTC.
//! Not here: when each is told (`waking`), and the words of conditions (the shell's documents).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::actions::Verb;
use crate::agents::Agents;
use crate::facts::Report;
use crate::ids::AgentId;
use crate::lab::Ctx;
use crate::machine::{Machine, list};
use crate::seen::BmcReading;
use crate::spec::WakeMethod;
use crate::waking::{WakeFailure, Waking};

/// `14:02:11 UTC`.
pub(crate) fn clock(wall_ms: i64) -> String {
    let second = wall_ms.div_euclid(1000).rem_euclid(86_400);
    format!(
        "{:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// `10m0s`, or `45s`.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}

/// A wake has left: what, how, from where, the how manieth, and who asked for it when.
pub(crate) fn wake_sent(
    machine: &Machine,
    method: WakeMethod,
    train: u32,
    report: &Report,
) -> String {
    let what = match (method, machine.target(method)) {
        (WakeMethod::WakeOnLan, mac) if report.message.is_empty() => {
            format!("Magic packets left for {mac}")
        }
        (WakeMethod::WakeOnLan, mac) => format!("{} for {mac}", report.message),
        (WakeMethod::Redfish, bmc) if report.message.is_empty() => {
            format!("BMC {bmc} has accepted On")
        }
        (WakeMethod::Redfish, bmc) => format!("BMC {bmc} has accepted On: {}", report.message),
    };
    let asked = machine.record.operation.as_ref().map_or_else(
        || String::from("nobody"),
        |op| format!("{} at {}", op.by, clock(op.started_at_ms)),
    );
    format!(
        "{what}, from relay {}, train {train}; asked by {asked}.",
        report.agent
    )
}

/// What is being tried.
pub(crate) fn ordered(verb: &Verb) -> String {
    match verb {
        Verb::Wake(target) => format!("Magic packets for {}", target.mac),
        Verb::RedfishOn(redfish) => format!("Redfish On at {}", redfish.address),
        Verb::PowerOff
        | Verb::RedfishStop(_)
        | Verb::RedfishForceOff(_)
        | Verb::RedfishStatus(_) => String::from("A stop"),
    }
}

/// Nothing is heard of it: for how long, of whom, and who goes on trying until when.
pub(crate) fn unanswered(
    machine: &Machine,
    (train, relays): (u32, &[AgentId]),
    give_up_ms: u64,
    ctx: &Ctx<'_>,
) -> String {
    let bmc = match machine.seen.bmc {
        Some(BmcReading::Off { .. }) => ", its BMC reports Off",
        Some(BmcReading::On { .. }) => ", though its BMC reports On",
        Some(BmcReading::Other) | None => "",
    };
    let names: Vec<String> = relays.iter().map(ToString::to_string).collect();
    let through = match names.len() {
        0 => String::from("as soon as a relay is awake"),
        1 => format!("through relay {}", list(&names)),
        _ => format!("through relays {} by turns", list(&names)),
    };
    let left_ms = give_up_ms.saturating_sub(ctx.now.boot_ms);
    format!(
        "{} s after the first wake: no heartbeat, no kubelet from {}{bmc}; train {train} was the latest, they continue each \
         {} s {through}, until {}.",
        ctx.policy.unanswered_ms / 1000,
        machine.id(),
        ctx.policy.wake_repeat_ms / 1000,
        clock(ctx.now.wall_ms.saturating_add_unsigned(left_ms)),
    )
}

/// No relay can be asked: which there are, and why each cannot.
pub(crate) fn no_relay(machine: &Machine, agents: &Agents, ctx: &Ctx<'_>) -> String {
    let id = machine.id();
    let segment = machine
        .spec
        .wake_on_lan
        .as_ref()
        .map(|w| w.segment.as_str());
    let place = segment.map_or_else(
        || String::from("that holds the credentials of its BMC"),
        |segment| format!("on segment {segment}"),
    );
    let credentials = machine
        .spec
        .redfish
        .as_ref()
        .map(|r| r.credentials.as_str());
    let known: Vec<String> = agents
        .relays_for(segment, credentials)
        .map(|relay| {
            if *relay == machine.spec.agent {
                format!("{relay} is the machine itself")
            } else {
                format!("{relay} {}", agents.whereabouts(relay, ctx))
            }
        })
        .collect();
    if known.is_empty() {
        format!("Cannot wake {id}: no agent is a relay {place}.")
    } else {
        format!(
            "Cannot wake {id}: no awake relay {place} ({}).",
            known.join("; ")
        )
    }
}

/// A BMC said yes and did nothing.
pub(crate) fn bmc_ignored(machine: &Machine, after_ms: u64, ctx: &Ctx<'_>) -> String {
    let next = if machine.spec.wake.contains(&WakeMethod::WakeOnLan) {
        ", then by wakeOnLAN"
    } else {
        ""
    };
    format!(
        "BMC {} accepted On but still reports Off after {} s; asking once more in {} s{next}.",
        machine.target(WakeMethod::Redfish),
        after_ms / 1000,
        ctx.policy.wake_repeat_ms / 1000,
    )
}

/// Who did not wake it, or could not: relay and target, and what they say.
pub(crate) fn wake_refused(
    machine: &Machine,
    method: Option<WakeMethod>,
    report: &Report,
) -> String {
    let target = match method {
        Some(WakeMethod::Redfish) => format!(" at BMC {}", machine.target(WakeMethod::Redfish)),
        Some(WakeMethod::WakeOnLan) | None => String::new(),
    };
    format!(
        "relay {}{target}: {} ({})",
        report.agent, report.message, report.code
    )
}

/// It did not come: what was tried for how long, compared with its boots, and what the cluster-autoscaler makes of it.
pub(crate) fn wake_failed(
    machine: &Machine,
    waking: &Waking,
    failure: WakeFailure,
    ctx: &Ctx<'_>,
) -> String {
    let limit_ms = waking.limit_ms(machine, ctx.policy);
    let (trains, last) = (waking.sends, waking.failed_with.as_deref());
    let told = told_autoscaler(machine, failure);
    match failure {
        WakeFailure::BootTimeout => {
            let sight = if waking.heard {
                "It was heard and has not joined"
            } else if matches!(machine.seen.bmc, Some(BmcReading::On { .. })) {
                "No sign of life but power, by its BMC,"
            } else {
                "No sign of life"
            };
            let last = last.map_or_else(String::new, |last| format!("; last failure: {last}"));
            let (limit, usual) = (span(limit_ms), usual_boots(machine));
            // After a restart nobody knows how many there were before.
            let after = match trains {
                0 => String::new(),
                1 => String::from(" after 1 wake"),
                more => format!(" after {more} wakes"),
            };
            format!("{sight} in {limit}{after}{usual}{last}{told}.")
        }
        WakeFailure::Refused => format!(
            "{} is not woken until that is mended: {}; wakes that failed: {trains}{told}.",
            machine.id(),
            last.unwrap_or("no relay said why"),
        ),
        WakeFailure::NoRelay => {
            let waited_ms = waking
                .nobody_since_ms
                .map_or(limit_ms, |since| ctx.now.boot_ms.saturating_sub(since));
            format!(
                "Nobody could be asked to wake it for {}{told}. {}",
                span(waited_ms),
                machine.message
            )
        }
    }
}

fn usual_boots(machine: &Machine) -> String {
    let boots = &machine.record.boots_s;
    match (boots.iter().min(), boots.iter().max()) {
        (Some(least), Some(most)) => format!(" (last {} boots: {least}–{most} s)", boots.len()),
        (None, _) | (_, None) => String::new(),
    }
}

fn told_autoscaler(machine: &Machine, failure: WakeFailure) -> String {
    let operation = machine.record.operation.as_ref();
    if operation.is_some_and(|op| op.by.starts_with("cluster-autoscaler")) {
        format!(
            "; cluster-autoscaler was told {} and backs off group {} for about 5 min",
            failure.code(),
            machine.spec.group
        )
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_read_as_people_write_them() {
        assert_eq!(clock(0), "00:00:00 UTC");
        assert_eq!(clock(1_790_000_000_000), "14:13:20 UTC");
        assert_eq!(clock(-1), "23:59:59 UTC");
        assert_eq!(span(600_000), "10m0s");
        assert_eq!(span(59_999), "59s");
    }
}
