//! Connections to the service: accepted, spoken TLS with, and counted.
//! In: a listener. Out: a stream of connections that tonic serves.
//! Holds: a peer that says too little in time, or the wrong thing, holds neither a place nor another peer up.
//! Not here: what the certificates are (`tls`), how many calls there may be (`admission`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::tls::Latest;
use crate::metrics::{Metrics, TurnedAway};

/// Connections at once. The autoscaler has one; the rest is for probes and for people. Each may leave as many answers lying as it
/// may have calls, so together with that number this one bounds memory.
pub(super) const CONNECTIONS: usize = 16;
/// What every HTTP/2 client says first. From there on it is asked for signs of life, and let go if it gives none.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Peers that have connected and not yet proven who they are. More wait in the system's queue.
const GREETINGS: usize = 64;
/// How long a peer may take for that and for the preface. Together they take milliseconds.
const GREETING: Duration = Duration::from_secs(5);
/// After the system has refused to accept, as when the process has too many files open.
const PAUSE: Duration = Duration::from_millis(250);

/// What is spoken below HTTP/2.
#[derive(Clone)]
pub(super) enum Security {
    /// Nothing.
    Plain,
    /// TLS, with the latest configuration for each handshake.
    Tls(Latest),
}

/// Everything that can be read and written.
trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// A connection that has its place.
pub(super) struct Connection {
    io: Pin<Box<dyn Duplex>>,
    /// The part of the preface that is still to be passed on: it was read before there was a connection.
    preface: &'static [u8],
    info: TcpConnectInfo,
    _place: OwnedSemaphorePermit,
}

/// The connections of a listener, until the stream is dropped; with it, the listener closes.
pub(super) fn connections(
    listener: TcpListener,
    security: Security,
    metrics: Metrics,
) -> impl Stream<Item = io::Result<Connection>> {
    let door = Door {
        listener,
        security,
        metrics,
        greetings: JoinSet::new(),
        places: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    futures::stream::unfold(door, |mut door| async {
        let connection = door.next().await;
        Some((Ok(connection), door))
    })
}

struct Door {
    listener: TcpListener,
    security: Security,
    metrics: Metrics,
    greetings: JoinSet<Option<Connection>>,
    places: Arc<Semaphore>,
}

impl Door {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if self.greetings.len() < GREETINGS => match accepted {
                    Ok((stream, peer)) => self.greet(stream, peer),
                    Err(fault) => {
                        tracing::warn!(%fault, "cannot accept a gRPC connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(greeted) = self.greetings.join_next() => {
                    if let Ok(Some(connection)) = greeted {
                        return connection;
                    }
                }
            }
        }
    }

    fn greet(&mut self, stream: TcpStream, peer: SocketAddr) {
        let security = self.security.clone();
        let metrics = self.metrics.clone();
        let places = Arc::clone(&self.places);
        self.greetings.spawn(async move {
            let (io, info) = match greeted(stream, security).await {
                Ok(greeted) => greeted,
                Err(fault) => {
                    metrics.turned_away(TurnedAway::Handshake);
                    tracing::info!(%peer, %fault, "gRPC connection refused");
                    return None;
                }
            };
            let Ok(place) = places.try_acquire_owned() else {
                metrics.turned_away(TurnedAway::Connections);
                tracing::warn!(%peer, most = CONNECTIONS, "gRPC connection refused: there are too many");
                return None;
            };
            Some(Connection {
                io,
                preface: PREFACE,
                info,
                _place: place,
            })
        });
    }
}

/// Waits until the peer has shown its certificate, where there is TLS, and has begun to speak HTTP/2.
async fn greeted(
    stream: TcpStream,
    security: Security,
) -> io::Result<(Pin<Box<dyn Duplex>>, TcpConnectInfo)> {
    // Answers are small and must not wait for each other.
    stream.set_nodelay(true)?;
    let info = stream.connect_info();
    let greeting = async {
        let mut io: Pin<Box<dyn Duplex>> = match security {
            Security::Plain => Box::pin(stream),
            Security::Tls(mut latest) => {
                let config = latest.wait_for(Option::is_some).await;
                let config = config.ok().and_then(|config| config.clone());
                let config = config.ok_or(io::ErrorKind::NotConnected)?;
                Box::pin(TlsAcceptor::from(config).accept(stream).await?)
            }
        };
        let mut said = [0; PREFACE.len()];
        io.read_exact(&mut said).await?;
        if said != *PREFACE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no HTTP/2"));
        }
        io::Result::Ok(io)
    };
    match tokio::time::timeout(GREETING, greeting).await {
        Ok(io) => Ok((io?, info)),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.preface.is_empty() {
            let fits = buffer.remaining().min(self.preface.len());
            let (part, rest) = self.preface.split_at(fits);
            buffer.put_slice(part);
            self.preface = rest;
            return Poll::Ready(Ok(()));
        }
        self.io.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(context)
    }
}
