//! Magic packets as they lie in an Ethernet frame.
//! In: a frame. Out: a [`Sighting`], if it would wake anybody.
//! Holds: like a card, finds the pattern anywhere in the frame, whatever carries it.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

use crate::recorder::{Mac, magic};

/// Destination, source and type.
const ETHERNET_BYTES: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;
/// Six bytes FF, then sixteen times six bytes.
const MAGIC_BYTES: usize = 102;

/// One line of a listener's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// From now on every magic packet is told.
    Listening {
        /// The card.
        nic: String,
    },
    /// A magic packet.
    MagicPacket(Sighting),
}

/// A magic packet that a card has heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Boot clock of the host, in milliseconds.
    pub at_ms: u64,
    /// The card that heard it.
    pub nic: String,
    /// The MAC address that it wakes.
    pub mac: Mac,
    /// The frame's destination.
    pub frame_to: Mac,
    /// Addresses, where UDP over IPv4 carries it; `None` for any other frame.
    pub udp: Option<Udp>,
    /// Length of the payload of the datagram, or of the frame.
    pub payload_bytes: usize,
    /// Bytes behind the pattern: the card's password.
    pub secure_on_bytes: usize,
    /// The payload in hexadecimal digits.
    pub payload: String,
}

/// Where a datagram came from and went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Udp {
    /// Source.
    pub from: SocketAddrV4,
    /// Destination.
    pub to: SocketAddrV4,
}

impl Sighting {
    /// Looks for a magic packet in a frame that `nic` heard at `at_ms`.
    #[must_use]
    pub fn find(frame: &[u8], nic: &str, at_ms: u64) -> Option<Self> {
        let (head, body) = frame.split_at_checked(ETHERNET_BYTES)?;
        let datagram = datagram(head, body);
        let payload = datagram.map_or(body, |(_, payload)| payload);
        let is_magic = |window: &[u8]| magic::find(window).is_some();
        let start = payload.windows(MAGIC_BYTES).position(is_magic)?;
        Some(Self {
            at_ms,
            nic: nic.to_owned(),
            mac: magic::find(payload)?,
            frame_to: Mac(head.first_chunk().copied()?),
            udp: datagram.map(|(udp, _)| udp),
            payload_bytes: payload.len(),
            secure_on_bytes: payload.len() - start - MAGIC_BYTES,
            payload: hex(payload),
        })
    }

    /// The payload of a datagram with nothing but this pattern and this password, as [`Sighting::payload`] writes it.
    #[must_use]
    pub fn exact_payload(mac: Mac, secure_on: &[u8]) -> String {
        hex(&[&[0xff; 6], mac.0.repeat(16).as_slice(), secure_on].concat())
    }
}

/// Addresses and payload, if this is a whole UDP datagram over IPv4.
fn datagram<'a>(head: &[u8], body: &'a [u8]) -> Option<(Udp, &'a [u8])> {
    let header_bytes = usize::from(body.first()? & 0x0f) * 4;
    let (header, datagram) = body.split_at_checked(header_bytes)?;
    if !head.ends_with(&IPV4) || header.len() < 20 || header[9] != UDP {
        return None;
    }
    let address = |at: usize| -> Option<Ipv4Addr> {
        let octets: [u8; 4] = header.get(at..at + 4)?.try_into().ok()?;
        Some(octets.into())
    };
    let number = |at: usize| -> Option<u16> {
        let octets: [u8; 2] = datagram.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(octets))
    };
    let udp = Udp {
        from: SocketAddrV4::new(address(12)?, number(0)?),
        to: SocketAddrV4::new(address(16)?, number(2)?),
    };
    // A short frame is filled up behind the datagram, so its own length counts.
    let end = usize::from(number(4)?);
    Some((udp, datagram.get(UDP_HEADER_BYTES..end)?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    const ALL: Mac = Mac([0xff; 6]);

    fn magic(secure_on: &[u8]) -> Vec<u8> {
        [&[0xff; 6], NUC.0.repeat(16).as_slice(), secure_on].concat()
    }

    fn ethernet(kind: [u8; 2], body: &[u8]) -> Vec<u8> {
        [&ALL.0[..], &[2, 0, 0, 0, 0, 9], &kind, body].concat()
    }

    fn ipv4(payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len() + 8).unwrap();
        let header = [
            0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 2, 10, 77, 0, 255,
        ];
        let udp = [0xc0, 0x00, 0, 9, 0, length, 0, 0];
        ethernet(IPV4, &[&header[..], &udp, payload].concat())
    }

    #[test]
    fn datagram_is_told_with_addresses_and_exact_payload() {
        for secure_on in [&[][..], &[1, 2, 3, 4], &[1, 2, 3, 4, 5, 6]] {
            // Two bytes behind the datagram, as a card adds to short frames.
            let frame = [ipv4(&magic(secure_on)), vec![0, 0]].concat();
            let expected = Sighting {
                at_ms: 7,
                nic: "eth0".to_owned(),
                mac: NUC,
                frame_to: ALL,
                udp: Some(Udp {
                    from: "10.77.0.2:49152".parse().unwrap(),
                    to: "10.77.0.255:9".parse().unwrap(),
                }),
                payload_bytes: 102 + secure_on.len(),
                secure_on_bytes: secure_on.len(),
                payload: Sighting::exact_payload(NUC, secure_on),
            };
            assert_eq!(Sighting::find(&frame, "eth0", 7), Some(expected));
        }
    }

    #[test]
    fn other_frames_wake_too() {
        let frame = ethernet([0x08, 0x42], &magic(&[1, 2, 3, 4]));
        let seen = Sighting::find(&frame, "eth0", 7).unwrap();
        assert_eq!((seen.mac, seen.udp), (NUC, None));
        assert_eq!((seen.payload_bytes, seen.secure_on_bytes), (106, 4));
        let mut icmp = ipv4(&magic(&[]));
        icmp[ETHERNET_BYTES + 9] = 1;
        assert_eq!(Sighting::find(&icmp, "eth0", 7).unwrap().udp, None);
    }

    #[test]
    fn anything_less_is_no_sighting() {
        let mut off_by_one = ipv4(&magic(&[]));
        off_by_one[60] ^= 1;
        let mut cut_off = ipv4(&magic(&[]));
        cut_off.truncate(140);
        for frame in [off_by_one, cut_off, vec![0; 14], vec![0; 3], Vec::new()] {
            assert_eq!(Sighting::find(&frame, "eth0", 7), None, "{frame:02x?}");
        }
    }

    #[test]
    fn line_is_one_flat_object() {
        let line = Line::Listening { nic: "eth0".into() };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"kind":"listening","nic":"eth0"}"#);
        let seen = Sighting::find(&ipv4(&magic(&[])), "eth0", 7).unwrap();
        let text = serde_json::to_string(&Line::MagicPacket(seen.clone())).unwrap();
        assert!(text.starts_with(
            r#"{"kind":"magic_packet","at_ms":7,"nic":"eth0","mac":"52:54:00:00:00:01","#
        ));
        let back: Line = serde_json::from_str(&text).unwrap();
        assert_eq!(back, Line::MagicPacket(seen));
    }
}
