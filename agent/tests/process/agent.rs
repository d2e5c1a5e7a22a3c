//! One agent as a process, in a folder of its own, with a socket in the place of systemd.
//! Holds: the process is killed by its own id when dropped; every wait ends.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
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
        std::thread::yield_now();
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
                 min_uptime = \"0s\"\nheartbeat = \"100ms\"\n\
                 [host]\ncommand = [\"sh\", \"-c\", \"echo begun >> '{begin}'; sleep 600\"]\n\
                 [paths]\nboot_id = \"boot_id\"\nnics = \"nics\"\nmaintenance = \"maintenance\"\n"
            ),
        );
        for name in ["nics", "tmp"] {
            std::fs::create_dir(folder.path(name)).expect("created");
        }
        folder
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
}

impl Agent {
    pub(crate) fn start(folder: &Folder) -> Self {
        let socket = folder.path("notify");
        // The agent that ran here before may have left its own.
        let _ = std::fs::remove_file(&socket);
        let systemd = UnixDatagram::bind(&socket).expect("a socket");
        systemd
            .set_read_timeout(Some(PATIENCE))
            .expect("a deadline");
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
        Self { child, systemd }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let id = Pid::from_raw(id).expect("not zero");
        kill_process(id, signal).expect("the agent is there");
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        until("the agent has ended", || {
            self.child.try_wait().expect("a child has a state")
        })
    }

    /// The next message to systemd.
    pub(crate) fn hear(&self) -> String {
        let mut buffer = [0; 256];
        let length = self.systemd.recv(&mut buffer).expect("a message in time");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    }

    /// All further messages to systemd, of an agent that has ended.
    pub(crate) fn told_systemd(&self) -> Vec<String> {
        self.systemd.set_nonblocking(true).expect("settable");
        let mut buffer = [0; 256];
        let mut told = Vec::new();
        while let Ok(length) = self.systemd.recv(&mut buffer) {
            told.push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
        }
        told
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
