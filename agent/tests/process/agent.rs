//! One agent as a process, in a folder of its own, with a socket in the place of systemd.
//! Holds: the process is killed by its own id when dropped; every wait ends.

use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far more than any step takes, so that a hang fails instead of lasting.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Tries until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long until {what}");
        thread::yield_now();
    }
}

/// Where an agent lives.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// A configuration that obeys the coordinator of `lab`, for a broker at this address.
    pub(crate) fn new(broker: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        let key = crate::lab::coordinator().public_key();
        let begin = folder.path("begun").display().to_string();
        folder.write("boot_id", &format!("{}\n", crate::BOOT));
        folder.write(
            "agent.toml",
            &format!(
                "id = \"nas-01\"\nbroker = \"{broker}\"\ncoordinator_key = \"{key}\"\nstate_dir = \"state\"\n\
                 min_uptime = \"0s\"\nheartbeat = \"1s\"\n\
                 [host]\ncommand = [\"sh\", \"-c\", \"echo begun >> '{begin}'; sleep 600\"]\n\
                 [paths]\nboot_id = \"boot_id\"\nnics = \"nics\"\nmaintenance = \"maintenance\"\n"
            ),
        );
        for name in ["nics", "tmp"] {
            std::fs::create_dir(folder.path(name)).expect("created");
        }
        folder
    }

    /// It also acts for others, and beats twice as fast: the challenges that it still takes must live longer than a busy host stands still.
    pub(crate) fn make_relay(&self) {
        let config = std::fs::read_to_string(self.path("agent.toml")).expect("it was written");
        let config = config.replace("heartbeat = \"1s\"", "heartbeat = \"500ms\"");
        self.write("agent.toml", &format!("{config}[relay]\n"));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }
}

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    systemd: UnixDatagram,
    told: Receiver<String>,
}

impl Agent {
    pub(crate) fn start(folder: &Folder) -> Self {
        let socket = folder.path("notify");
        // The agent that ran here before may have left its own.
        let _ = std::fs::remove_file(&socket);
        let systemd = UnixDatagram::bind(&socket).expect("a socket");
        let told = listen(systemd.try_clone().expect("another handle of a socket"));
        // The shell becomes the agent; before, it says for whom the watchdog is, as systemd does.
        let child = Command::new("sh")
            .args([
                "-c",
                "export WATCHDOG_PID=$$; exec \"$0\" run --config \"$1\"",
            ])
            .arg(env!("CARGO_BIN_EXE_homelab-agent"))
            .arg(folder.path("agent.toml"))
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "200000")
            .env("TMPDIR", folder.path("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the agent starts");
        Self {
            child,
            systemd,
            told,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let id = Pid::from_raw(id).expect("not zero");
        kill_process(id, signal).expect("the agent is there");
    }

    /// Its own memory, without pages of files, in KiB.
    pub(crate) fn own_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("the agent is there");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .expect("the kernel tells it");
        let number = line.split_whitespace().next().expect("a number");
        number.parse().expect("a number")
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        until("the agent has ended", || {
            self.child.try_wait().expect("a child has a state")
        })
    }

    /// The next message to systemd.
    pub(crate) fn hear(&self) -> String {
        self.told.recv_timeout(PATIENCE).expect("a message in time")
    }

    /// All further messages to systemd, of an agent that has ended.
    pub(crate) fn told_systemd(&self) -> Vec<String> {
        self.systemd.shutdown(Shutdown::Both).expect("it is open");
        self.told.iter().collect()
    }
}

/// Reads all the time, as systemd does: an agent waits until it is heard. Ends with the socket.
fn listen(systemd: UnixDatagram) -> Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(length @ 1..) = systemd.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
            if tell.send(text).is_err() {
                return;
            }
        }
    });
    told
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.systemd.shutdown(Shutdown::Both);
    }
}
