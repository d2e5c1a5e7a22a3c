//! A real mosquitto with passwords and the access rules of the protocol, in the clear or over TLS.
//! In: names of agents; each gets a user that may only touch its own topics.
//! Out: address and logins; it can be stopped, killed and started again at the same address.
//! Holds: a user's client id is its name, so a second connection of one user ends the first.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;

use super::{certs::Authority, ports::Port, process::Process, wait, workdir::WorkDir};

/// mosquitto listens within milliseconds; the rest is for a loaded machine.
const START: Duration = Duration::from_secs(30);
/// A clean end writes the retained messages.
const STOP: Duration = Duration::from_secs(30);
/// Users for looking on: each reads every topic, and each connection of a test needs one of its own.
const OBSERVERS: usize = 8;

/// What a client does on which topics, besides the rules that each agent gets for its own level.
const RULES: &str = "\
user coordinator
topic write hla/v1/a/+/cmd
topic write hla/v1/a/+/ping
topic readwrite hla/v1/c/#
topic read hla/v1/a/+/status
topic read hla/v1/a/+/hb
topic read hla/v1/a/+/health
topic read hla/v1/a/+/inv
topic read hla/v1/a/+/res
topic read hla/v1/a/+/last

pattern read hla/v1/a/%u/cmd
pattern read hla/v1/a/%u/ping
pattern readwrite hla/v1/a/%u/status
pattern write hla/v1/a/%u/hb
pattern write hla/v1/a/%u/health
pattern write hla/v1/a/%u/inv
pattern write hla/v1/a/%u/res
pattern write hla/v1/a/%u/last
pattern read hla/v1/c/status
";

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// MQTT over TCP.
    Plain,
    /// MQTT over TLS 1.3; the certificate is valid for 127.0.0.1 and localhost.
    Tls,
}

/// Whether retained messages survive a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Everything is forgotten.
    Off,
    /// Saved at a clean end, and when [`Mosquitto::save`] asks; lost since then by a kill.
    On,
}

/// How a broker is set up.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Encryption.
    pub transport: Transport,
    /// Retained messages.
    pub persistence: Persistence,
    /// Agents that get a user.
    pub agents: Vec<String>,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            transport: Transport::Plain,
            persistence: Persistence::Off,
            agents: Vec::new(),
        }
    }
}

/// A user of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// User name, also the client id.
    pub user: String,
    /// Password in the clear.
    pub password: String,
}

impl Login {
    fn new(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: format!("{user}-secret"),
        }
    }
}

/// A running broker of one test.
#[derive(Debug)]
pub struct Mosquitto {
    process: Process,
    broker: Broker,
    port: Port,
    observers_given: AtomicUsize,
    config: PathBuf,
    work: WorkDir,
}

impl Mosquitto {
    /// Starts a plain broker without persistence for the coordinator, the given agents and observers.
    ///
    /// # Errors
    /// When mosquitto is missing or does not listen; the text has the end of its log.
    pub async fn start(agents: &[&str]) -> Result<Self> {
        let agents = agents.iter().map(ToString::to_string).collect();
        Self::start_with(Broker {
            agents,
            ..Broker::default()
        })
        .await
    }

    /// Starts a broker as described.
    ///
    /// # Errors
    /// As [`Mosquitto::start`].
    pub async fn start_with(broker: Broker) -> Result<Self> {
        let work = WorkDir::new("mosquitto")?;
        let port = Port::reserve()?;
        write_users(&work, &broker.agents)?;
        work.write("acl", rules())?;
        let config = work.write("mosquitto.conf", config(&work, &broker, &port)?)?;
        let process = launch(&work, &config)?;
        let mut started = Self {
            process,
            broker,
            port,
            observers_given: AtomicUsize::new(0),
            config,
            work,
        };
        started.listening().await?;
        Ok(started)
    }

    /// `mqtt://127.0.0.1:<port>`, or `mqtts://` with TLS.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = match self.broker.transport {
            Transport::Plain => "mqtt",
            Transport::Tls => "mqtts",
        };
        format!("{scheme}://127.0.0.1:{}", self.port())
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// PEM file of the authority that signed the broker's certificate; with TLS only.
    #[must_use]
    pub fn ca_file(&self) -> Option<PathBuf> {
        match self.broker.transport {
            Transport::Plain => None,
            Transport::Tls => Some(self.work.file("ca.pem")),
        }
    }

    /// The broker's log.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// The coordinator's login.
    #[must_use]
    pub fn coordinator(&self) -> Login {
        Login::new("coordinator")
    }

    /// The login of an agent.
    ///
    /// # Errors
    /// When the broker was started without that agent.
    pub fn agent(&self, name: &str) -> Result<Login> {
        ensure!(
            self.broker.agents.iter().any(|agent| agent == name),
            "the broker was started without agent {name}: it has {:?}",
            self.broker.agents
        );
        Ok(Login::new(name))
    }

    /// A login that nobody else uses and that reads every topic and writes none.
    ///
    /// # Errors
    /// When all of them have been given away.
    pub fn observer(&self) -> Result<Login> {
        let number = self.observers_given.fetch_add(1, Ordering::Relaxed);
        ensure!(number < OBSERVERS, "all {OBSERVERS} observers are in use");
        Ok(Login::new(&observer(number)))
    }

    /// Writes retained messages to disk now; has an effect with persistence only.
    ///
    /// # Errors
    /// When the broker is gone, or does not write.
    pub async fn save(&mut self) -> Result<()> {
        let (before, file) = (self.saves()?, self.saved_file());
        self.process.signal(rustix::process::Signal::USR1)?;
        wait::until(STOP, "mosquitto to save", async || {
            let saves = self.saves()?;
            ensure!(saves > before, "saved {saves} times");
            // The log speaks before the file is written; it then takes the old one's place in one step.
            ensure!(self.saved_file() != file, "the file is still the old one");
            Ok(())
        })
        .await
    }

    /// Ends the broker by SIGTERM.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop(STOP).await.map(drop)
    }

    /// Ends the broker by SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the broker again at the same address, ending the running one by SIGKILL.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process.kill();
        self.process = launch(&self.work, &self.config)?;
        self.listening().await
    }

    async fn listening(&mut self) -> Result<()> {
        wait::until(START, "mosquitto to listen", async || {
            self.process.check_alive()?;
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number()))
                .map(drop)
                .context("connect")
        })
        .await
    }

    /// How often the log says that the broker saved its state.
    /// What tells one saved file from the next.
    fn saved_file(&self) -> Option<(u64, SystemTime)> {
        let file = std::fs::metadata(self.work.file("mosquitto.db")).ok()?;
        Some((file.ino(), file.modified().ok()?))
    }

    fn saves(&self) -> Result<usize> {
        let log = std::fs::read_to_string(self.log()).context("read mosquitto's log")?;
        Ok(log.matches("Saving in-memory database").count())
    }
}

fn launch(work: &WorkDir, config: &Path) -> Result<Process> {
    let mut command = Command::new(program("mosquitto"));
    command.arg("-v").arg("-c").arg(config);
    Process::start(work, "mosquitto", &command)
}

/// Debian installs the broker where the PATH of an ordinary user does not look.
fn program(name: &str) -> PathBuf {
    let of_root = Path::new("/usr/sbin").join(name);
    if of_root.exists() {
        of_root
    } else {
        PathBuf::from(name)
    }
}

fn config(work: &WorkDir, broker: &Broker, port: &Port) -> Result<String> {
    let mut text = format!(
        "listener {} 127.0.0.1\n\
         allow_anonymous false\n\
         use_username_as_clientid true\n\
         password_file {}\n\
         acl_file {}\n\
         max_packet_size 16384\n\
         max_keepalive 60\n\
         log_dest stderr\n",
        port.number(),
        work.file("passwords").display(),
        work.file("acl").display(),
    );
    if geteuid().is_root() {
        // Otherwise it changes to a user that cannot read a private folder.
        text.push_str("user root\n");
    }
    match broker.persistence {
        Persistence::Off => text.push_str("persistence false\n"),
        Persistence::On => writeln!(
            text,
            "persistence true\nautosave_interval 60\npersistence_location {}/",
            work.path().display()
        )?,
    }
    match broker.transport {
        Transport::Plain => {}
        Transport::Tls => {
            let authority = Authority::new()?;
            work.write("ca.pem", authority.pem())?;
            let serving = authority.issue(work, "broker")?;
            writeln!(
                text,
                "certfile {}\nkeyfile {}\ntls_version tlsv1.3",
                serving.certificate.display(),
                serving.key.display()
            )?;
        }
    }
    Ok(text)
}

/// Writes the password file of all users and lets mosquitto's own tool hash it.
fn write_users(work: &WorkDir, agents: &[String]) -> Result<()> {
    let observers = (0..OBSERVERS).map(observer);
    let users = ["coordinator".to_owned()]
        .into_iter()
        .chain(agents.iter().cloned())
        .chain(observers);
    let mut text = String::new();
    for user in users {
        let login = Login::new(&user);
        writeln!(text, "{}:{}", login.user, login.password)?;
    }
    let file = work.write("passwords", text)?;
    let output = Command::new(program("mosquitto_passwd"))
        .arg("-U")
        .arg(&file)
        .output()
        .context("run mosquitto_passwd: install Debian's package mosquitto")?;
    ensure!(
        output.status.success(),
        "mosquitto_passwd: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn rules() -> String {
    let mut text = String::from(RULES);
    for number in 0..OBSERVERS {
        text.push_str(&format!("\nuser {}\ntopic read #\n", observer(number)));
    }
    text
}

fn observer(number: usize) -> String {
    format!("observer{number}")
}
