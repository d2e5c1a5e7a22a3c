//! Which network cards can carry a magic packet, and to which broadcast addresses.
//! In: the kernel's folder of cards, the addresses of this host. Out: [`Card`]s.
//! Holds: container networks, tunnels and loopback are never chosen by themselves; only a name chooses them.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use if_addrs::IfAddr;

use crate::fault::{Fault, FaultKind};

/// A network card as a way out for magic packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Whether it carries anything now.
    pub link: Link,
    /// What it stands on.
    pub footing: Footing,
    /// Broadcast addresses of its IPv4 networks.
    pub broadcasts: Vec<Ipv4Addr>,
}

/// Whether a card carries anything now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is up and has a link.
    Up,
    /// It is up, but nothing answers at the other end of the cable.
    NoCarrier,
    /// It was not set up, or was taken down.
    Down,
}

/// What a card stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Footing {
    /// A device, or a bridge, VLAN or bond over one.
    Device,
    /// A device whose packets leave by the bridge or bond of this name.
    PartOf(String),
    /// Nothing that this host shows: the card of a container or virtual machine, or a tunnel. Only its other end knows.
    Elsewhere,
    /// Nothing: loopback, or a bridge, VLAN or bond that has no device below it, as that of a container network.
    Nothing,
}

impl Card {
    /// Whether it is chosen without being named.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.link == Link::Up && self.footing == Footing::Device
    }
}

/// The card of this name.
pub(super) fn named(cards: &Path, name: &str) -> Result<Card, Fault> {
    let mut known = all(cards)?;
    if let Some(index) = known.iter().position(|card| card.name == name) {
        return Ok(known.swap_remove(index));
    }
    let names: Vec<_> = known.into_iter().map(|card| card.name).collect();
    let detail = format!(
        "there is no network card `{name}`; there are {}",
        names.join(", ")
    );
    Err(Fault::new(FaultKind::InvalidConfig, detail))
}

/// All cards that are up, have a link, and reach a real network.
pub(super) fn usable(cards: &Path) -> Result<Vec<Card>, Fault> {
    let mut found = all(cards)?;
    found.retain(Card::is_usable);
    Ok(found)
}

/// All cards, by name.
pub(super) fn all(cards: &Path) -> Result<Vec<Card>, Fault> {
    let addresses = addresses()?;
    let card = |name: String| {
        let mut broadcasts: Vec<_> = addresses
            .iter()
            .filter(|(card, _)| *card == name)
            .map(|(_, broadcast)| *broadcast)
            .collect();
        broadcasts.dedup();
        Card {
            link: link(cards, &name),
            footing: footing(cards, &name),
            broadcasts,
            name,
        }
    };
    Ok(names(cards)?.into_iter().map(card).collect())
}

/// The link of the card by which the kernel would send to this address; up where that cannot be told.
pub(super) fn link_towards(cards: &Path, destination: Ipv4Addr) -> Link {
    let name = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.set_broadcast(true).ok()?;
        // For UDP this sends nothing: it only makes the kernel choose a route, and with it our address. The port is any.
        socket.connect((destination, 9)).ok()?;
        let own = socket.local_addr().ok()?.ip();
        let found = if_addrs::get_if_addrs().ok()?;
        let card = found.into_iter().find(|card| card.ip() == own)?;
        Some(card.name)
    };
    name().map_or(Link::Up, |name| link(cards, &name))
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

/// What the kernel knows of this card's link.
pub(super) fn link(cards: &Path, name: &str) -> Link {
    const UP: u32 = 0x1;
    let card = cards.join(name);
    if flags(&card) & UP == 0 {
        return Link::Down;
    }
    match fs::read_to_string(card.join("carrier")) {
        Ok(text) if text.trim() == "1" => Link::Up,
        Ok(_) | Err(_) => Link::NoCarrier,
    }
}

fn flags(card: &Path) -> u32 {
    let flags = fs::read_to_string(card.join("flags")).unwrap_or_default();
    u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0)
}

fn footing(cards: &Path, name: &str) -> Footing {
    const LOOPBACK: u32 = 0x8;
    let card = cards.join(name);
    if !reaches_hardware(cards, name, 0) {
        let layered = ["bridge", "bonding"].map(|kind| card.join(kind).exists());
        let hollow = layered.contains(&true) || !below(&card).is_empty();
        return if hollow || flags(&card) & LOOPBACK != 0 {
            Footing::Nothing
        } else {
            Footing::Elsewhere
        };
    }
    let master = fs::canonicalize(card.join("master")).ok();
    let master = master.as_deref().and_then(Path::file_name);
    match master {
        Some(master) => Footing::PartOf(master.to_string_lossy().into_owned()),
        None => Footing::Device,
    }
}

/// A real card has a device; a bridge, VLAN or bond counts if one below it has.
fn reaches_hardware(cards: &Path, name: &str, depth: u8) -> bool {
    /// A VLAN over a bridge over a bond over cards; more is a loop.
    const MAX_DEPTH: u8 = 4;
    let card = cards.join(name);
    if card.join("device").exists() {
        return true;
    }
    let deeper = |below: &String| reaches_hardware(cards, below, depth + 1);
    depth < MAX_DEPTH && below(&card).iter().any(deeper)
}

/// The cards that this one is laid over.
fn below(card: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(card) else {
        return Vec::new();
    };
    let names = entries.flatten().filter_map(|entry| {
        let file = entry.file_name().into_string().ok()?;
        file.strip_prefix("lower_").map(str::to_owned)
    });
    names.collect()
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
        let cards = usable(folder.path()).expect("a folder of cards");
        let names: Vec<_> = cards.iter().map(|card| card.name.as_str()).collect();
        assert_eq!(names, ["eth0", "eth0.40", "vmbr0"]);
    }

    #[test]
    fn link_and_footing_of_each_card_are_told() {
        let folder = cards(&[
            ("docker0", "0x1003", "0", &["bridge"]),
            ("docker1", "0x1003", "1", &["bridge", "lower_veth2"]),
            ("eth0", "0x1003", "1", &["device"]),
            ("eth1", "0x1002", "", &["device"]),
            ("eth2", "0x1003", "0", &["device"]),
            ("eth3", "0x1003", "1", &["device"]),
            ("lo", "0x9", "1", &[]),
            ("macvlan0", "0x1003", "1", &[]),
            ("vmbr0", "0x1003", "1", &["lower_eth3"]),
        ]);
        let link = folder.path().join("eth3/master");
        std::os::unix::fs::symlink("../vmbr0", link).expect("linked");
        let found = all(folder.path()).expect("a folder of cards");
        let told: Vec<_> = found
            .iter()
            .map(|card| (card.name.as_str(), card.link, &card.footing))
            .collect();
        let part = Footing::PartOf("vmbr0".to_owned());
        assert_eq!(
            told,
            [
                ("docker0", Link::NoCarrier, &Footing::Nothing),
                ("docker1", Link::Up, &Footing::Nothing),
                ("eth0", Link::Up, &Footing::Device),
                ("eth1", Link::Down, &Footing::Device),
                ("eth2", Link::NoCarrier, &Footing::Device),
                ("eth3", Link::Up, &part),
                ("lo", Link::Up, &Footing::Nothing),
                ("macvlan0", Link::Up, &Footing::Elsewhere),
                ("vmbr0", Link::Up, &Footing::Device),
            ]
        );
    }

    #[test]
    fn the_kernel_tells_by_which_card_it_would_send() {
        let folder = cards(&[("lo", "0x8", "", &[])]);
        let to_loopback = Ipv4Addr::new(127, 255, 255, 255);
        assert_eq!(link_towards(folder.path(), to_loopback), Link::Down);
        assert_eq!(
            link_towards(Path::new("/sys/class/net"), to_loopback),
            Link::Up
        );
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
        let card = named(folder.path(), "eth2").expect("it is there");
        assert_eq!(card.link, Link::Down);
    }
}
