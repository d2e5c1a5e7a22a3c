//! What the host is made of, from the kernel's files and the network cards.
//! Holds: serial numbers, UUID and the gateway's address leave the host only as digests.

use super::redfish;
use crate::config::{Paths, Relay};
use hardware::nic::{self, Nics};
use proto_mqtt::key::PublicKey;
use proto_mqtt::report::{Hardware, HostNic, HostOutcome, Inventory, Nic, Segment, WakeFlag};
use proto_mqtt::version::V1;
use proto_mqtt::{Mac, Text, Verb};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;

/// More cards than a host has, fewer than fill a message.
const MAX_NICS: usize = 32;

const KERNEL_CARDS: &str = "/sys/class/net";

/// Reads everything now.
pub(super) fn inventory(
    paths: &Paths,
    relay: Option<&Relay>,
    caps: &[Verb],
    key: PublicKey,
) -> Inventory {
    Inventory {
        v: V1,
        hostname: first_line("/proc/sys/kernel/hostname"),
        machine: first_line(&paths.machine_id),
        hw: hardware(Path::new("/sys/class/dmi/id")),
        nics: list(&paths.nics).iter().map(card).collect(),
        os: Text::shortened(&os_name(&text("/etc/os-release"))),
        kernel: first_line("/proc/sys/kernel/osrelease"),
        arch: Text::from(std::env::consts::ARCH),
        caps: caps.iter().map(|verb| Text::from(verb.as_str())).collect(),
        segments: relay.map(segments).unwrap_or_default(),
        l2: gateway(&text("/proc/net/route"), &text("/proc/net/arp"))
            .map(|mac| digest("gateway", &mac)),
        credentials: relay.and_then(|relay| redfish::held(&relay.credentials)),
        key,
    }
}

/// Sets the wake flag of every card that has one; the cards as they stand afterwards.
pub(super) fn arm(folder: &Path) -> Option<HostOutcome> {
    let cards = nics(folder);
    for card in list(folder) {
        if card.wake == nic::WakeFlag::Disarmed
            && let Err(error) = cards.arm(&card.name)
        {
            tracing::warn!(nic = card.name, %error, "wake flag not set");
        }
    }
    let cards = cards
        .list()
        .inspect_err(|error| tracing::warn!(%error, "network cards not listed"))
        .ok()?;
    let nics = cards.iter().take(MAX_NICS).map(|card| HostNic {
        mac: Mac(card.mac.octets()),
        wol: flag(&card.wake),
    });
    Some(HostOutcome {
        nics: nics.collect(),
    })
}

/// The physical cards with their wake flags; none if they cannot be listed.
pub(crate) fn list(folder: &Path) -> Vec<nic::Nic> {
    let mut cards = nics(folder).list().unwrap_or_default();
    cards.truncate(MAX_NICS);
    cards
}

fn nics(folder: &Path) -> Nics {
    if folder == Path::new(KERNEL_CARDS) {
        Nics::kernel()
    } else {
        Nics::folder(folder)
    }
}

fn card(card: &nic::Nic) -> Nic {
    Nic {
        name: Text::shortened(&card.name),
        mac: Mac(card.mac.octets()),
        wol: flag(&card.wake),
        up: card.up,
    }
}

fn flag(flag: &nic::WakeFlag) -> WakeFlag {
    match flag {
        nic::WakeFlag::Armed => WakeFlag::Armed,
        nic::WakeFlag::Disarmed => WakeFlag::Unarmed,
        nic::WakeFlag::NotSupported => WakeFlag::Unsupported,
        nic::WakeFlag::Unknown(_) => WakeFlag::Unknown,
    }
}

fn segments(relay: &Relay) -> Vec<Segment> {
    let segment = |(name, card): (&String, &Option<String>)| Segment {
        name: Text::shortened(name),
        iface: Text::shortened(card.as_deref().unwrap_or("any")),
    };
    relay.segments.iter().map(segment).collect()
}

fn hardware(dmi: &Path) -> Hardware {
    let secret = |file: &str| {
        let line = text(dmi.join(file));
        let line = line.trim();
        if line.is_empty() {
            Text::default()
        } else {
            digest(file, line)
        }
    };
    Hardware {
        vendor: first_line(dmi.join("sys_vendor")),
        product: first_line(dmi.join("product_name")),
        serial_hash: secret("product_serial"),
        uuid_hash: secret("product_uuid"),
    }
}

/// Half of a SHA-256: enough to compare, too little to be taken for the thing itself.
fn digest(purpose: &str, secret: &str) -> Text<64> {
    let hash = Sha256::digest(format!("homelab-agent {purpose} {secret}").as_bytes());
    let mut hex = String::new();
    for byte in hash.iter().take(16) {
        let _ = write!(hex, "{byte:02x}");
    }
    Text::shortened(&hex)
}

/// The address of the default gateway's card, as the neighbour table has it.
fn gateway(route: &str, arp: &str) -> Option<String> {
    let columns = |line: &'_ str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let default = route
        .lines()
        .skip(1)
        .map(columns)
        .find(|row| row.get(1).is_some_and(|to| to == "00000000"))?;
    let little_endian = u32::from_str_radix(default.get(2)?, 16).ok()?;
    let address = std::net::Ipv4Addr::from(little_endian.to_le_bytes()).to_string();
    let neighbour = arp
        .lines()
        .skip(1)
        .map(columns)
        .find(|row| row.first() == Some(&address))?;
    neighbour
        .get(3)
        .filter(|mac| *mac != "00:00:00:00:00:00")
        .cloned()
}

fn os_name(os_release: &str) -> String {
    let name = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

fn first_line<const MAX: usize>(path: impl AsRef<Path>) -> Text<MAX> {
    Text::shortened(text(path).lines().next().unwrap_or_default().trim())
}

fn text(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests;
