//! Which network cards can carry a magic packet, and to which broadcast addresses.
//! In: the kernel's folder of cards, the addresses of this host. Out: [`Lan`]s.
//! Holds: container networks, tunnels and loopback are never chosen by themselves; only a name chooses them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use if_addrs::IfAddr;

use crate::fault::{Fault, FaultKind};

/// A card and the networks on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lan {
    pub(super) name: String,
    /// Whether there is a link.
    pub(super) carrier: bool,
    /// Broadcast addresses of its IPv4 networks.
    pub(super) broadcasts: Vec<Ipv4Addr>,
}

/// The card of this name.
pub(super) fn named(cards: &Path, name: &str) -> Result<Lan, Fault> {
    let known = names(cards)?;
    if !known.iter().any(|card| card == name) {
        let detail = format!(
            "there is no network card `{name}`; there are {}",
            known.join(", ")
        );
        return Err(Fault::new(FaultKind::InvalidConfig, detail));
    }
    Ok(lan(cards, name, &addresses()?))
}

/// All cards that are up, have a link, and reach a real network.
pub(super) fn usable(cards: &Path) -> Result<Vec<Lan>, Fault> {
    let addresses = addresses()?;
    let lans = names(cards)?
        .into_iter()
        .filter(|name| is_usable(cards, name))
        .map(|name| lan(cards, &name, &addresses));
    Ok(lans.collect())
}

fn lan(cards: &Path, name: &str, addresses: &[(String, Ipv4Addr)]) -> Lan {
    let mut broadcasts: Vec<_> = addresses
        .iter()
        .filter(|(card, _)| card == name)
        .map(|(_, broadcast)| *broadcast)
        .collect();
    broadcasts.dedup();
    Lan {
        name: name.to_owned(),
        carrier: has_carrier(cards, name),
        broadcasts,
    }
}

fn names(cards: &Path) -> Result<Vec<String>, Fault> {
    let unreadable = |fault| {
        let detail = format!(
            "cannot list the network cards in {}: {fault}",
            cards.display()
        );
        Fault::new(FaultKind::InvalidConfig, detail)
    };
    let mut names: Vec<String> = fs::read_dir(cards)
        .map_err(unreadable)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        // Beside the cards there are files such as `bonding_masters`.
        .filter(|name| cards.join(name).join("address").exists())
        .collect();
    names.sort();
    Ok(names)
}

/// Card and broadcast address of each IPv4 network of this host.
fn addresses() -> Result<Vec<(String, Ipv4Addr)>, Fault> {
    let unreadable = |fault| {
        Fault::new(
            FaultKind::Transient,
            format_args!("cannot list this host's addresses: {fault}"),
        )
    };
    let found = if_addrs::get_if_addrs().map_err(unreadable)?;
    let broadcast = |interface: if_addrs::Interface| match interface.addr {
        IfAddr::V4(v4) => {
            let broadcast = v4.broadcast.filter(|broadcast| *broadcast != v4.ip)?;
            Some((interface.name, broadcast))
        }
        IfAddr::V6(_) => None,
    };
    Ok(found.into_iter().filter_map(broadcast).collect())
}

fn is_usable(cards: &Path, name: &str) -> bool {
    let card = cards.join(name);
    // The packets of a card in a bridge or bond leave by the bridge or bond.
    let enslaved = card.join("master").exists();
    is_up(&card) && has_carrier(cards, name) && !enslaved && reaches_hardware(cards, name, 0)
}

fn is_up(card: &Path) -> bool {
    const UP: u32 = 0x1;
    const LOOPBACK: u32 = 0x8;
    let flags = fs::read_to_string(card.join("flags")).unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
    flags & UP != 0 && flags & LOOPBACK == 0
}

/// Reading `carrier` of a card that is down is an error, which also means no link.
fn has_carrier(cards: &Path, name: &str) -> bool {
    fs::read_to_string(cards.join(name).join("carrier")).is_ok_and(|text| text.trim() == "1")
}

/// A real card has a device; a bridge, VLAN or bond counts if one below it has.
fn reaches_hardware(cards: &Path, name: &str, depth: u8) -> bool {
    /// A VLAN over a bridge over a bond over cards; more is a loop.
    const MAX_DEPTH: u8 = 4;
    let card = cards.join(name);
    if card.join("device").exists() {
        return true;
    }
    let Ok(entries) = fs::read_dir(&card) else {
        return false;
    };
    depth < MAX_DEPTH
        && entries.flatten().any(|entry| {
            let file = entry.file_name();
            let below = file.to_str().and_then(|file| file.strip_prefix("lower_"));
            below.is_some_and(|below| reaches_hardware(cards, below, depth + 1))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of cards: name, flags, carrier, further entries.
    fn cards(list: &[(&str, &str, &str, &[&str])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("bonding_masters"), "").expect("written");
        for (name, flags, carrier, entries) in list {
            let card = folder.path().join(name);
            fs::create_dir(&card).expect("created");
            fs::write(card.join("address"), "52:54:00:00:00:01\n").expect("written");
            fs::write(card.join("flags"), format!("{flags}\n")).expect("written");
            fs::write(card.join("carrier"), format!("{carrier}\n")).expect("written");
            for entry in *entries {
                fs::create_dir(card.join(entry)).expect("created");
            }
        }
        folder
    }

    #[test]
    fn real_cards_with_a_link_are_chosen_and_what_stands_on_them() {
        let folder = cards(&[
            ("lo", "0x9", "1", &[]),
            ("eth0", "0x1003", "1", &["device"]),
            ("eth1", "0x1002", "1", &["device"]),
            ("eth2", "0x1003", "0", &["device"]),
            ("eth3", "0x1003", "1", &["device", "master"]),
            ("vmbr0", "0x1003", "1", &["lower_eth3", "lower_veth1"]),
            ("eth0.40", "0x1003", "1", &["lower_eth0"]),
            ("docker0", "0x1003", "1", &["lower_veth2"]),
            ("veth1", "0x1003", "1", &["master"]),
            ("veth2", "0x1003", "1", &["master"]),
            ("wg0", "0x91", "1", &[]),
        ]);
        let lans = usable(folder.path()).expect("a folder of cards");
        let names: Vec<_> = lans.iter().map(|lan| lan.name.as_str()).collect();
        assert_eq!(names, ["eth0", "eth0.40", "vmbr0"]);
    }

    #[test]
    fn an_unknown_card_is_refused_with_the_names_there_are() {
        let folder = cards(&[
            ("eth0", "0x1003", "1", &["device"]),
            ("lo", "0x9", "1", &[]),
        ]);
        let fault = named(folder.path(), "eth7").expect_err("not there");
        assert_eq!(fault.kind, FaultKind::InvalidConfig);
        assert_eq!(
            fault.detail,
            "there is no network card `eth7`; there are eth0, lo"
        );
        // A name that leaves the folder is no card either.
        assert!(named(folder.path(), "../eth0").is_err());
    }

    #[test]
    fn a_named_card_is_taken_even_without_a_link() {
        let folder = cards(&[("eth2", "0x1002", "0", &["device"])]);
        let lan = named(folder.path(), "eth2").expect("it is there");
        assert!(!lan.carrier);
    }
}
