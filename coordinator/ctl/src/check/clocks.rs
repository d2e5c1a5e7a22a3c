//! Wall clocks that differ.
//!
//! In: how far agents and the coordinator are ahead. Out: findings.
//! Holds: no decision of the coordinator hangs on them; certificates, the ends of overrides and tariffs do.

use super::{Finding, listed};
use crate::lab::{Agent, Lab};

const WHAT: &str = "clocks";
/// A synchronised clock is right within milliseconds; messages take up to a few seconds.
const NOTICED_S: i64 = 10;
/// Certificates made a moment ago, and tokens, are refused at such a distance.
const GRAVE_S: i64 = 300;

/// `ours_ms` is by how much the coordinator's clock is ahead of this host's, where they are two.
pub(super) fn judge(lab: &Lab, ours_ms: Option<i64>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(ahead_ms) = ours_ms
        && (ahead_ms / 1000).saturating_abs() > NOTICED_S
    {
        found.push(graded(
            ahead_ms / 1000,
            format!(
                "the coordinator's clock is {} this host's",
                apart(ahead_ms / 1000)
            ),
            "set both by NTP: overrides with --for end by the coordinator's clock",
        ));
    }
    let told: Vec<(&Agent, i64)> = lab
        .agents
        .iter()
        .filter(|agent| agent.live == Some(true))
        .filter_map(|agent| Some((agent, agent.clock_ahead_s?)))
        .collect();
    for (agent, ahead_s) in &told {
        if ahead_s.saturating_abs() > NOTICED_S {
            found.push(graded(
                *ahead_s,
                format!(
                    "the clock of {} is {} the coordinator's",
                    agent.name,
                    apart(*ahead_s)
                ),
                "set it by NTP: certificates and its limit of power acts in an hour go by it",
            ));
        }
    }
    if found.is_empty() {
        found.push(if told.is_empty() {
            let cure = "each tells it once in its health interval (60s by default); try again then";
            Finding::warn(WHAT, "no agent has told its clock yet", cure)
        } else {
            let names = listed(told.iter().map(|(agent, _)| agent.name.as_str()));
            Finding::ok(
                WHAT,
                format!("within {NOTICED_S} s of the coordinator's: {names}"),
            )
        });
    }
    found
}

fn graded(ahead_s: i64, found: String, cure: &str) -> Finding {
    if ahead_s.saturating_abs() >= GRAVE_S {
        Finding::fail(WHAT, found, cure)
    } else {
        Finding::warn(WHAT, found, cure)
    }
}

fn apart(ahead_s: i64) -> String {
    let by = crate::moments::age(ahead_s.saturating_abs().saturating_mul(1000));
    if ahead_s > 0 {
        format!("{by} ahead of")
    } else {
        format!("{by} behind")
    }
}
