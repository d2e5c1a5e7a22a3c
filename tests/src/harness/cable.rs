//! A TCP way to a server on loopback, for one client, that can be cut.
//! Holds: what goes through is not looked at; once it is cut, its connections are broken and nobody answers at its address.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// The way; dropping it cuts it.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    /// It owns every connection, so they end with it.
    task: AbortHandle,
}

impl Cable {
    /// Leads to a server.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("open a port")?;
        let address = listener.local_addr().context("know the port")?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(connect(near, server));
            }
        });
        Ok(Self {
            address,
            task: task.abort_handle(),
        })
    }

    /// Where the client finds the server.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it for good.
    pub fn cut(&self) {
        self.task.abort();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Copies until one side is done. A server that is away is as good as a broken connection.
async fn connect(mut near: TcpStream, server: SocketAddr) {
    if let Ok(mut far) = TcpStream::connect(server).await {
        let _broken_or_done = copy_bidirectional(&mut near, &mut far).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn words_go_through_until_it_is_cut() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let cable = Cable::to(server.local_addr().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(cable.address()).await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        served.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        cable.cut();
        // Its end is heard on both sides, as the end of the stream or as an error.
        assert!(!matches!(client.read(&mut heard).await, Ok(1..)));
        assert!(!matches!(served.read(&mut heard).await, Ok(1..)));
        assert!(TcpStream::connect(cable.address()).await.is_err());
    }
}
