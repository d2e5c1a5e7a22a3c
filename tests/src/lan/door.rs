//! A door from the test into a host: a socket in the file system that leads to a TCP port there.
//! Holds: file systems are shared between network namespaces, so no packet crosses their borders.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};

use super::Host;
use crate::harness::{Process, WorkDir, programs, wait};

/// It is open within milliseconds; the rest is for a loaded machine.
const START: Duration = Duration::from_secs(30);

/// Open as long as this value lives.
#[derive(Debug)]
pub struct Door {
    socket: PathBuf,
    _process: Process,
    _work: WorkDir,
}

impl Door {
    /// Opens a door to this address, as seen on the host.
    ///
    /// # Errors
    /// When the program behind it does not come up.
    pub async fn open(host: &Host, address: &str) -> Result<Self> {
        let work = WorkDir::new("door")?;
        let socket = work.file("door");
        let mut command = host.command(programs::ours("hollow-host")?);
        command.arg("forward").arg(&socket).arg(address);
        let mut process = Process::start(&work, "door", &command)?;
        wait::until(START, "a door", async || {
            process.check_alive()?;
            ensure!(socket.exists(), "it is not open yet");
            Ok(())
        })
        .await?;
        Ok(Self {
            socket,
            _process: process,
            _work: work,
        })
    }

    /// The socket to connect to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// The program behind a door: carries each connection to the socket on to the address.
///
/// # Errors
/// When the socket cannot be made, or is lost.
pub fn forward(socket: &Path, address: SocketAddr) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    for near in listener.incoming() {
        let near = near?;
        // The test sees the end of its connection and tries again.
        thread::spawn(move || carry(&near, address));
    }
    Ok(())
}

fn carry(near: &UnixStream, address: SocketAddr) -> io::Result<()> {
    let far = TcpStream::connect(address)?;
    let (mut from_near, mut to_far) = (near.try_clone()?, far.try_clone()?);
    let outwards = thread::spawn(move || {
        let _broken = io::copy(&mut from_near, &mut to_far);
        let _gone = to_far.shutdown(Shutdown::Write);
    });
    let _broken = io::copy(&mut &far, &mut &*near);
    let _gone = near.shutdown(Shutdown::Write);
    let _panicked = outwards.join();
    Ok(())
}
