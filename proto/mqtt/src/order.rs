//! What a command orders: a verb with its arguments.
//! In: the verb's word and an object of arguments. Out: one variant with everything the executor needs.
//! Holds: an unknown verb or mode survives decoding, so that it can be refused by name; numbers are bounded.
//! Not here: secrets; an order names credentials that only the relay holds.

use crate::mac::Mac;
use crate::text::Text;
use crate::ulid::Ulid;
use crate::wire_enum::wire_enum;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest list of ports in one order.
pub const MAX_PORTS: usize = 4;
/// The most packets for one port and destination in one order: a train, not a flood.
pub const MAX_REPEAT: u8 = 10;
/// The longest pause between two packets, in milliseconds.
pub const MAX_SPACING_MS: u16 = 1000;

wire_enum! {
    /// The word for what is to be done.
    pub enum Verb {
        /// Shut the agent's own host down.
        PowerOff = "power.off",
        /// Restart the agent's own host.
        PowerReboot = "power.reboot",
        /// Send magic packets.
        Wake = "wol",
        /// Switch a machine on through its BMC.
        RedfishOn = "redfish.on",
        /// Switch a machine off through its BMC.
        RedfishOff = "redfish.off",
        /// Read a machine's power state from its BMC.
        RedfishStatus = "redfish.status",
        /// Give up an order that still waits in its delay.
        Cancel = "cancel",
        /// Raise the high-water mark: commands of earlier leaders are refused from now on.
        Barrier = "barrier",
        /// Publish status, inventory, health and a heartbeat now.
        Refresh = "refresh",
    }
}

impl Verb {
    /// Whether the order takes power away: such orders are journaled before they are carried out.
    #[must_use]
    pub const fn is_destructive(self) -> bool {
        match self {
            Self::PowerOff | Self::PowerReboot | Self::RedfishOff => true,
            Self::Wake
            | Self::RedfishOn
            | Self::RedfishStatus
            | Self::Cancel
            | Self::Barrier
            | Self::Refresh
            | Self::Unknown => false,
        }
    }
}

/// A verb with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Shut the agent's own host down.
    PowerOff,
    /// Restart the agent's own host.
    PowerReboot,
    /// Send magic packets.
    Wake(WakeOrder),
    /// Switch a machine on through its BMC.
    RedfishOn(BmcOrder),
    /// Switch a machine off through its BMC.
    RedfishOff {
        /// Which machine.
        bmc: BmcOrder,
        /// How.
        mode: OffMode,
    },
    /// Read a machine's power state from its BMC.
    RedfishStatus(BmcOrder),
    /// Give up an order that still waits in its delay.
    Cancel {
        /// The command to give up.
        id: Ulid,
    },
    /// Raise the high-water mark.
    Barrier,
    /// Publish status, inventory, health and a heartbeat now.
    Refresh,
    /// A verb of a later version, to be refused.
    Unknown {
        /// Its word.
        verb: Text<64>,
    },
}

/// A magic packet train. Shown without its SecureOn password, which has no place in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeOrder {
    /// Whom to wake.
    pub mac: Mac,
    /// The relay's segment to send on.
    pub segment: Text<63>,
    /// UDP ports, 1 to [`MAX_PORTS`].
    pub ports: Vec<u16>,
    /// The only destination, instead of the interface's and the limited broadcast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<Ipv4Addr>,
    /// The SecureOn password, as six or four hex pairs or a dotted quad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secureon: Option<Text<17>>,
    /// Packets for each port and destination, 1 to [`MAX_REPEAT`].
    pub repeat: u8,
    /// Pause between packets, at most [`MAX_SPACING_MS`].
    pub spacing_ms: u16,
}

/// A machine behind a BMC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcOrder {
    /// The base address, as `https://10.0.9.20`.
    pub address: Text<255>,
    /// The system's id; the only one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Text<255>>,
    /// The name of the credentials that the relay holds.
    pub credentials: Text<253>,
    /// `sha256:` and the hex digest of the BMC's certificate; system roots if this and `ca` are absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Text<255>>,
    /// The name of a CA that the relay holds, beside the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Text<253>>,
}

impl fmt::Debug for WakeOrder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("WakeOrder")
            .field("mac", &self.mac)
            .field("segment", &self.segment)
            .field("ports", &self.ports)
            .field("broadcast", &self.broadcast)
            .field("secureon", &self.secureon.as_ref().map(|_| "…"))
            .field("repeat", &self.repeat)
            .field("spacing_ms", &self.spacing_ms)
            .finish()
    }
}

wire_enum! {
    /// How a BMC takes power away.
    pub enum OffMode {
        /// Asks the operating system to shut down.
        Graceful = "graceful",
        /// Cuts the power.
        Force = "force",
    }
}

#[derive(Serialize, Deserialize)]
struct OffArgs {
    #[serde(flatten)]
    bmc: BmcOrder,
    mode: OffMode,
}

#[derive(Serialize, Deserialize)]
struct CancelArgs {
    id: Ulid,
}

impl Order {
    /// The verb of this order.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        match self {
            Self::PowerOff => Verb::PowerOff,
            Self::PowerReboot => Verb::PowerReboot,
            Self::Wake(_) => Verb::Wake,
            Self::RedfishOn(_) => Verb::RedfishOn,
            Self::RedfishOff { .. } => Verb::RedfishOff,
            Self::RedfishStatus(_) => Verb::RedfishStatus,
            Self::Cancel { .. } => Verb::Cancel,
            Self::Barrier => Verb::Barrier,
            Self::Refresh => Verb::Refresh,
            Self::Unknown { .. } => Verb::Unknown,
        }
    }

    /// The verb's word, also of an unknown verb.
    #[must_use]
    pub fn word(&self) -> &str {
        if let Self::Unknown { verb } = self {
            verb.as_str()
        } else {
            self.verb().as_str()
        }
    }

    pub(crate) fn args(&self) -> Value {
        let args = match self {
            Self::Wake(wake) => serde_json::to_value(wake),
            Self::RedfishOn(bmc) | Self::RedfishStatus(bmc) => serde_json::to_value(bmc),
            Self::RedfishOff { bmc, mode } => serde_json::to_value(OffArgs {
                bmc: bmc.clone(),
                mode: *mode,
            }),
            Self::Cancel { id } => serde_json::to_value(CancelArgs { id: *id }),
            Self::PowerOff
            | Self::PowerReboot
            | Self::Barrier
            | Self::Refresh
            | Self::Unknown { .. } => Ok(Value::Object(Map::new())),
        };
        args.expect("arguments have text keys only, so they always become JSON")
    }

    pub(crate) fn from_wire(word: &str, args: Value) -> Result<Self, String> {
        let order = match Verb::from_word(word) {
            Verb::PowerOff => Self::PowerOff,
            Verb::PowerReboot => Self::PowerReboot,
            Verb::Wake => Self::Wake(checked_wake(read(args)?)?),
            Verb::RedfishOn => Self::RedfishOn(read(args)?),
            Verb::RedfishOff => {
                let OffArgs { bmc, mode } = read(args)?;
                Self::RedfishOff { bmc, mode }
            }
            Verb::RedfishStatus => Self::RedfishStatus(read(args)?),
            Verb::Cancel => {
                let CancelArgs { id } = read(args)?;
                Self::Cancel { id }
            }
            Verb::Barrier => Self::Barrier,
            Verb::Refresh => Self::Refresh,
            Verb::Unknown => Self::Unknown {
                verb: Text::shortened(word),
            },
        };
        Ok(order)
    }
}

fn read<T: serde::de::DeserializeOwned>(args: Value) -> Result<T, String> {
    serde_json::from_value(args).map_err(|error| alloc::format!("args: {error}"))
}

fn checked_wake(wake: WakeOrder) -> Result<WakeOrder, String> {
    if wake.ports.is_empty() || wake.ports.len() > MAX_PORTS || wake.ports.contains(&0) {
        return Err(alloc::format!(
            "args: ports must be 1 to {MAX_PORTS} numbers from 1 to 65535"
        ));
    }
    if wake.repeat == 0 || wake.repeat > MAX_REPEAT {
        return Err(alloc::format!("args: repeat must be 1 to {MAX_REPEAT}"));
    }
    if wake.spacing_ms > MAX_SPACING_MS {
        return Err(alloc::format!(
            "args: spacing_ms must be at most {MAX_SPACING_MS}"
        ));
    }
    Ok(wake)
}
