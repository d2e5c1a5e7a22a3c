//! The recorder's ear: a UDP socket on the address that magic packets are sent to.
//! Holds: the address is shared, so the recorder, every hollow card and other tests hear the same broadcast.

use std::{
    io::ErrorKind,
    net::{SocketAddr, SocketAddrV4},
    sync::Weak,
};

use anyhow::{Context, Result, anyhow};
use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;

use super::{Inner, clock_ms};

/// Tells the recorder of every datagram until the recorder is gone.
pub(super) async fn sniff(socket: UdpSocket, inner: Weak<Inner>) {
    let mut buffer = vec![0; 65_536];
    loop {
        let received = socket.recv_from(&mut buffer).await;
        let at_ms = clock_ms();
        let Some(inner) = inner.upgrade() else { return };
        match received {
            Ok((length, from)) => inner.datagram(&buffer[..length], from, at_ms),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => {
                tracing::error!(%error, "the recorder lost its socket");
                return;
            }
        }
    }
}

/// A UDP socket that shares its address, so that each listener gets every broadcast. With port 0 it is the first one there.
///
/// # Errors
/// When the address cannot be bound.
pub fn shared_socket(address: SocketAddrV4) -> Result<(UdpSocket, SocketAddrV4)> {
    let bind = || -> std::io::Result<(UdpSocket, SocketAddr)> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        // The system would give out a port that somebody else shares already.
        socket.set_reuse_address(address.port() != 0)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from(address).into())?;
        socket.set_reuse_address(true)?;
        let socket = UdpSocket::from_std(socket.into())?;
        let bound = socket.local_addr()?;
        Ok((socket, bound))
    };
    match bind().with_context(|| format!("listen on {address}"))? {
        (socket, SocketAddr::V4(bound)) => Ok((socket, bound)),
        (_, SocketAddr::V6(other)) => Err(anyhow!("{address} became {other}")),
    }
}
