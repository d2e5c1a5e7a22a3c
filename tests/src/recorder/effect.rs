//! What the recorder writes down.
//! Holds: one record is one line of JSON, `{"seq":…,"at_ms":…,"kind":…,…}`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Mac;

/// One effect and its moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Place in the log, from 0.
    pub seq: usize,
    /// Boot clock of the host, in milliseconds.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub effect: Effect,
}

/// Something that happened outside the product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// Magic packets for one MAC within one second.
    MagicPacketTrain {
        /// The MAC they carry.
        mac: Mac,
        /// How many were seen so far.
        packets: u32,
        /// Who sent the first.
        from: SocketAddr,
    },
    /// A datagram on the wake port that is no magic packet.
    StrayDatagram {
        /// Its length.
        bytes: usize,
        /// Who sent it.
        from: SocketAddr,
    },
    /// A BMC was asked to change a system's power.
    BmcReset {
        /// The system's id.
        system: String,
        /// The `ResetType` as received.
        reset: String,
        /// The HTTP status of the answer.
        status: u16,
    },
    /// The host was told from inside to go down: its agent ran the shutdown command.
    ShutdownAsked {
        /// The machine.
        machine: String,
        /// The word after the command: `poweroff`, `reboot` or `suspend`.
        verb: String,
    },
    /// The machine's power supply switched on.
    PowerOn {
        /// The machine.
        machine: String,
        /// Why.
        cause: OnCause,
    },
    /// The operating system is up, under a new boot id.
    BootDone {
        /// The machine.
        machine: String,
        /// What the machine's boot id file holds now.
        boot_id: String,
    },
    /// The machine's power supply switched off.
    PowerOff {
        /// The machine.
        machine: String,
        /// How.
        how: OffHow,
    },
}

/// Why a machine's power came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCause {
    /// Its magic packet arrived.
    MagicPacket,
    /// Its BMC was told to.
    Bmc,
    /// Somebody pressed its button, or the test started it so.
    Button,
    /// It restarts.
    Reboot,
}

/// How a machine's power went off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffHow {
    /// The operating system shut down because the agent or the BMC asked for it.
    Graceful,
    /// The BMC cut the power.
    Hard,
    /// By itself: a crash, or somebody at its button.
    SelfMade,
}

impl Effect {
    /// A machine came on because it was told to.
    #[must_use]
    pub const fn is_wake(&self) -> bool {
        matches!(
            self,
            Self::PowerOn {
                cause: OnCause::MagicPacket | OnCause::Bmc,
                ..
            }
        )
    }

    /// A machine went off because it was told to.
    #[must_use]
    pub const fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::PowerOff {
                how: OffHow::Graceful | OffHow::Hard,
                ..
            }
        )
    }

    /// The machine, where the effect names one.
    #[must_use]
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::MagicPacketTrain { .. } | Self::StrayDatagram { .. } | Self::BmcReset { .. } => {
                None
            }
            Self::ShutdownAsked { machine, .. }
            | Self::PowerOn { machine, .. }
            | Self::BootDone { machine, .. }
            | Self::PowerOff { machine, .. } => Some(machine),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_one_flat_object() {
        let record = Record {
            seq: 3,
            at_ms: 1_500,
            effect: Effect::PowerOn {
                machine: "nuc1".into(),
                cause: OnCause::MagicPacket,
            },
        };
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(
            line,
            r#"{"seq":3,"at_ms":1500,"kind":"power_on","machine":"nuc1","cause":"magic_packet"}"#
        );
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }
}
