//! Magic packets, as a relay sends them.

use super::fault;
use agent_core::DriverFault;
use hardware::MacAddress;
use hardware::wake_on_lan::{PacketsSent, WakeOnLan, WakeOptions, WakeSent};
use proto_mqtt::Text;
use proto_mqtt::order::WakeOrder;
use proto_mqtt::report::{Code, Outcome, Sent, WakeOutcome};
use std::net::IpAddr;
use std::time::Duration;

/// Sends one train by this card, or by every physical one that is up.
pub(super) async fn send(
    order: WakeOrder,
    card: Option<String>,
) -> Result<Option<Outcome>, DriverFault> {
    let target = MacAddress::new(order.mac.0).map_err(|error| refused(&error))?;
    let secure_on = order
        .secureon
        .as_ref()
        .map(|password| password.as_str().parse())
        .transpose();
    let options = WakeOptions {
        interface: card,
        broadcast: order.broadcast,
        ports: order.ports,
        secure_on: secure_on.map_err(|error| refused(&error))?,
        packets: order.repeat.into(),
        spacing: Duration::from_millis(order.spacing_ms.into()),
    };
    let sent = WakeOnLan::new(target, options)
        .wake()
        .await
        .map_err(|error| fault(&error))?;
    tracing::info!(mac = %target, %sent, "magic packets sent");
    Ok(Some(Outcome::Wol(outcome(&sent))))
}

fn refused(error: &dyn std::error::Error) -> DriverFault {
    DriverFault {
        code: Code::ExecRefused,
        msg: Text::shortened(&error.to_string()),
    }
}

/// One entry for each card, without what did not leave.
fn outcome(sent: &WakeSent) -> WakeOutcome {
    let left: Vec<&PacketsSent> = sent.sends.iter().filter(|send| send.left() > 0).collect();
    let mut ports: Vec<u16> = Vec::new();
    let mut cards: Vec<Sent> = Vec::new();
    for send in &left {
        if !ports.contains(&send.port) {
            ports.push(send.port);
        }
        let iface = Text::shortened(send.interface.as_deref().unwrap_or("any"));
        let to = IpAddr::V4(send.destination);
        match cards.iter_mut().find(|card| card.iface == iface) {
            Some(card) if card.to.contains(&to) => {}
            Some(card) => card.to.push(to),
            None => cards.push(Sent {
                iface,
                to: vec![to],
            }),
        }
    }
    WakeOutcome {
        sent: cards,
        ports,
        packets: left.iter().map(|send| send.left()).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto_mqtt::Mac;
    use std::net::{Ipv4Addr, UdpSocket};

    fn order(mac: [u8; 6], port: u16) -> WakeOrder {
        WakeOrder {
            mac: Mac(mac),
            segment: Text::from("default"),
            ports: vec![port],
            broadcast: Some(Ipv4Addr::LOCALHOST),
            secureon: None,
            repeat: 2,
            spacing_ms: 0,
        }
    }

    #[tokio::test]
    async fn a_train_leaves_and_is_told_exactly() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a deadline");
        let port = socket.local_addr().expect("its address").port();
        let outcome = send(order([2, 0, 0, 0, 0, 1], port), None)
            .await
            .expect("sent");
        let to = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let sent = vec![Sent {
            iface: Text::from("any"),
            to,
        }];
        assert_eq!(
            outcome,
            Some(Outcome::Wol(WakeOutcome {
                sent,
                ports: vec![port],
                packets: 2
            }))
        );
        let mut packet = [0u8; 200];
        for _ in 0..2 {
            assert_eq!(socket.recv(&mut packet).expect("a packet"), 102);
            assert_eq!(packet[6..12], [2, 0, 0, 0, 0, 1]);
        }
    }

    #[tokio::test]
    async fn a_group_address_wakes_nobody() {
        let fault = send(order([0xff; 6], 9), None).await.expect_err("refused");
        assert_eq!(fault.code, Code::ExecRefused);
        assert!(fault.msg.as_str().contains("broadcast"), "{}", fault.msg);
    }
}
