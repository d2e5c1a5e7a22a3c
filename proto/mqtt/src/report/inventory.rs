//! Inventory: what a host is made of and what its agent can do.

use crate::key::PublicKey;
use crate::mac::Mac;
use crate::payload::Payload;
use crate::text::Text;
use crate::version::V1;
use crate::wire_enum::wire_enum;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The most credentials that are named; a relay with more names none, and may be asked for any.
pub const MAX_CREDENTIALS: usize = 32;

/// Hardware, interfaces and abilities: retained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The version of this payload.
    pub v: V1,
    /// The host's name.
    pub hostname: Text<253>,
    /// The machine id of the installation.
    pub machine: Text<64>,
    /// The hardware under it.
    pub hw: Hardware,
    /// Its network interfaces.
    pub nics: Vec<Nic>,
    /// The operating system, for people.
    pub os: Text<128>,
    /// The kernel's release.
    pub kernel: Text<128>,
    /// The processor architecture.
    pub arch: Text<32>,
    /// The verbs that it carries out, as words.
    pub caps: Vec<Text<32>>,
    /// The segments that it relays for; empty unless it is a relay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// A digest of the gateway's address: equal on hosts of one segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<Text<64>>,
    /// The names of the BMC credentials that it holds, at most [`MAX_CREDENTIALS`]; absent unless it is a relay that
    /// can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<Text<63>>>,
    /// The key that verifies its results.
    pub key: PublicKey,
}

impl Payload for Inventory {}

/// What identifies the hardware; serial numbers only as digests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Who made it.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub vendor: Text<128>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub product: Text<128>,
    /// A digest of its serial number.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub serial_hash: Text<64>,
    /// A digest of its UUID.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub uuid_hash: Text<64>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Its name.
    pub name: Text<15>,
    /// Its permanent address.
    pub mac: Mac,
    /// Whether a magic packet wakes the host through it.
    pub wol: WakeFlag,
    /// Whether it has a carrier.
    pub up: bool,
}

wire_enum! {
    /// Whether a magic packet wakes the host through an interface; unknown if it could not be read.
    pub enum WakeFlag {
        /// It does.
        Armed = "armed",
        /// It could, but is not set to.
        Unarmed = "unarmed",
        /// The interface cannot.
        Unsupported = "unsupported",
    }
}

/// A segment that a relay sends magic packets on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its name.
    pub name: Text<63>,
    /// The relay's interface on it.
    pub iface: Text<15>,
}
