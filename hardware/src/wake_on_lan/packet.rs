//! The magic packet: six times FF, sixteen times the address, then the card's password if it has one.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use thiserror::Error;

use crate::mac_address::{MacAddress, hex_octets};

/// Builds a packet of 102, 106 or 108 bytes.
#[must_use]
pub fn magic_packet(target: MacAddress, secure_on: Option<&SecureOn>) -> Vec<u8> {
    let mut packet = vec![0xff; 6];
    for _ in 0..16 {
        packet.extend(target.octets());
    }
    if let Some(SecureOn(password)) = secure_on {
        packet.extend(password);
    }
    packet
}

/// The password that some cards want at the end of the packet. It travels in plain text, so it protects against
/// accidents only; still it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecureOn(Vec<u8>);

/// A text is no SecureOn password. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a SecureOn password is six or four pairs of hex digits as in a MAC address, or four numbers as in an IPv4 address"
)]
pub struct SecureOnFault;

impl FromStr for SecureOn {
    type Err = SecureOnFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(octets) = hex_octets::<6>(text) {
            return Ok(Self(octets.to_vec()));
        }
        if let Some(octets) = hex_octets::<4>(text) {
            return Ok(Self(octets.to_vec()));
        }
        let four: Ipv4Addr = text.parse().map_err(|_| SecureOnFault)?;
        Ok(Self(four.octets().to_vec()))
    }
}

impl fmt::Debug for SecureOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecureOn({} bytes, redacted)", self.0.len())
    }
}
