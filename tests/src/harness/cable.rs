//! A TCP way to a server on loopback, for one client, that can be cut, or hold back what the server answers.
//! Holds: what goes through is not looked at; once it is cut, its connections are broken and nobody answers at its address.
//! Holds: what is held back is not lost.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// What becomes of the server's side of every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Pass,
    Held,
}

/// The way; dropping it cuts it.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    /// It owns every connection, so they end with it.
    task: AbortHandle,
    answers: watch::Sender<Answers>,
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
        let (answers, seen) = watch::channel(Answers::Pass);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(connect(near, server, seen.clone()));
            }
        });
        Ok(Self {
            address,
            task: task.abort_handle(),
            answers,
        })
    }

    /// Where the client finds the server.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server hears everything, and nobody hears the server.
    pub fn hold_answers(&self) {
        self.answers.send_replace(Answers::Held);
    }

    /// Lets through what was held back, and everything after it.
    pub fn let_answers_through(&self) {
        self.answers.send_replace(Answers::Pass);
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

/// Copies until both sides are done or one breaks. A server that is away is as good as a broken connection.
async fn connect(near: TcpStream, server: SocketAddr, answers: watch::Receiver<Answers>) {
    if let Ok(far) = TcpStream::connect(server).await {
        let (near, far) = (near.into_split(), far.into_split());
        let _broken_or_done = tokio::try_join!(ask(near.0, far.1), answer(far.0, near.1, answers));
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    copy(&mut from, &mut to).await?;
    to.shutdown().await
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut answers: watch::Receiver<Answers>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16_384];
    loop {
        let length = from.read(&mut buffer).await?;
        let passes = |answers: &Answers| *answers == Answers::Pass;
        let cable_is_gone = answers.wait_for(passes).await.is_err();
        if length == 0 || cable_is_gone {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

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

    #[tokio::test]
    async fn what_the_server_says_is_held_back_and_comes_later() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let cable = Cable::to(server.local_addr().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(cable.address()).await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        cable.hold_answers();
        served.write_all(b"later").await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        served.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello", "the server hears");
        let early = client.try_read(&mut heard).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::WouldBlock);
        cable.let_answers_through();
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"later");
    }
}
