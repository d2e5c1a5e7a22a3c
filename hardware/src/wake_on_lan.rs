//! Wake-on-LAN: magic packets by UDP broadcast on the right network card.
//! In: a [`MacAddress`] and [`WakeOptions`]. Out: [`WakeSent`], which tells exactly what left by which card.
//! Holds: a packet that left proves nothing about the machine; without a link none left; with a broadcast address given,
//! 255.255.255.255 is not used.
//! Not here: raw frames and IPv6, repeating until the machine is seen, arming the sleeping card ([`nic`](crate::nic)).

mod interfaces;
mod packet;
mod sent;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

pub use interfaces::{Card, Footing, Link};
pub use packet::{SecureOn, SecureOnFault, magic_packet};
pub use sent::{PacketsSent, SendFault, WakeSent};

use crate::fault::{Fault, FaultKind};
use crate::mac_address::MacAddress;
use crate::power::{Answer, Applied, PowerSwitch, Step};

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
    /// packet could leave: the fault tells what the kernel knows of each card.
    pub async fn wake(&self) -> Result<WakeSent, Fault> {
        let cards = Path::new(NETWORK_CARDS);
        let routes = self.routes(cards)?;
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
        for sender in &mut senders {
            sender.look_again(cards);
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
        let used = match (&options.interface, options.broadcast) {
            (None, Some(destination)) => {
                return Ok(vec![Route::unbound(cards, destination)]);
            }
            (None, None) => interfaces::usable(cards)?,
            (Some(name), _) => vec![interfaces::named(cards, name)?],
        };
        if used.is_empty() {
            return Err(Fault::new(
                FaultKind::InvalidConfig,
                "no network card is up that could carry a magic packet; name one in `interface`",
            ));
        }
        Ok(used
            .iter()
            .flat_map(|card| routes_of(card, options.broadcast))
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
        if sent.left() > 0 {
            return Ok(sent);
        }
        let kind = if sent.is_denied() {
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

/// The cards of this host, by name: those that could carry magic packets, and those that could not.
///
/// # Errors
/// `InvalidConfig` or `Transient` if the kernel does not list its cards or their addresses.
pub fn cards() -> Result<Vec<Card>, Fault> {
    interfaces::all(Path::new(NETWORK_CARDS))
}

/// One way out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    interface: Option<String>,
    link: Link,
    destination: Ipv4Addr,
}

impl Route {
    fn unbound(cards: &Path, destination: Ipv4Addr) -> Self {
        Self {
            interface: None,
            link: interfaces::link_towards(cards, destination),
            destination,
        }
    }
}

fn routes_of(card: &Card, broadcast: Option<Ipv4Addr>) -> Vec<Route> {
    let destinations = match broadcast {
        Some(destination) => vec![destination],
        None => card
            .broadcasts
            .iter()
            .copied()
            .chain([Ipv4Addr::BROADCAST])
            .collect(),
    };
    destinations
        .into_iter()
        .map(|destination| Route {
            interface: Some(card.name.clone()),
            link: card.link,
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
                link: route.link,
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

    /// A link that came up during the train may have carried its later packets.
    fn look_again(&mut self, cards: &Path) {
        for send in &mut self.sends {
            if send.link != Link::Up {
                send.link = match &send.interface {
                    Some(name) => interfaces::link(cards, name),
                    None => interfaces::link_towards(cards, send.destination),
                };
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
