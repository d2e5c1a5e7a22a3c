//! The local socket: `homelabctl`'s way to a coordinator without a cluster.
//!
//! In: one JSON object in each line (`status`, `ask`, `agentConfig`). Out: one JSON object in each line.
//! Holds: the socket belongs to the coordinator's user alone (mode 0600), so whoever can write to it may ask for anything.
//! Holds: a request is answered once it is stored. Lines, connections and waiting times are bounded.
//! Not here: tables and words for people (`homelabctl`).

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use coordinator_core::{Answer, MachineId, RejectedKind};
use coordinator_crds::{NodeStatus, node_status::Ask};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Mutex, Semaphore},
    time,
};

use super::Board;
use crate::{
    clock, documents, engine::Handle, inputs::reports::Readings, outputs::standalone::Memory,
};

/// Longest request in bytes; a real one has a few hundred.
const LONGEST: u64 = 16 << 10;
/// Connections served at a time.
const CONNECTIONS: usize = 16;
/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// How long a person waits for the answer of the core, milliseconds.
const ANSWER_MS: u64 = 10_000;
/// Between attempts to accept after the system refused one (out of files).
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// Version of the answers.
const VERSION: u32 = 1;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindSocket {
    /// Another process answers there.
    #[error(
        "--socket {}: another homelab-coordinator answers there; stop it, or name another path with --socket",
        path.display()
    )]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error(
        "--socket {}: cannot be created; name a path of at most 100 bytes in a writable folder",
        path.display()
    )]
    Create {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What an agent needs to know to be heard and to obey; printed by `homelabctl agent config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentAccess {
    /// Address of the broker, `mqtt://…` or `mqtts://…`.
    pub broker: String,
    /// The key that commands are signed with, `ed25519:…`.
    pub coordinator_key: String,
    /// Whether the broker asks for a user and a password. It is not ours then, so we do not know them.
    pub needs_password: bool,
}

/// The lab as it is served: everything that answers need.
#[derive(Clone, Debug)]
pub struct ServedLab {
    /// Where asks go.
    pub engine: Handle,
    /// What is shown.
    pub board: Arc<Board>,
    /// What happened.
    pub memory: Memory,
    /// For new agents.
    pub agents: AgentAccess,
    /// The agents' sensors.
    pub readings: Readings,
}

/// A bound socket. Its file is removed with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It may be gone already; the next start clears it away as well.
        let _ = fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Makes the socket at `path`, also where a killed coordinator left one behind. Must be called inside of the runtime.
    ///
    /// # Errors
    ///
    /// Somebody answers there already, or the path cannot be used.
    pub fn bind(path: &Path) -> Result<Self, BindSocket> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(BindSocket::InUse {
                path: path.to_owned(),
            });
        }
        let failed = |source| BindSocket::Create {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        // It gets its name only once nobody else can use it, and takes a stale one's place in one step.
        let mut unnamed = path.as_os_str().to_owned();
        unnamed.push(".new");
        let unnamed = PathBuf::from(unnamed);
        match fs::remove_file(&unnamed) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(failed(fault)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&unnamed).map_err(failed)?;
        fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&unnamed, path).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves until the process ends.
    pub async fn serve(self, lab: ServedLab) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let clerk = Arc::new(Clerk {
            lab,
            asking: Mutex::default(),
        });
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return; // Nobody closes the semaphore.
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let clerk = Arc::clone(&clerk);
                    tokio::spawn(async move {
                        if let Err(fault) = clerk.serve(stream).await {
                            tracing::debug!(%fault, "a local connection ended early");
                        }
                        drop(place);
                    });
                }
                Err(fault) => {
                    tracing::warn!(%fault, "a local connection was not accepted");
                    time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

/// Answers requests, whatever connection they come by.
struct Clerk {
    lab: ServedLab,
    /// One person's request at a time: the stored record of a machine names only the last one.
    asking: Mutex<()>,
}

/// A request of a person.
#[derive(Debug, Deserialize)]
#[serde(tag = "verb", rename_all = "camelCase")]
pub(super) enum Request {
    Status,
    Ask { node: String, ask: Ask },
    AgentConfig,
}

/// What a person wants of a machine, as the core takes it; nothing if the ask says nothing.
pub(super) fn wish(machine: &MachineId, ask: Ask) -> Option<coordinator_core::Request> {
    let asked = NodeStatus {
        ask: Some(ask),
        ..NodeStatus::default()
    };
    documents::ask(machine, &asked)
}

impl Clerk {
    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut read).take(LONGEST);
            let length = time::timeout(IDLE, bounded.read_until(b'\n', &mut line)).await??;
            if length == 0 {
                return Ok(());
            }
            let cut = !line.ends_with(b"\n") && length as u64 == LONGEST;
            let answer = if cut {
                refusal(
                    "InvalidArgument",
                    &format!("the request is longer than {LONGEST} bytes"),
                )
            } else {
                self.answer(&line).await
            };
            let text = format!("{answer}\n");
            time::timeout(IDLE, write.write_all(text.as_bytes())).await??;
            if cut {
                return Ok(());
            }
        }
    }

    async fn answer(&self, line: &[u8]) -> Value {
        match serde_json::from_slice(line) {
            Ok(Request::Status) => status(&self.lab),
            Ok(Request::Ask { node, ask }) => self.ask(&MachineId::new(&node), ask).await,
            Ok(Request::AgentConfig) => {
                json!({ "v": VERSION, "ok": true, "access": self.lab.agents })
            }
            Err(fault) => refusal(
                "InvalidArgument",
                &format!(
                    "the request is not understood: {fault}; this coordinator knows the verbs status, ask and agentConfig"
                ),
            ),
        }
    }

    async fn ask(&self, machine: &MachineId, ask: Ask) -> Value {
        let id = ask.id.clone();
        let Some(request) = wish(machine, ask) else {
            // An ask that was not taken before is always a request.
            return refusal("InvalidArgument", "the request says nothing");
        };
        let _one_at_a_time = self.asking.lock().await;
        let deadline_ms = clock::boot_ms().saturating_add(ANSWER_MS);
        if let Answer::Rejected(rejected) = self.lab.engine.ask(request, deadline_ms).await {
            return refusal(word(rejected.kind), &rejected.message);
        }
        let stored = self.lab.memory.until_ask_is_stored(machine, &id);
        match time::timeout(clock::until(deadline_ms), stored).await {
            Ok(()) => json!({ "v": VERSION, "ok": true }),
            Err(_) => refusal(
                "Unavailable",
                "the request was taken, but it is not stored yet; a restart now would forget it (see the coordinator's log)",
            ),
        }
    }
}

fn refusal(reason: &str, message: &str) -> Value {
    json!({ "v": VERSION, "ok": false, "reason": reason, "message": message })
}

fn status(lab: &ServedLab) -> Value {
    let view = lab.engine.current();
    let shown = lab.board.show(&view);
    let agents: Vec<Value> = view
        .agents
        .iter()
        .map(|(id, agent)| {
            json!({
                "name": id.as_str(),
                "live": agent.live,
                "segments": agent.info.as_ref().map_or(&[][..], |info| &info.segments),
                "credentials": agent.info.as_ref().and_then(|info| info.credentials.as_ref()),
                "macs": agent.info.as_ref().map_or(&[][..], |info| &info.macs),
                "publicKey": agent.key.as_deref(),
                "clockAheadS": lab.readings.of(id).and_then(|reading| reading.clock_ahead_s),
            })
        })
        .collect();
    json!({
        "v": VERSION,
        "ok": true,
        "nowMs": clock::now().wall_ms,
        "serving": view.serving,
        "waitingFor": if view.serving { "" } else { view.waiting_for },
        "brokerUp": view.broker_up,
        "groups": shown.groups,
        "nodes": shown.nodes,
        "agents": agents,
        "events": lab.memory.events(),
    })
}

fn word(kind: RejectedKind) -> &'static str {
    match kind {
        RejectedKind::NotFound => "NotFound",
        RejectedKind::InvalidArgument => "InvalidArgument",
        RejectedKind::FailedPrecondition => "FailedPrecondition",
        RejectedKind::ResourceExhausted => "ResourceExhausted",
        RejectedKind::Unavailable => "Unavailable",
        RejectedKind::DeadlineExceeded => "DeadlineExceeded",
    }
}

#[cfg(test)]
mod tests;
