//! A random history of a relay at its broker: wakes are ordered, repeated, signed again, held up; the relay is thrown out.
//! In: SEED and DEEDS from the environment, for other and longer ones. Out: the magic packets of each wake, as they arrive.
//! Holds: no wake has more than one effect, and at the end the relay still obeys.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};

use proto_mqtt::order::WakeOrder;
use proto_mqtt::report::ResultState;
use proto_mqtt::{CommandBody, Mac, Order, Text};
use rustix::process::Signal;

use crate::agent::{Agent, until};
use crate::lab::{Lab, Session};

/// Enough for each kind to come several times.
const DEEDS: u32 = 60;
/// Each time the link waits twice as long before it connects again, up to half a minute.
const THROWN_OUT: u32 = 3;
const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// Numbers by a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }
}

/// A network on loopback, and how many packets came for each machine.
struct Network {
    socket: UdpSocket,
    woken: BTreeMap<[u8; 6], u32>,
}

impl Network {
    fn new() -> Self {
        let socket = UdpSocket::bind((LOOPBACK, 0)).expect("a port");
        socket.set_nonblocking(true).expect("settable");
        Self {
            socket,
            woken: BTreeMap::new(),
        }
    }

    /// A wake of one packet for the machine of this number.
    fn wake(&self, number: u32) -> Order {
        Order::Wake(WakeOrder {
            mac: Mac(mac(number)),
            segment: Text::from("default"),
            ports: vec![self.socket.local_addr().expect("bound").port()],
            broadcast: Some(LOOPBACK),
            secureon: None,
            repeat: 1,
            spacing_ms: 0,
        })
    }

    fn look(&mut self) {
        let mut packet = [0; 200];
        while let Ok(length) = self.socket.recv(&mut packet) {
            let woken = packet[..length].get(6..12).expect("a magic packet");
            let mac = woken.try_into().expect("six bytes");
            *self.woken.entry(mac).or_default() += 1;
        }
    }
}

fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x52, 0x54, a, b, c, d]
}

/// From the environment, or the usual one.
fn setting(name: &str, usual: u32) -> u32 {
    let text = std::env::var(name).ok();
    text.map_or(usual, |text| text.parse().expect("a number"))
}

/// What happens next.
async fn deed(
    lab: &mut Lab,
    agent: &Agent,
    network: &Network,
    sent: &mut Vec<CommandBody>,
    dice: &mut Dice,
) {
    let number = u32::try_from(sent.len()).expect("a small number");
    match dice.below(5) {
        // Sent again as it was, or signed again with a fresh challenge.
        0 if !sent.is_empty() => {
            lab.send(&sent[dice.below(sent.len())]).await;
        }
        1 if !sent.is_empty() => lab.repeat(&sent[dice.below(sent.len())]).await,
        2 => {
            let body = lab.command(network.wake(number)).await;
            agent.signal(Signal::STOP);
            lab.send(&body).await;
            agent.signal(Signal::CONT);
            sent.push(body);
        }
        _ => {
            let body = lab.command(network.wake(number)).await;
            for _ in 0..=dice.below(3) {
                lab.send(&body).await;
            }
            sent.push(body);
        }
    }
}

#[tokio::test]
async fn whatever_happens_on_the_way_no_wake_has_two_effects() {
    let (seed, deeds) = (setting("SEED", 1), setting("DEEDS", DEEDS));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ u64::from(seed));
    let mut network = Network::new();
    let mut lab = Lab::start().await;
    lab.folder.make_relay();
    let agent = Agent::start(&lab.folder);
    let mut sent = Vec::new();
    for number in 1..=deeds {
        deed(&mut lab, &agent, &network, &mut sent, &mut dice).await;
        if number % (deeds / (THROWN_OUT + 1)).max(1) == 0 && number < deeds {
            lab.impersonate(Session::Clean);
        }
        network.look();
    }
    let last = u32::MAX;
    let order = lab.command(network.wake(last)).await;
    assert_eq!(
        lab.insist(&order).await.state,
        ResultState::Accepted,
        "seed {seed}"
    );
    until("the last wake is seen", || {
        network.look();
        network.woken.get(&mac(last)).copied()
    });
    // Most commands reach a relay that can hear them, or nothing was proved.
    assert!(network.woken.len() > sent.len() / 2, "seed {seed}");
    let twice: Vec<_> = network
        .woken
        .iter()
        .filter(|(_, times)| **times > 1)
        .collect();
    assert!(twice.is_empty(), "seed {seed}: {twice:?}");
}
