//! What became of one train of magic packets.
//! Holds: only what a card with a link took has left; that it left proves nothing about the machine.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use super::interfaces::Link;
use crate::mac_address::MacAddress;

/// What left, for one train of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeSent {
    /// The machine's card.
    pub target: MacAddress,
    /// One entry for each card, destination and port.
    pub sends: Vec<PacketsSent>,
}

/// The packets to one destination and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketsSent {
    /// The card, or `None` where the kernel chose it by its routes.
    pub interface: Option<String>,
    /// The card's link during the train; without one the kernel takes packets all the same, and they go nowhere.
    pub link: Link,
    /// IPv4 destination.
    pub destination: Ipv4Addr,
    /// UDP destination port.
    pub port: u16,
    /// Packets that the kernel took.
    pub packets: u32,
    /// The last failure, if any packet was not taken.
    pub fault: Option<SendFault>,
}

impl PacketsSent {
    /// Packets that left the host, as far as the kernel knows.
    #[must_use]
    pub fn left(&self) -> u32 {
        match self.link {
            Link::Up => self.packets,
            Link::NoCarrier | Link::Down => 0,
        }
    }
}

impl WakeSent {
    /// Packets that left to the destination that most of them left to.
    #[must_use]
    pub fn left(&self) -> u32 {
        let left = self.sends.iter().map(PacketsSent::left);
        left.max().unwrap_or(0)
    }

    /// Whether the kernel refused a packet for want of a permission.
    pub(super) fn is_denied(&self) -> bool {
        let mut faults = self.sends.iter().filter_map(|send| send.fault.as_ref());
        faults.any(|fault| fault.kind == io::ErrorKind::PermissionDenied)
    }
}

/// Why the kernel did not take a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendFault {
    kind: io::ErrorKind,
    text: String,
}

impl From<io::Error> for SendFault {
    fn from(fault: io::Error) -> Self {
        Self {
            kind: fault.kind(),
            text: fault.to_string(),
        }
    }
}

impl fmt::Display for WakeSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.left() {
            0 => write!(f, "no magic packet for {} left:", self.target)?,
            left => write!(f, "{left} magic packets for {} left", self.target)?,
        }
        let mut parts = self
            .sends
            .chunk_by(|a, b| a.interface == b.interface)
            .peekable();
        while let Some(part) = parts.next() {
            part_of_one_card(f, part)?;
            if parts.peek().is_some() {
                f.write_str(";")?;
            }
        }
        Ok(())
    }
}

fn part_of_one_card(f: &mut fmt::Formatter<'_>, sends: &[PacketsSent]) -> fmt::Result {
    let Some(first) = sends.first() else {
        return Ok(());
    };
    if let Some(interface) = &first.interface {
        write!(f, " {interface}")?;
    }
    match first.link {
        Link::Up => {}
        Link::NoCarrier => f.write_str(" (no carrier)")?,
        Link::Down => f.write_str(" (down)")?,
    }
    let mut destinations: Vec<String> = Vec::new();
    let mut ports: Vec<String> = Vec::new();
    for send in sends {
        let (destination, port) = (send.destination.to_string(), send.port.to_string());
        if !destinations.contains(&destination) {
            destinations.push(destination);
        }
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    write!(
        f,
        " to {}, ports {}",
        destinations.join(" and "),
        ports.join(",")
    )?;
    for send in sends {
        if let Some(fault) = &send.fault {
            write!(
                f,
                " (failed to {}:{}: {})",
                send.destination, send.port, fault.text
            )?;
        }
    }
    Ok(())
}
