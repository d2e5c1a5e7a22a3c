//! A real sushy-tools on a free loopback port with three fake systems, ended by its own id when dropped.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Names the emulator's program; the project's own test command sets it.
const VARIABLE: &str = "SUSHY_EMULATOR";

/// Runs the emulator with a delay of its power changes that is not random.
const LAUNCHER: &str = "\
import sys, types
from sushy_tools.emulator.resources.systems import fakedriver
delay = int(sys.argv.pop(1))
fakedriver.random = types.SimpleNamespace(randint=lambda low, high: delay)
from sushy_tools.emulator import main
sys.exit(main.main())
";

/// `admin` with the password `pass:w0rd`.
const USERS: &str = "admin:$2b$04$iyjoAUVi8llw2yGFaXtH3OOjKW1DHjYuSJrV3E4zam4n9NtqXEfra\n";

/// How to run it.
#[derive(Default)]
pub(crate) struct Setup {
    /// Whether it wants a user and password.
    pub(crate) auth: bool,
    /// Certificate and key in PEM.
    pub(crate) tls: Option<(String, String)>,
    /// Seconds from an accepted reset to its effect.
    pub(crate) delay_s: u32,
}

/// See the file's description.
pub(crate) struct Emulator {
    child: Child,
    port: u16,
    scheme: &'static str,
    _folder: TempDir,
}

impl Emulator {
    /// Starts it; `None`, said in the test's output, where there is no emulator.
    pub(crate) fn start(setup: &Setup) -> Option<Self> {
        let Some(program) = std::env::var_os(VARIABLE) else {
            // Written past the test runner, which hides what a passing test prints.
            let _ = writeln!(
                std::io::stderr(),
                "not tested against sushy-tools: {VARIABLE} is not set"
            );
            return None;
        };
        let python = Path::new(&program).with_file_name("python");
        let folder = tempfile::tempdir().expect("a folder");
        // Somebody else may take the free port first; then it ends and another one is tried.
        for _ in 0..5 {
            let port = free_port();
            let mut child = spawn(&python, folder.path(), port, setup);
            if is_listening(&mut child, port) {
                return Some(Self {
                    child,
                    port,
                    scheme: if setup.tls.is_some() { "https" } else { "http" },
                    _folder: folder,
                });
            }
        }
        let log = std::fs::read_to_string(folder.path().join("log"));
        unreachable!("sushy-tools does not start: {log:?}");
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// UUID of the system with this number, from 1 to 3.
pub(crate) fn uuid(number: u8) -> String {
    format!("00000000-0000-4000-8000-00000000000{number}")
}

fn spawn(python: &Path, folder: &Path, port: u16, setup: &Setup) -> Child {
    let at = |name: &str| -> PathBuf { folder.join(name) };
    let write = |name: &str, text: &str| std::fs::write(at(name), text).expect("written");
    let quoted = |name: &str| format!("{:?}", at(name).display().to_string());
    let systems: String = (1..=3)
        .map(|number| {
            format!(
                "{{'uuid':'{}','name':'node-{number}','power_state':'Off','external_notifier':False,\
                 'nics':[{{'mac':'52:54:00:00:00:0{number}','ip':'127.0.0.1'}}]}},",
                uuid(number)
            )
        })
        .collect();
    let mut config = format!(
        "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT = {port}\n\
         SUSHY_EMULATOR_FAKE_DRIVER = True\nSUSHY_EMULATOR_STATE_DIR = {}\n\
         SUSHY_EMULATOR_FAKE_SYSTEMS = [{systems}]\n",
        quoted("state")
    );
    if setup.auth {
        write("users", USERS);
        config += &format!("SUSHY_EMULATOR_AUTH_FILE = {}\n", quoted("users"));
    }
    if let Some((certificate, key)) = &setup.tls {
        write("cert.pem", certificate);
        write("key.pem", key);
        let (certificate, key) = (quoted("cert.pem"), quoted("key.pem"));
        config +=
            &format!("SUSHY_EMULATOR_SSL_CERT = {certificate}\nSUSHY_EMULATOR_SSL_KEY = {key}\n");
    }
    write("emulator.conf", &config);
    write("launcher.py", LAUNCHER);
    std::fs::create_dir_all(at("state")).expect("created");
    Command::new(python)
        .arg(at("launcher.py"))
        .arg(setup.delay_s.to_string())
        .arg("--config")
        .arg(at("emulator.conf"))
        .arg("--fake")
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(at("log")).expect("a log"))
        .spawn()
        .expect(
            "SUSHY_EMULATOR must be bin/sushy-emulator of a Python environment with sushy-tools",
        )
}

fn is_listening(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if child.try_wait().expect("a child has a state").is_some() {
            return false;
        }
        assert!(Instant::now() < deadline, "sushy-tools does not listen");
        std::thread::yield_now();
    }
    true
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}
