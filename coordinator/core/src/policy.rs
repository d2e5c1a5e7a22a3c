//! Every time limit and bound that decisions use. Passed in once; tests and the demo shorten it.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// Time limits and bounds, milliseconds unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// An agent is silent after this long without a heartbeat: three of its ten-second beats and some slack.
    pub agent_silent_ms: u64,
    /// A kubelet is silent after this long without a Lease renewal: its own lease lasts 40 s.
    pub lease_silent_ms: u64,
    /// A challenge older than this is not used; agents refuse theirs after 35 s.
    pub challenge_fresh_ms: u64,
    /// How long to wait for a heartbeat after a ping before the agent is passed over.
    pub ping_wait_ms: u64,
    /// A power-off that is not accepted by then is sent again, with the same id.
    pub accept_ms: u64,
    /// How often a power-off is sent before the agent counts as unreachable.
    pub send_tries: u32,
    /// Between the first wakes of machines asked for together.
    pub wake_stagger_ms: u64,
    /// Between wake commands of one operation.
    pub wake_repeat_ms: u64,
    /// After so many unanswered wakes by one relay the next relay takes over.
    pub wakes_per_relay: u32,
    /// Without a sign of life for so long, people are told.
    pub unanswered_ms: u64,
    /// A wake that could be sent by nobody has failed after this long: a relay that restarts is back before.
    pub relay_wait_ms: u64,
    /// A machine whose past boots are known has at least this much longer than they took: a relay that sends in vain, or a BMC
    /// that says yes and does nothing, is found out and another way tried before.
    pub boot_margin_ms: u64,
    /// So many boots must be known before they count: one says little.
    pub boots_to_learn: u32,
    /// Between reads of a BMC while its machine's power moves.
    pub bmc_poll_ms: u64,
    /// Two reads of Off must be this far apart to confirm it.
    pub off_reads_apart_ms: u64,
    /// After fencing a Node, before its pods are listed: a pod may still have been bound.
    pub settle_ms: u64,
    /// Between pod lists while pods hold up a stop.
    pub pods_retry_ms: u64,
    /// The same once a drain has taken longer than it may: only a person can help then.
    pub drain_blocked_ms: u64,
    /// Two identical size increases further apart than this are two wishes.
    pub duplicate_ms: u64,
    /// The first quarantine; each further failure doubles it.
    pub quarantine_ms: u64,
    /// The longest quarantine.
    pub quarantine_max_ms: u64,
    /// After loading, no silence counts before this has passed: everyone must have had a chance to speak.
    pub grace_ms: u64,
    /// Silences that began within this are one event: a beat is due each ten seconds, and two may be lost.
    pub silence_window_ms: u64,
    /// How long machines may start by themselves after a power cut before wanted ones are woken again.
    pub power_cut_hold_ms: u64,
    /// Between those wakes.
    pub power_cut_stagger_ms: u64,
    /// Between attempts to store what the store refused or could not take.
    pub store_retry_ms: u64,
    /// The core Node this process runs on: never stopped.
    pub own_node: Option<String>,
    /// The core Node that the agents' broker runs on: never stopped.
    pub broker_node: Option<String>,
    /// How the provider id of a machine that declares none is made.
    pub provider_scheme: ProviderScheme,
    /// The cluster-autoscaler's version, where people have declared it; what its calls tell goes before.
    pub autoscaler: Option<AutoscalerVersion>,
}

/// The version of a cluster-autoscaler, as far as anything depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AutoscalerVersion {
    /// As in **1**.36.2.
    pub major: u32,
    /// As in 1.**36**.2.
    pub minor: u32,
}

impl fmt::Display for AutoscalerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The text is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoVersion;

impl FromStr for AutoscalerVersion {
    type Err = NoVersion;

    /// Reads `1.36`, `v1.36.1` and `1.36.0-beta.1`: what follows the second number does not matter.
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let (major, rest) = text
            .strip_prefix('v')
            .unwrap_or(text)
            .split_once('.')
            .ok_or(NoVersion)?;
        let (minor, patch) = rest
            .find(|c: char| !c.is_ascii_digit())
            .map_or((rest, ""), |end| rest.split_at(end));
        // `parse` would take a sign too.
        let number = |text: &str| match text.parse::<u32>() {
            Ok(number) if !text.starts_with('+') => Ok(number),
            Ok(_) | Err(_) => Err(NoVersion),
        };
        if patch.is_empty() || patch.starts_with(['.', '-', '+']) {
            Ok(Self {
                major: number(major)?,
                minor: number(minor)?,
            })
        } else {
            Err(NoVersion)
        }
    }
}

/// How the provider id of a machine that declares none is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderScheme {
    /// `homelab://<namespace>/<node>`.
    Homelab,
    /// `k3s://<node name>`, as k3s sets it.
    K3s,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            agent_silent_ms: 35_000,
            lease_silent_ms: 45_000,
            challenge_fresh_ms: 20_000,
            ping_wait_ms: 3_000,
            accept_ms: 5_000,
            send_tries: 3,
            wake_stagger_ms: 2_000,
            wake_repeat_ms: 20_000,
            wakes_per_relay: 2,
            unanswered_ms: 90_000,
            relay_wait_ms: 90_000,
            boot_margin_ms: 120_000,
            boots_to_learn: 3,
            bmc_poll_ms: 5_000,
            off_reads_apart_ms: 5_000,
            settle_ms: 5_000,
            pods_retry_ms: 5_000,
            drain_blocked_ms: 60_000,
            duplicate_ms: 60_000,
            quarantine_ms: 300_000,
            quarantine_max_ms: 3_600_000,
            grace_ms: 60_000,
            silence_window_ms: 30_000,
            power_cut_hold_ms: 300_000,
            power_cut_stagger_ms: 20_000,
            store_retry_ms: 2_000,
            own_node: None,
            broker_node: None,
            provider_scheme: ProviderScheme::Homelab,
            autoscaler: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_far_as_its_second_number() {
        let read = |text: &str| text.parse::<AutoscalerVersion>().ok();
        let version = |minor| Some(AutoscalerVersion { major: 1, minor });
        for text in ["1.36", "v1.36.1", "1.36.0-beta.1", "1.36+k3s1"] {
            assert_eq!(read(text), version(36), "{text}");
        }
        for text in [
            "",
            "1",
            "1.",
            "1.x",
            "1.36x",
            "+1.36",
            "one.36",
            "1.99999999999",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(version(9) < version(36));
    }
}
