//! A real mosquitto on a free loopback port, with its own configuration folder; killed by its own id when dropped.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// See the file's description.
pub(crate) struct Mosquitto {
    folder: TempDir,
    child: Child,
    pub(crate) port: u16,
    pub(crate) scheme: &'static str,
}

impl Mosquitto {
    /// Starts a broker with these configuration lines after the listener's.
    pub(crate) fn start(lines: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), lines)
    }

    /// Starts a broker whose lines name files in this folder.
    pub(crate) fn start_in(folder: TempDir, lines: &str) -> Self {
        let scheme = if lines.contains("certfile") {
            "mqtts"
        } else {
            "mqtt"
        };
        // Somebody else may take the free port before mosquitto does; then it ends and another one is tried.
        for _ in 0..5 {
            let port = free_port();
            let config =
                format!("listener {port} 127.0.0.1\npersistence false\nuser root\n{lines}\n");
            std::fs::write(folder.path().join("mosquitto.conf"), config)
                .expect("configuration is written");
            let mut child = spawn(&folder);
            if is_listening(&mut child, port) {
                return Self {
                    folder,
                    child,
                    port,
                    scheme,
                };
            }
        }
        let log = std::fs::read_to_string(folder.path().join("log"));
        unreachable!("mosquitto does not start: {log:?}");
    }

    /// An open broker without TLS.
    pub(crate) fn open() -> Self {
        Self::start("allow_anonymous true")
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the broker is ours");
        self.child.wait().expect("it ends");
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.folder);
        assert!(
            is_listening(&mut self.child, self.port),
            "mosquitto does not start again"
        );
    }
}

/// Waits until the port is open; `false` if the broker ended instead.
fn is_listening(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if child.try_wait().expect("a child has a state").is_some() {
            return false;
        }
        assert!(Instant::now() < deadline, "mosquitto does not listen");
        std::thread::yield_now();
    }
    true
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have been killed by the test already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &TempDir) -> Child {
    let log = std::fs::File::create(folder.path().join("log")).expect("a log file");
    Command::new("mosquitto")
        .arg("-c")
        .arg(folder.path().join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("mosquitto must be on PATH: run `cargo xtask test`, which installs it")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}
