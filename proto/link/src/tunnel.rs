//! A private unix socket for exactly one connection, joined to the broker by TLS.
//! In: one local connection from rumqttc. Out: the same bytes over TLS; why it failed, where rumqttc only sees an end.
//! Holds: the socket lies in a fresh 0700 folder and both are gone once it was used or given up.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at};

use crate::backoff::chance;
use crate::fault::LinkFault;
use crate::tls::TlsSettings;
use crate::url::BrokerUrl;

/// How often the time of a connection that lasts is to be noted: the note itself is renewed once it is a day old.
const NOTE_EACH: Duration = Duration::from_secs(3600);

/// A running tunnel; dropping it cuts the connection.
pub(crate) struct Tunnel {
    task: JoinHandle<()>,
    fault: Arc<OnceLock<LinkFault>>,
    handshake_done: Arc<OnceLock<()>>,
    socket: PathBuf,
}

impl Tunnel {
    /// Listens for one local connection and carries it to the broker.
    pub(crate) fn open(url: &BrokerUrl, tls: TlsSettings) -> Result<Self, LinkFault> {
        let told = |fault: io::Error| LinkFault::Tunnel {
            detail: format!("{}: {fault}", std::env::temp_dir().display()),
        };
        let folder = PrivateFolder::create().map_err(told)?;
        let socket = folder.path.join("mqtt");
        let listener = UnixListener::bind(&socket).map_err(told)?;
        let fault = Arc::new(OnceLock::new());
        let handshake_done = Arc::new(OnceLock::new());
        let task = tokio::spawn({
            let url = url.clone();
            let (fault, handshake_done) = (Arc::clone(&fault), Arc::clone(&handshake_done));
            async move {
                let accepted = listener.accept().await;
                drop(listener);
                drop(folder);
                let Ok((mut local, _)) = accepted else { return };
                if let Err(reason) = carry(&mut local, &url, &tls, &handshake_done).await {
                    // The cell is empty: only this task writes it, once.
                    let _ = fault.set(reason);
                }
                // Only now may the MQTT side see the end, because it then asks for the fault.
                drop(local);
            }
        });
        Ok(Self {
            task,
            fault,
            handshake_done,
            socket,
        })
    }

    /// The path that rumqttc connects to.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Why the tunnel ended, once it has.
    pub(crate) fn fault(&self) -> Option<LinkFault> {
        self.fault.get().cloned()
    }

    /// Whether bytes of MQTT can have reached the broker.
    pub(crate) fn reached_broker(&self) -> bool {
        self.handshake_done.get().is_some()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    local: &mut UnixStream,
    url: &BrokerUrl,
    tls: &TlsSettings,
    handshake_done: &OnceLock<()>,
) -> Result<(), LinkFault> {
    let broker = url.to_string();
    let unreachable = |fault: io::Error| LinkFault::Unreachable {
        broker: broker.clone(),
        detail: fault.to_string(),
    };
    let untrusted = |fault: io::Error| LinkFault::Tls {
        broker: broker.clone(),
        detail: fault.to_string(),
    };
    let tcp = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(unreachable)?;
    // Small packets must not wait for each other.
    tcp.set_nodelay(true).map_err(unreachable)?;
    let mut remote = tls
        .connector
        .connect(tls.server_name.clone(), tcp)
        .await
        .map_err(untrusted)?;
    // The cell is empty: only this function writes it, once.
    let _ = handshake_done.set(());
    let shown = remote.get_ref().1.peer_certificates().unwrap_or_default();
    let shown: Vec<CertificateDer<'static>> = shown.to_vec();
    let note = || {
        tls.verifier
            .judge_again(&shown, &tls.server_name, UnixTime::now());
    };
    match while_it_lasts(note, copy_bidirectional(local, &mut remote)).await {
        // A refused client certificate arrives only after the handshake of TLS 1.3, as an alert.
        Err(fault)
            if fault
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>()) =>
        {
            Err(untrusted(fault))
        }
        // An ordinary end; the MQTT side tells how it saw it.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Has the time noted now and then until `connection` ends.
async fn while_it_lasts<T>(note: impl Fn(), connection: impl Future<Output = T>) -> T {
    let mut due = interval_at(Instant::now() + NOTE_EACH, NOTE_EACH);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            end = &mut connection => return end,
            _ = due.tick() => note(),
        }
    }
}

/// A folder that only this user may enter, removed with its content when dropped.
struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    fn create() -> io::Result<Self> {
        let name = format!("homelab-link-{}-{:016x}", std::process::id(), chance());
        let path = std::env::temp_dir().join(name);
        // Fails if the path exists, so nobody can prepare it.
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(fault) = fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %fault, "private folder not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::time::sleep;

    use super::*;
    use crate::clock_file::ClockFile;

    #[tokio::test(start_paused = true)]
    async fn the_note_of_a_connection_is_never_much_older_than_a_day() {
        let hour = Duration::from_secs(3600);
        let folder = tempfile::tempdir().expect("a folder");
        let file = ClockFile::at(folder.path().join("clock"));
        let (start, since) = (SystemTime::UNIX_EPOCH, Instant::now());
        // Too young to be renewed when the connection begins.
        file.note(start);
        sleep(23 * hour).await;
        let age = || {
            let noted = file.read().expect("a time");
            (start + since.elapsed()).duration_since(noted)
        };
        let note = || {
            assert!(age().expect("no time to come") <= 25 * hour);
            file.note(start + since.elapsed());
        };
        while_it_lasts(note, sleep(60 * 24 * hour)).await;
        assert!(age().expect("no time to come") <= 25 * hour);
    }
}
