//! Every time limit and bound that decisions use. Passed in once; tests and the demo shorten it.

use alloc::string::String;

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
    /// Between reads of a BMC while its machine's power moves.
    pub bmc_poll_ms: u64,
    /// Two reads of Off must be this far apart to confirm it.
    pub off_reads_apart_ms: u64,
    /// After fencing a Node, before its pods are listed: a pod may still have been bound.
    pub settle_ms: u64,
    /// Between pod lists while pods hold up a stop.
    pub pods_retry_ms: u64,
    /// Two identical size increases further apart than this are two wishes.
    pub duplicate_ms: u64,
    /// The first quarantine; each further failure doubles it.
    pub quarantine_ms: u64,
    /// The longest quarantine.
    pub quarantine_max_ms: u64,
    /// After loading, no silence counts before this has passed: everyone must have had a chance to speak.
    pub grace_ms: u64,
    /// How long machines may start by themselves after a power cut before wanted ones are woken again.
    pub power_cut_hold_ms: u64,
    /// Between those wakes.
    pub power_cut_stagger_ms: u64,
    /// Between attempts to store what the store refused or could not take.
    pub store_retry_ms: u64,
    /// The core Node this process runs on: never stopped.
    pub own_node: Option<String>,
    /// How the provider id of a machine that declares none is made.
    pub provider_scheme: ProviderScheme,
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
            bmc_poll_ms: 5_000,
            off_reads_apart_ms: 5_000,
            settle_ms: 5_000,
            pods_retry_ms: 5_000,
            duplicate_ms: 60_000,
            quarantine_ms: 300_000,
            quarantine_max_ms: 3_600_000,
            grace_ms: 60_000,
            power_cut_hold_ms: 300_000,
            power_cut_stagger_ms: 20_000,
            store_retry_ms: 2_000,
            own_node: None,
            provider_scheme: ProviderScheme::Homelab,
        }
    }
}
