//! Wake-on-LAN: magic packets by UDP broadcast on the right network card.
//! In: a [`MacAddress`] and [`WakeOptions`]. Out: [`WakeSent`], which tells exactly what left by which card.
//! Holds: a packet that left proves nothing about the machine; with a broadcast address given, 255.255.255.255 is not used.
//! Not here: raw frames and IPv6, repeating until the machine is seen, arming the sleeping card ([`nic`](crate::nic)).

mod interfaces;
mod packet;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

pub use packet::{SecureOn, SecureOnFault, magic_packet};

use crate::fault::{Fault, FaultKind};
use crate::mac_address::MacAddress;
use crate::power::{Answer, Applied, PowerSwitch, Step};
use interfaces::Lan;

/// Where the kernel lists network cards.
const NETWORK_CARDS: &str = "/sys/class/net";

/// How the packets for one machine are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeOptions {
    /// Card to send by; `None` = every card that is up and real (or a bridge, VLAN or bond over one).
    pub interface: Option<String>,
    /// Destination; `None` = the broadcast addresses of each card's networks, and 255.255.255.255.
    pub broadcast: Option<Ipv4Addr>,
    /// UDP ports. Cards ignore them, but relays and firewalls do not.
    pub ports: Vec<u16>,
    /// Password of the card, where it has one.
    pub secure_on: Option<SecureOn>,
    /// Packets for each destination and port. One alone gets lost while a switch port wakes from its own sleep.
    pub packets: u32,
    /// Time between packets.
    pub spacing: Duration,
}

impl Default for WakeOptions {
    fn default() -> Self {
        Self {
            interface: None,
            broadcast: None,
            ports: vec![9, 7],
            secure_on: None,
            packets: 3,
            spacing: Duration::from_millis(100),
        }
    }
}

/// Wakes one machine.
#[derive(Clone, Debug)]
pub struct WakeOnLan {
    target: MacAddress,
    options: WakeOptions,
}

impl WakeOnLan {
    /// A driver for the machine with this card.
    #[must_use]
    pub fn new(target: MacAddress, options: WakeOptions) -> Self {
        Self { target, options }
    }

    /// Sends one train of packets.
    ///
    /// # Errors
    /// `InvalidConfig` for options that cannot work or a card that is not there, `Unreachable` or `Denied` if not one
    /// packet could leave.
    pub async fn wake(&self) -> Result<WakeSent, Fault> {
        let routes = self.routes(Path::new(NETWORK_CARDS))?;
        let packet = magic_packet(self.target, self.options.secure_on.as_ref());
        let mut senders = routes
            .into_iter()
            .map(|route| Sender::open(route, &self.options.ports))
            .collect::<Vec<_>>();
        for round in 0..self.options.packets {
            if round > 0 {
                tokio::time::sleep(self.options.spacing).await;
            }
            for sender in &mut senders {
                sender.send(&packet);
            }
        }
        self.outcome(senders)
    }

    fn routes(&self, cards: &Path) -> Result<Vec<Route>, Fault> {
        let options = &self.options;
        if options.ports.is_empty() || options.ports.contains(&0) || options.packets == 0 {
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                "Wake-on-LAN needs at least one packet and ports from 1 to 65535",
            ));
        }
        let lans = match (&options.interface, options.broadcast) {
            (None, Some(destination)) => return Ok(vec![Route::unbound(destination)]),
            (None, None) => interfaces::usable(cards)?,
            (Some(name), _) => vec![interfaces::named(cards, name)?],
        };
        if lans.is_empty() {
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                "no network card is up that could carry a magic packet; name one in `interface`",
            ));
        }
        Ok(lans
            .iter()
            .flat_map(|lan| routes_of(lan, options.broadcast))
            .collect())
    }

    fn outcome(&self, senders: Vec<Sender>) -> Result<WakeSent, Fault> {
        let sent = WakeSent {
            target: self.target,
            sends: senders
                .into_iter()
                .flat_map(|sender| sender.sends)
                .collect(),
        };
        if sent.sends.iter().any(|send| send.packets > 0) {
            return Ok(sent);
        }
        let denied = sent
            .sends
            .iter()
            .any(|send| send.fault.as_ref().is_some_and(SendFault::is_denied));
        let kind = if denied {
            FaultKind::Denied
        } else {
            FaultKind::Unreachable
        };
        Err(Fault::new(kind, sent))
    }
}

impl PowerSwitch for WakeOnLan {
    fn apply(&self, step: Step) -> Answer<'_, Applied> {
        Box::pin(async move {
            match step {
                Step::On => {
                    let detail = self.wake().await?.to_string();
                    Ok(Applied::Sent { detail })
                }
                Step::ShutdownGraceful | Step::OffHard | Step::Reboot => Err(Fault::new(
                    FaultKind::NotSupported,
                    format_args!("Wake-on-LAN can only switch on, not do a {step}"),
                )),
            }
        })
    }
}

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
    /// Whether the card has a link; without one the kernel takes packets all the same, and they go nowhere.
    pub carrier: bool,
    /// IPv4 destination.
    pub destination: Ipv4Addr,
    /// UDP destination port.
    pub port: u16,
    /// Packets that the kernel took.
    pub packets: u32,
    /// The last failure, if any packet was not taken.
    pub fault: Option<SendFault>,
}

/// Why the kernel did not take a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendFault {
    kind: io::ErrorKind,
    text: String,
}

impl SendFault {
    fn is_denied(&self) -> bool {
        self.kind == io::ErrorKind::PermissionDenied
    }
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
        let most = self
            .sends
            .iter()
            .map(|send| send.packets)
            .max()
            .unwrap_or(0);
        write!(f, "{most} magic packets for {} left", self.target)?;
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
    if !first.carrier {
        f.write_str(" (no carrier)")?;
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

/// One way out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    interface: Option<String>,
    carrier: bool,
    destination: Ipv4Addr,
}

impl Route {
    fn unbound(destination: Ipv4Addr) -> Self {
        Self {
            interface: None,
            carrier: true,
            destination,
        }
    }
}

fn routes_of(lan: &Lan, broadcast: Option<Ipv4Addr>) -> Vec<Route> {
    let destinations = match broadcast {
        Some(destination) => vec![destination],
        None => lan
            .broadcasts
            .iter()
            .copied()
            .chain([Ipv4Addr::BROADCAST])
            .collect(),
    };
    destinations
        .into_iter()
        .map(|destination| Route {
            interface: Some(lan.name.clone()),
            carrier: lan.carrier,
            destination,
        })
        .collect()
}

/// A socket for one route, and what it has sent.
struct Sender {
    socket: Option<Socket>,
    sends: Vec<PacketsSent>,
}

impl Sender {
    fn open(route: Route, ports: &[u16]) -> Self {
        let opened = socket(route.interface.as_deref());
        let (socket, fault) = match opened {
            Ok(socket) => (Some(socket), None),
            Err(fault) => (None, Some(SendFault::from(fault))),
        };
        let sends = ports
            .iter()
            .map(|port| PacketsSent {
                interface: route.interface.clone(),
                carrier: route.carrier,
                destination: route.destination,
                port: *port,
                packets: 0,
                fault: fault.clone(),
            })
            .collect();
        Self { socket, sends }
    }

    fn send(&mut self, packet: &[u8]) {
        let Some(socket) = &self.socket else { return };
        for send in &mut self.sends {
            let to = SocketAddrV4::new(send.destination, send.port);
            match socket.send_to(packet, &to.into()) {
                Ok(_) => send.packets += 1,
                Err(fault) => send.fault = Some(fault.into()),
            }
        }
    }
}

/// A UDP socket that may broadcast, tied to a card if one is named: the card of the default route need not be the one
/// with the sleeping machine.
fn socket(interface: Option<&str>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    if let Some(name) = interface {
        socket.bind_device(Some(name.as_bytes()))?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests;
