//! What an agent is told once, at its start.

use alloc::vec::Vec;
use proto_mqtt::key::TrustedKeys;
use proto_mqtt::{AgentId, BootId, Instance, Text, Verb};

/// The settings of an agent; all of them are known before it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name, which is also the name of its host as a machine.
    pub id: AgentId,
    /// The kernel boot.
    pub boot: BootId,
    /// This process.
    pub inst: Instance,
    /// Its version.
    pub version: Text<32>,
    /// Whose commands it obeys.
    pub keys: TrustedKeys,
    /// The verbs for its own host that it carries out.
    pub allow: Vec<Verb>,
    /// The segments that it relays for; `None` if it acts for its own host only.
    pub segments: Option<Vec<Text<63>>>,
    /// How long the host must have been up before it may be switched off, in milliseconds.
    pub min_uptime_ms: u64,
    /// How often the host may be switched off or restarted in one hour.
    pub acts_per_hour: usize,
    /// The pause between two heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
}

impl Config {
    /// Whether the verb is carried out here at all.
    #[must_use]
    pub fn allows(&self, verb: Verb) -> bool {
        match verb {
            Verb::PowerOff | Verb::PowerReboot => self.allow.contains(&verb),
            Verb::Wake | Verb::RedfishOn | Verb::RedfishOff | Verb::RedfishStatus => {
                self.segments.is_some()
            }
            Verb::Cancel | Verb::Barrier | Verb::Refresh => true,
            Verb::Unknown => false,
        }
    }

    /// Every verb that is carried out here.
    pub fn capabilities(&self) -> impl Iterator<Item = Verb> + '_ {
        Verb::ALL.iter().copied().filter(|verb| self.allows(*verb))
    }
}
